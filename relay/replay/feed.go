package replay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/relay/health"
	"restante/relay/replay/pace"
	"restante/spool"
	"restante/spool/batch"
	"restante/spool/blob"
	"restante/spool/index"
)

const (
	// confirmAbove is the number of settled pairs after which the index is read again from the oldest
	// pair, to learn which of them it knows by now. As many may be settled during that scan, before the next.
	confirmAbove = 20_000
	// claimsMost is the number of settled pairs at which reading stops until the index has caught up.
	claimsMost = 300_000
	// scanPause is the least time between two scans from the oldest pair, unless confirmAbove pairs were settled
	// since the last began.
	scanPause = time.Second
	// scanShare is the part of the time that scans from the oldest pair take at most when they find nothing to send; so do those of
	// the end alone.
	scanShare = 10
	// canaryAmong is the number of messages among which one to a recipient known good is looked for, to
	// go first.
	canaryAmong = 50
	// missingRow is the number of messages in a row that may be missing in the store before it is the store
	// that is doubted.
	missingRow = 50
	// failedRow is the same for messages that can't be read at the moment.
	failedRow = 3
	// perTurn is the number of messages of one domain before it is another's turn.
	perTurn = 100
)

// feed reads what is pending, fetches it and fills the ready queue, until ctx ends.
func (g *group) feed(ctx context.Context) {
	e := g.e
	for turn := 0; ctx.Err() == nil; turn++ {
		changed := e.o.Index.Changed()
		e.mu.Lock()
		stopped, doms := g.stopped, slices.Clone(g.doms)
		e.mu.Unlock()
		if stopped {
			return
		}
		busy := false
		var next time.Time
		for i := range doms {
			again, at := g.feedDomain(ctx, doms[(turn+i)%len(doms)], changed)
			busy = busy || again
			next = earliest(next, at)
		}
		if !busy {
			wait(ctx, changed, g.wake, next)
		}
	}
}

// wait returns when something changed, or it is time.
func wait(ctx context.Context, changed <-chan struct{}, wake <-chan struct{}, next time.Time) {
	var after <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-wake:
	case <-after:
	}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// feedDomain moves one domain on: busy says that there is more to do at once, else next is when to
// look again (zero: after the next change).
func (g *group) feedDomain(ctx context.Context, d *domain, changed <-chan struct{}) (busy bool, next time.Time) {
	e := g.e
	e.mu.Lock()
	if d.group != g || d.leasing != nil {
		e.mu.Unlock()
		return false, time.Time{} // the lease, once held, wakes us
	}
	if ok, at := g.eligible(d, time.Now()); !ok {
		park, again := g.rest(d)
		e.mu.Unlock()
		if err := e.resolve(park, again, time.Now()); err != nil {
			return false, time.Time{} // settle has said so; retryUnsaved wakes us
		}
		return false, at
	}
	if g.full() {
		g.filling = true
		e.mu.Unlock()
		return false, time.Time{}
	}
	if d.claims.settled > claimsMost {
		if time.Since(d.scan.began) < scanPause {
			e.mu.Unlock()
			return false, d.scan.began.Add(scanPause)
		}
		d.claims.confirm(d.scan.no, d.scan.last, false)
		d.rewind()
	}
	goOn, next := d.scanOn(time.Now(), changed)
	if !goOn {
		next = earliest(next, e.idleLease(d, time.Now(), false))
		e.mu.Unlock()
		return false, next
	}
	idle := d.run.over()
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		g.dispatch()
		e.mu.Unlock()
	}()
	if err := e.markBase(ctx, d, idle); err != nil {
		return false, time.Now().Add(2 * time.Second)
	}
	for range perTurn {
		pairs, err := g.nextPairs(ctx, d)
		if err != nil {
			if ctx.Err() == nil {
				e.log.Error("replay can't read what is pending; trying again", "domain", d.name, "error", err)
			}
			return false, time.Now().Add(2 * time.Second)
		}
		if len(pairs) == 0 {
			return g.scanEnded(d)
		}
		more, at := g.feedEntry(ctx, d, pairs)
		if !more {
			return false, at
		}
	}
	return true, time.Time{}
}

// eligible reports that the domain's mail may be read and sent, or when to look again. Callers hold e.mu.
func (g *group) eligible(d *domain, now time.Time) (bool, time.Time) {
	switch {
	case d.gone, g.stopped, g.e.failed != nil:
		return false, time.Time{}
	case d.Manual && !d.started:
		return false, time.Time{}
	case !g.e.o.Health.State(d.name).Reachable():
		return false, time.Time{}
	case d.paused != nil && !d.paused.self:
		return false, time.Time{}
	case d.paused != nil && now.Before(d.paused.retryAt):
		return false, d.paused.retryAt
	case d.paused != nil && d.paused.trial:
		return false, time.Time{} // its outcome wakes us
	}
	return true, time.Time{}
}

// rest gives back what a domain holds that may not be sent now. Refusals that wait for a decision are
// returned: the primary may have gone because of them. Callers hold e.mu.
func (g *group) rest(d *domain) (park, again []refusal) {
	d.rewind()
	if d.paused != nil && d.paused.trial {
		return nil, nil // the trial decides
	}
	if slices.ContainsFunc(g.ready, func(j *job) bool { return j.d == d }) {
		g.drop(d)
	}
	d.refusals.proven = false
	park, again = d.refusals.atEnd()
	g.e.idleLease(d, time.Now(), true)
	return park, again
}

// scanOn decides how reading goes on: where it is, from the last page, or again from the oldest pair.
// Callers hold e.mu.
func (d *domain) scanOn(now time.Time, changed <-chan struct{}) (ok bool, next time.Time) {
	s := &d.scan
	fresh := changed != s.seen
	gap := scanShare * s.cost
	if d.claims.settles-s.settles <= confirmAbove {
		gap = max(scanPause, gap)
	}
	due := !s.next.IsZero() && !now.Before(s.next)
	rested := now.Sub(s.began) >= gap
	switch {
	case s.restart, s.no == 0:
		d.scanAgain(now)
	case s.ended && d.jobs == 0 && len(d.refusals.waiting) > 0:
		return true, time.Time{} // they are all that is left
	case !s.ended:
		if (d.claims.settled > confirmAbove || due) && rested {
			d.claims.confirm(s.no, s.last, false)
			d.scanAgain(now)
		}
	case rested && (fresh || due):
		d.scanAgain(now)
	case fresh && now.Sub(s.tailed) >= scanShare*s.tailCost:
		// New mail is at the end; what else changed waits for the next scan.
		s.cursor, s.ended, s.pagesEnded, s.tailOnly = s.tail, false, false, true
		s.tailed, s.tailCost = now, 0
	default:
		at := s.next
		if fresh {
			at = earliest(at, s.tailed.Add(scanShare*s.tailCost))
		}
		if s.tailOnly || d.claims.settled > 0 {
			at = earliest(at, s.began.Add(gap))
		}
		if due && !rested {
			at = s.began.Add(gap)
		}
		if d.claims.settled > 0 && rested && !s.tailOnly {
			at = s.next // the index hasn't changed: nothing to confirm
		}
		if s.tailOnly && rested {
			d.scanAgain(now)
			return true, time.Time{}
		}
		return false, at
	}
	s.seen = changed
	return true, time.Time{}
}

// scanAgain begins at the oldest pair.
func (d *domain) scanAgain(now time.Time) {
	s := &d.scan
	*s = scan{no: s.no + 1, began: now, settles: d.claims.settles, seen: s.seen}
}

// nextPairs returns the pairs of the next entry, none at the end.
func (g *group) nextPairs(ctx context.Context, d *domain) ([]spool.Pair, error) {
	s := &d.scan
	for {
		n := 0
		for n < len(s.buf) && s.buf[n].Entry == s.buf[0].Entry {
			n++
		}
		if n > 0 && (n < len(s.buf) || s.pagesEnded) {
			pairs := s.buf[:n:n]
			s.buf = s.buf[n:]
			return pairs, nil
		}
		if s.pagesEnded || s.ended {
			return nil, nil
		}
		began := time.Now()
		page, cursor, err := g.e.o.Index.Pending(ctx, d.name, s.cursor, pageSize)
		if err != nil {
			return nil, err
		}
		g.e.mu.Lock()
		s.tail, s.cursor = s.cursor, cursor
		s.pagesEnded = cursor == ""
		if cost := time.Since(began); s.tailOnly {
			s.tailCost += cost
		} else if !s.wanted {
			s.cost += cost
		}
		s.wanted = false
		s.read = began
		s.buf = append(slices.Clip(s.buf), page...)
		g.e.mu.Unlock()
	}
}

// feedEntry claims what can be sent of an entry's pairs, fetches the message and puts it into the ready
// queue. more: the next entry may follow; else at is when to look again.
func (g *group) feedEntry(ctx context.Context, d *domain, pairs []spool.Pair) (more bool, at time.Time) {
	e := g.e
	j, more, at := g.claim(d, pairs)
	if j == nil {
		return more, at
	}
	canary := false
	e.mu.Lock()
	canary = g.pace.Phase() == pace.Canary && d.scan.took < canaryAmong && !j.trial
	e.mu.Unlock()
	due, err := e.ready(ctx, j)
	if !due.IsZero() || err == nil && len(j.pairs) == 0 {
		e.mu.Lock()
		g.leave(j, due)
		e.mu.Unlock()
		return true, time.Time{}
	}
	if err == nil && canary {
		j.known, err = e.anyKnown(ctx, j.pairs)
		j.known = j.known && !d.own(&j.pairs[0])
	}
	if err == nil && len(j.entry.Rcpts) > len(j.pairs) {
		var wait bool
		if wait, err = g.gather(ctx, j); wait {
			e.mu.Lock()
			g.giveUp(j)
			d.rewind()
			e.mu.Unlock()
			return false, time.Now().Add(50 * time.Millisecond)
		}
	}
	switch {
	case errors.Is(err, spool.ErrDamaged), errors.Is(err, spool.ErrErased):
		return e.parkDamaged(g, j, err), time.Time{}
	case err != nil && ctx.Err() == nil && e.passOver(g, j, err):
		return true, time.Time{}
	case err != nil:
		e.mu.Lock()
		g.giveUp(j)
		d.rewind()
		e.mu.Unlock()
		if ctx.Err() == nil {
			e.log.Error("replay can't read a message from the store; trying again", "domain", d.name, "id", pairs[0].Entry, "error", err)
		}
		return false, time.Now().Add(2 * time.Second)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d.missing = 0
	g.push(j, false)
	if !canary || j.known {
		g.dispatch() // else when a better one is found, or none
	}
	if g.full() {
		g.filling = true
		return false, time.Time{}
	}
	return !j.trial, time.Time{}
}

// claim makes a job of those pairs that may be sent now; nil when there are none, or none may be sent
// at all any more.
func (g *group) claim(d *domain, pairs []spool.Pair) (j *job, more bool, at time.Time) {
	e, s := g.e, &d.scan
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.restart || d.group != g {
		return nil, true, time.Time{} // begin again
	}
	if ok, _ := g.eligible(d, now); !ok {
		return nil, false, now // feedDomain gives back what it holds
	}
	if !e.hasLease(d) {
		d.rewind()
		return nil, false, time.Time{}
	}
	j = &job{d: d, lease: d.lease, read: s.read}
	for _, p := range pairs {
		k, ok := keyOf(&p)
		if !ok {
			e.log.Error("an entry with an id that is none", "domain", d.name, "id", p.Entry)
			continue
		}
		s.last = k.id
		if decl, held := e.o.Health.Declared(p.Address); held {
			s.next, s.left = earliest(s.next, earliest(decl.Until, now.Add(5*time.Second))), s.left+1
			continue
		}
		if d.paused != nil && d.own(&p) {
			s.left, s.own = s.left+1, s.own+1
			continue
		}
		ok, due := d.claims.take(&p, k, s.no, now, d.released, &e.cfg)
		if !ok {
			s.next, s.left = earliest(s.next, due), s.left+1
			continue
		}
		j.pairs, j.keys = append(j.pairs, p), append(j.keys, k)
	}
	if len(j.pairs) == 0 {
		return nil, true, time.Time{}
	}
	s.wanted = true
	s.took++
	g.begun(d)
	d.beginRun(now)
	if d.paused != nil {
		j.trial, d.paused.trial = true, true
	}
	return j, true, time.Time{}
}

// scanEnded is for when everything that the index shows was looked at.
func (g *group) scanEnded(d *domain) (busy bool, next time.Time) {
	e, now := g.e, time.Now()
	e.mu.Lock()
	s := &d.scan
	if s.restart {
		e.mu.Unlock()
		return true, time.Time{}
	}
	s.ended = true
	if !s.tailOnly {
		d.claims.confirm(s.no, ulid.ULID{}, true)
	}
	var park, again []refusal
	if d.jobs == 0 {
		park, again = d.refusals.atEnd()
	}
	finished := d.jobs == 0 && s.left == 0 && !s.tailOnly && len(park)+len(again) == 0 && d.claims.settled == 0
	if d.paused != nil && d.paused.self && d.jobs == 0 && !s.tailOnly && s.own > 0 && s.own == s.left {
		ev, notice := e.goOn(d, now, "all that is left was written here")
		e.mu.Unlock()
		e.o.Spool.Note(ev)
		e.o.Notify(notice)
		return true, time.Time{}
	}
	var notice *Notice
	empty := false
	if finished {
		notice, empty = g.finish(d, now)
	}
	next = earliest(s.next, e.idleLease(d, now, false))
	if d.claims.settled > 0 || s.tailOnly {
		next = earliest(next, now.Add(scanPause))
	}
	e.mu.Unlock()
	if len(park)+len(again) > 0 {
		if err := e.resolve(park, again, now); err != nil {
			return false, time.Time{} // settle has said so; retryUnsaved wakes us
		}
		return true, time.Time{}
	}
	if notice != nil {
		e.o.Notify(*notice)
	}
	if empty {
		e.observe(d.name, health.Empty, "", "", "")
	}
	return false, next
}

// fetch gets the octets of a job's message.
func (e *Engine) fetch(ctx context.Context, j *job) error {
	p := &j.pairs[0]
	entry, body, err := e.o.Spool.Fetch(ctx, p.Entry, p.Location)
	if err != nil {
		return err
	}
	j.entry, j.body, j.size = entry, body, body.Size()
	for _, p := range j.pairs {
		if p.Rcpt >= len(entry.Rcpts) {
			return errors.Join(spool.ErrDamaged, errors.New("the entry has fewer recipients than the index says"))
		}
	}
	return nil
}

// anyKnown reports that one of the pairs' recipients is known good.
func (e *Engine) anyKnown(ctx context.Context, pairs []spool.Pair) (bool, error) {
	const most = 5
	for _, p := range pairs[:min(most, len(pairs))] {
		known, err := e.o.Index.Known(ctx, p.Address)
		if known || err != nil {
			return known, err
		}
	}
	return false, nil
}

// passOver leaves a message that isn't in the store, or can't be read there, for later, so that it doesn't stand
// in the way of the others. When there are too many in a row it is rather the store: then it does nothing and says so.
func (e *Engine) passOver(g *group, j *job, err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := j.d
	row, pause, what := failedRow, e.cfg.BackoffMin, "can't be read"
	switch {
	case errors.Is(err, blob.ErrNotExist):
		row, pause, what = missingRow, e.cfg.BackoffMax, "is missing"
	case errors.Is(err, batch.ErrNewer):
		row, pause, what = 0, e.cfg.BackoffMax, "is of a newer format" // that is certain, and no doubt of the store
	}
	if row > 0 {
		if d.missing++; d.missing > row {
			d.missing = 0 // counted anew after a rest, so that the oldest isn't in the way for ever
			return false
		}
	}
	now := time.Now()
	for i, p := range j.pairs {
		due := d.claims.unreadable(j.keys[i], now, pause, e.cfg.BackoffMax, p.Attempts)
		d.scan.left++
		d.scan.next = earliest(d.scan.next, due)
	}
	d.unread = "a message " + what + " in the store: " + spool.Printable(err.Error())
	g.ended(j)
	e.log.Error("a message "+what+" in the store; it stays pending. Run `restante fsck`", "domain", d.name, "id", j.pairs[0].Entry, "error", err)
	return true
}

// parkDamaged parks the pairs of an entry that can't be read as it was written. It reports whether to
// go on.
func (e *Engine) parkDamaged(g *group, j *job, err error) bool {
	e.log.Error("a message is damaged in the store", "id", j.pairs[0].Entry, "domain", j.d.name, "error", err)
	parks := make([]park, len(j.pairs))
	for i := range j.pairs {
		parks[i] = park{d: j.d, pair: j.pairs[i], key: j.keys[i], reason: "damaged in the store: " + spool.Printable(err.Error()), lease: j.lease}
	}
	perr := e.park(parks)
	e.mu.Lock()
	g.ended(j)
	e.mu.Unlock()
	return perr == nil
}

func (d *domain) beginRun(now time.Time) {
	if d.run.over() {
		d.run = run{since: now}
	}
}

// markBase notes what the index counts as ended before a run begins, so that Status can tell during the run how far the
// index is behind: then nothing of ours is on its way to it.
func (e *Engine) markBase(ctx context.Context, d *domain, idle bool) error {
	if !idle {
		return nil
	}
	sum, err := e.o.Index.Summary(ctx, d.name)
	if err != nil {
		if ctx.Err() == nil {
			e.log.Error("replay can't read what has ended; trying again", "domain", d.name, "error", err)
		}
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if d.run.over() {
		d.base = endedPairs(sum)
	}
	return nil
}

// endedPairs counts the pairs that replay may have ended, in the index.
func endedPairs(sum index.Summary) int64 { return sum.All.Delivered + sum.All.Parked }

// finish ends the domain's run: nothing is pending. empty: nor is anything for the whole group.
func (g *group) finish(d *domain, now time.Time) (notice *Notice, empty bool) {
	if d.started || d.start != (StartOptions{}) {
		d.started, d.start = false, StartOptions{}
		g.setPace()
	}
	if d.run.over() {
		return nil, false
	}
	d.run.ended = now
	empty = true
	for _, o := range g.doms {
		if o.run.ended.IsZero() && !o.run.since.IsZero() {
			empty = false
		}
	}
	return &Notice{Kind: NoticeFinished, Time: now, Domain: d.name, Delivered: d.run.delivered, Parked: d.run.parked}, empty
}
