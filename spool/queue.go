package spool

import (
	"slices"
	"sync"
	"time"

	"restante/spool/batch"
)

// item is what waits to be put into a batch: one entry, or the events of one call.
type item struct {
	size int64

	mail  *batch.Item
	entry *Entry
	bigOn string // name of the stream under which the octets were put, "" when inline

	joined bool // goes into the batch of the item before it

	events []Event
	lines  []batch.Line
	part   *segment // of the journal that holds the events, if any

	due    time.Time    // when it must go at the latest; zero: at once
	queued time.Time    // when it came
	answer chan<- error // nil: nobody waits; it is tried again until it is kept
	left   bool         // the caller waits no longer
	told   bool         // nor has to
}

// group is the items of one batch.
type group struct {
	items    []*item
	size     int64
	full     bool // it reached a bound
	formed   time.Time
	answered bool // whoever waits has been told
	told     bool // events were handed to the follower before being in the ledger
}

// answer tells whoever waits for the group, once.
func (g *group) answer(err error) {
	if g.answered {
		return
	}
	g.answered = true
	for _, it := range g.items {
		if it.answer != nil {
			it.answer <- err
		}
	}
}

// queue gathers items for the streams of one root (mail or ledger) and hands them out in groups. All of its
// decisions are taken in pump, under its mutex, by whoever changed something.
type queue struct {
	limits Limits
	open   func(lane int) *stream // starts another lane
	gather bool                   // mail: wait for sessions inside DATA

	mu      sync.Mutex
	items   []*item
	bytes   int64
	lanes   []*stream
	running bool // the store is known
	closing bool
	timer   *time.Timer
	armed   time.Time     // when the timer fires next, zero: it doesn't
	soonest time.Time     // the least due of all items; the ledger waits for that
	idle    chan struct{} // closed and cleared when nothing waits and no lane is busy

	expected int           // sessions inside DATA
	held     int           // items with a caller who waits for the answer, queued or under way
	left     int           // of those: callers who wait no longer
	returns  time.Time     // until then sessions answered last are likely to come back
	target   int           // items that a batch would have if all came back
	since    time.Time     // when the wait for others began, zero: no wait
	had      int           // items at that time
	skip     int           // groups that shall not wait, since waiting was in vain
	vain     int           // how often in a row waiting was in vain
	took     time.Duration // what settling a group took lately
}

// add queues an item; false when the queue is closing.
func (q *queue) add(it *item) bool {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return false
	}
	q.push(it, now)
	return true
}

// barrier queues an item without content unless nothing is before it.
func (q *queue) barrier(it *item) (added, needed bool) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.busy() {
		return false, false
	}
	if q.closing {
		return false, true
	}
	q.push(it, now)
	return true, true
}

// run lets groups be formed.
func (q *queue) run() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = true
	q.pump(time.Now())
}

func (q *queue) push(it *item, now time.Time) {
	it.queued = now
	if len(q.items) == 0 || it.due.Before(q.soonest) {
		q.soonest = it.due
	}
	q.items = append(q.items, it)
	q.bytes += it.size
	if it.answer != nil {
		q.held++
	}
	q.pump(now)
}

// putBack queues background items again, in front.
func (q *queue) putBack(items []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		q.bytes += it.size
	}
	q.items = append(slices.Clip(items), q.items...)
	q.soonest = time.Time{}
}

// expect counts a session inside DATA.
func (q *queue) expect(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expected += n
	if n < 0 && !q.since.IsZero() {
		q.pump(time.Now())
	}
}

// free is called by a lane when its group is settled.
func (q *queue) free(w *stream, g *group) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	w.busy = false
	q.took += (now.Sub(g.formed) - q.took) / 4
	q.returns = time.Time{}
	if n := len(g.items); n+len(q.items) > 1 {
		q.target = n + len(q.items)
		q.returns = now.Add(q.patience() / 2)
	}
	q.pump(now)
}

// release is called for each group whose callers have been told.
func (q *queue) release(items []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range items {
		q.tell(it)
	}
}

// tell takes an item that has had its answer out of the sums. Callers hold q.mu.
func (q *queue) tell(it *item) {
	if it.answer == nil {
		return
	}
	it.told = true
	q.held--
	if it.left {
		q.left--
	}
}

// leave says that the caller of an item waits no longer.
func (q *queue) leave(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !it.told {
		it.left = true
		q.left++
	}
}

// pump forms groups as long as there are items that need not wait and lanes that are free.
func (q *queue) pump(now time.Time) {
	for q.running && len(q.items) > 0 {
		w := q.lane()
		if w == nil {
			return
		}
		full := q.bytes >= q.limits.BatchBytes || len(q.items) >= q.limits.BatchCount
		if !full && !q.closing {
			if wait := q.wait(now); wait > 0 {
				q.arm(now, wait)
				return
			}
		}
		q.since = time.Time{}
		g := q.form(w, now)
		if len(g.items) == 0 {
			return
		}
		w.busy = true
		w.groups <- g
	}
	if q.idle != nil && !q.busy() {
		close(q.idle)
		q.idle = nil
	}
}

func (q *queue) busy() bool {
	return len(q.items) > 0 || slices.ContainsFunc(q.lanes, func(w *stream) bool { return w.busy })
}

// lane returns a free lane, or nil. Lanes beyond the first serve only while full batches stand waiting.
func (q *queue) lane() *stream {
	if !q.lanes[0].busy {
		return q.lanes[0]
	}
	if q.bytes < q.limits.BatchBytes {
		return nil
	}
	for _, w := range q.lanes {
		if !w.busy {
			return w
		}
	}
	if len(q.lanes) >= q.limits.LanesMax {
		return nil
	}
	w := q.open(len(q.lanes))
	q.lanes = append(q.lanes, w)
	return w
}

// form takes the next items for w, up to the bounds, in order. Big messages stay with the first lane,
// whose stream their octets were put under.
func (q *queue) form(w *stream, now time.Time) *group {
	g := &group{formed: now}
	rest := q.items[:0:0]
	for i, it := range q.items {
		if g.full && !it.joined {
			rest = append(rest, q.items[i:]...)
			break
		}
		if w.lane > 0 && it.bigOn != "" {
			rest = append(rest, it)
			continue
		}
		g.items = append(g.items, it)
		g.size += it.size
		g.full = g.size >= q.limits.BatchBytes || len(g.items) >= q.limits.BatchCount
	}
	q.items = rest
	q.bytes -= g.size
	for i, it := range rest {
		if i == 0 || it.due.Before(q.soonest) {
			q.soonest = it.due
		}
	}
	return g
}

// wait says how long the items may still wait for others.
func (q *queue) wait(now time.Time) time.Duration {
	if q.gather {
		return q.waitForSessions(now)
	}
	return q.soonest.Sub(now)
}

// waitForSessions is PostgreSQL's commit_delay: while other sessions are inside DATA, or have just had their
// answer, a batch waits a moment for them. Alone it never waits, and not for sessions that kept it waiting in vain.
func (q *queue) waitForSessions(now time.Time) time.Duration {
	coming := q.expected > q.held
	returning := now.Before(q.returns) && len(q.items) < q.target
	if q.since.IsZero() {
		if !coming && !returning {
			return 0
		}
		if q.skip > 0 {
			q.skip--
			return 0
		}
		q.since, q.had = now, len(q.items)
	}
	end := q.since.Add(q.patience())
	if !coming && returning {
		end = q.returns
	}
	if (coming || returning) && now.Before(end) {
		return end.Sub(now)
	}
	if joined := len(q.items) - q.had; joined*8 >= q.had {
		q.vain = 0
	} else {
		q.vain = min(q.vain+1, 5)
		q.skip = 1<<q.vain - 1
	}
	return 0
}

// patience is how long a batch waits at most: GatherWait, or, for a slow store whose calls cost money, up to a quarter of a call.
func (q *queue) patience() time.Duration {
	return max(q.limits.GatherWait, min(q.took/4, gatherMax))
}

const gatherMax = 25 * time.Millisecond

// arm calls pump after d.
func (q *queue) arm(now time.Time, d time.Duration) {
	at := now.Add(d)
	if !q.armed.IsZero() && !at.Before(q.armed) {
		return // it fires sooner, and then looks again
	}
	q.armed = at
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.fire)
		return
	}
	q.timer.Reset(d)
}

func (q *queue) fire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = time.Time{}
	q.pump(time.Now())
}

// fail takes the items out that somebody has waited for since before the given time. Nothing was put of
// them, so they are certainly not kept.
func (q *queue) fail(before time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = slices.DeleteFunc(q.items, func(it *item) bool {
		if it.answer == nil || it.queued.After(before) {
			return false
		}
		q.bytes -= it.size
		q.tell(it)
		it.answer <- err
		return true
	})
}

// close lets no more items in and returns a channel that is closed once all are settled. What waits for a
// store that was never reached is dropped.
func (q *queue) close() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing = true
	if !q.running {
		q.items, q.bytes = nil, 0
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.pump(time.Now())
	return idle
}

// awaited reports that somebody waits for an item.
func (q *queue) awaited() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held > q.left
}

// begun reports that a stream of the queue has an object, and so wants a seal, or that something is still to be written.
func (q *queue) begun() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy() || slices.ContainsFunc(q.lanes, func(w *stream) bool { _, _, used := w.position(); return used })
}

// waiting is the number of items queued.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

func (q *queue) streams() []*stream {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.lanes)
}
