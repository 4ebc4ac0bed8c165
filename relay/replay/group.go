package replay

import (
	"context"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/relay/replay/pace"
	"restante/relay/smtpc"
	"restante/spool"
)

// job is one message for one primary: the pairs of an entry, of one domain, that go in one transaction.
type job struct {
	d      *domain
	pairs  []spool.Pair // of d, in order; pending, or delivered in the round before and sent to another host
	keys   []key
	lease  Lease  // that it was read under
	with   []*job // the entry's pairs of other domains, which go in the same transaction; see together.go
	entry  *spool.Entry
	body   *spool.Body
	size   int64
	read   time.Time // when the index showed the pairs as pending
	known  bool      // a recipient is known good; looked up for canaries only
	trial  bool      // the one message that is tried during a pause
	unsent int       // times it was put back unsent
}

func (j *job) id() ulid.ULID { return j.keys[0].id }

// group is what feeds one set of primary hosts: a ready queue, a pace, the workers. Guarded by
// Engine.mu, but for what says so.
type group struct {
	e    *Engine
	key  string
	doms []*domain
	once *once // not nil: the group of one RunOnce

	pace    *pace.Pace
	ready   []*job // oldest first
	octets  int64  // of ready
	filling bool   // the feeder waits for room

	idle       []*worker
	workers    int
	connecting int
	timer      *time.Timer // runs dispatch when the pace allows more
	timerAt    time.Time
	stopped    bool

	wake chan struct{} // for the feeder, cap 1

	owed     time.Time            // since when the primary has had a whole message and hasn't answered; zero: it owes nothing
	accepted uint64               // messages accepted, ever
	losers   map[ulid.ULID]*loser // entries that lost a connection
	lostRow  int                  // losses in a row with nothing accepted between
}

// loser counts the connections that an entry lost.
type loser struct {
	times    int
	accepted uint64    // group.accepted at the last loss that counted
	at       time.Time // of that loss
}

func (e *Engine) newGroup(key string) *group {
	return &group{
		e: e, key: key, wake: make(chan struct{}, 1), losers: make(map[ulid.ULID]*loser),
		pace: pace.New(paceConfig(e.cfg, e.cfg.Connections, e.cfg.Rate)),
	}
}

// setPace gives the pace its bounds: of the configuration, or of the domains where they are tighter or
// an admin's start says so. Domains that share a primary share the smallest.
func (g *group) setPace() {
	connections, limit := 0, 0.0
	for _, d := range g.doms {
		c, r := d.Connections, d.Domain.Rate
		if d.start.Connections > 0 {
			c = d.start.Connections
		}
		if d.start.Rate > 0 {
			r = d.start.Rate
		}
		if c > 0 && (connections == 0 || c < connections) {
			connections = c
		}
		if r > 0 && (limit == 0 || r < limit) {
			limit = r
		}
	}
	if connections == 0 {
		connections = g.e.cfg.Connections
	}
	if limit == 0 {
		limit = g.e.cfg.Rate
	}
	g.pace.SetConfig(paceConfig(g.e.cfg, connections, limit))
}

func (g *group) wakeFeeder() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// full reports that the feeder has fetched enough.
func (g *group) full() bool { return len(g.ready) >= ReadyCount || g.octets >= ReadyBytes }

// push adds a fetched job; front puts it before the others.
func (g *group) push(j *job, front bool) {
	if front {
		g.ready = slices.Insert(g.ready, 0, j)
	} else {
		g.ready = append(g.ready, j)
	}
	g.octets += j.size
}

func (g *group) removeReady(i int) *job {
	j := g.ready[i]
	if i == 0 {
		g.ready[0] = nil
		g.ready = g.ready[1:] // append moves the rest when the array ends
	} else {
		g.ready = slices.Delete(g.ready, i, i+1)
	}
	g.octets -= j.size
	if g.filling && len(g.ready) < ReadyCount/2 && g.octets < ReadyBytes/2 {
		g.filling = false
		g.wakeFeeder()
	}
	return j
}

// drop gives the ready jobs of d back to the index.
func (g *group) drop(d *domain) {
	for i := len(g.ready) - 1; i >= 0; i-- {
		if g.ready[i].d == d {
			g.giveUp(g.removeReady(i))
		}
	}
	d.rewind()
}

// giveUp forgets a job that wasn't sent: the index shows its pairs as pending, as before.
func (g *group) giveUp(j *job) {
	for _, p := range j.parts() {
		for i, k := range p.keys {
			p.d.claims.giveBack(&p.pairs[i], k, p.d.scan.no)
		}
		g.ended(p)
	}
	j.with = nil
}

// begun says that there is one more job of d.
func (g *group) begun(d *domain) {
	d.jobs++
	if g.once != nil {
		g.once.open++
	}
}

// ended says that a job is neither ready nor under way any more.
func (g *group) ended(j *job) {
	j.d.jobs--
	if g.once != nil {
		g.once.open--
		g.wakeFeeder()
	}
	j.d.lastWork = time.Now()
	if j.trial && j.d.paused != nil {
		j.d.paused.trial = false
	}
	if j.body != nil {
		// A file without a name: nothing is lost when it can't be closed, but say so.
		if err := j.body.Close(); err != nil {
			g.e.log.Warn("temporary file of a message", "id", j.entry.ID, "error", err)
		}
		j.body = nil
	}
	if j.d.jobs == 0 && j.d.gone {
		g.e.letGo(j.d)
	} else if j.d.jobs == 0 && j.d.group != nil {
		j.d.group.wakeFeeder()
	}
}

// maySend reports that a job that is ready may go out now.
func (g *group) maySend(j *job) bool {
	if g.stopped || g.e.failed != nil {
		return false
	}
	if g.once != nil {
		return !g.once.over() && j.lease.Valid() // without it a message would be begun again and again
	}
	d := j.d
	if d.gone || d.group != g || d.lease != j.lease || !j.lease.Valid() {
		return false
	}
	if d.paused != nil && !j.trial {
		return false
	}
	return (!d.Manual || d.started) && g.e.o.Health.State(d.name).Reachable()
}

// take starts the next message, if the pace allows one. Jobs that may not be sent any more go back to
// the index.
func (g *group) take(now time.Time) *job {
	for len(g.ready) > 0 {
		i := 0
		if g.pace.Phase() == pace.Canary {
			i = g.canary()
		}
		if !g.maySend(g.ready[i]) {
			g.drop(g.ready[i].d)
			g.wakeFeeder()
			continue
		}
		ok, wait := g.pace.Start(now)
		if !ok {
			g.after(now, wait)
			return nil
		}
		j := g.removeReady(i)
		g.leaveBehind(j)
		return j
	}
	return nil
}

// canary picks the message that goes first: the oldest to a recipient known good, else the oldest.
func (g *group) canary() int {
	for i, j := range g.ready[:min(canaryAmong, len(g.ready))] {
		if j.known {
			return i
		}
	}
	return 0
}

// dispatch gives ready messages to idle workers and opens connections, as far as the pace allows.
func (g *group) dispatch() {
	now := time.Now()
	for len(g.idle) > 0 && len(g.ready) > 0 {
		j := g.take(now)
		if j == nil {
			break
		}
		w := g.idle[len(g.idle)-1]
		g.idle = g.idle[:len(g.idle)-1]
		w.give <- j // has room for one
	}
	for len(g.idle) == 0 && len(g.ready) > g.connecting && !g.stopped && g.e.failed == nil {
		if g.once == nil && (g.e.feeding == nil || g.e.feeding.Err() != nil) {
			return
		}
		if !g.maySend(g.ready[0]) {
			g.drop(g.ready[0].d)
			g.wakeFeeder()
			continue
		}
		ok, wait := g.pace.Connect(now)
		if !ok {
			g.after(now, wait)
			return
		}
		g.connecting++
		g.workers++
		w := &worker{g: g, e: g.e, give: make(chan *job, 1), domain: g.ready[0].d.name}
		if g.once != nil {
			g.once.workers.Go(func() { w.work(g.once.ctx) })
		} else {
			ctx := g.e.running
			g.e.tasks.Go(func() { w.work(ctx) })
		}
	}
}

// after runs dispatch again when wait has passed; 0 is for "after the next event".
func (g *group) after(now time.Time, wait time.Duration) {
	if wait <= 0 {
		return
	}
	at := now.Add(wait)
	if g.timer != nil && g.timerAt.After(now) && !g.timerAt.After(at) {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	g.timerAt = at
	g.timer = time.AfterFunc(wait, func() {
		g.e.mu.Lock()
		defer g.e.mu.Unlock()
		g.timerAt = time.Time{}
		g.dispatch()
	})
}

// stop ends the group: its ready jobs go back, its idle workers end.
func (g *group) stop() {
	g.stopped = true
	for len(g.ready) > 0 {
		g.giveUp(g.removeReady(len(g.ready) - 1))
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	g.stopIdle()
	g.wakeFeeder()
}

// stopIdle ends the workers that have nothing to do, and what would give them more.
func (g *group) stopIdle() {
	g.hangUp()
	if g.timer != nil {
		g.timer.Stop()
	}
}

// hangUp ends the connections that have nothing to send. A primary that is in trouble may be so because it takes no more
// than these: then the next probe finds it well, and not their end after ConnIdle.
func (g *group) hangUp() {
	for _, w := range g.idle {
		close(w.give)
	}
	g.idle = nil
}

// dial opens a connection for a worker.
func (g *group) dial(ctx context.Context, domain string) (*smtpc.Conn, error) {
	if g.once != nil && g.once.sel.To != "" {
		return g.e.o.DialTo(ctx, g.once.sel.To)
	}
	return g.e.o.Health.Dial(ctx, domain)
}

// refusals are those of d, or of the run.
func (g *group) refusals(d *domain) *refusals {
	if g.once != nil {
		return &g.once.refusals
	}
	return &d.refusals
}

// lose counts a connection that an entry lost and reports whether it has lost LostTimes of them, the
// last ones while others passed.
func (g *group) lose(j *job, now, tookMail time.Time) bool {
	const most = 10_000
	l := g.losers[j.id()]
	switch {
	case l == nil:
		if len(g.losers) >= most {
			clear(g.losers) // counting begins again
		}
		g.losers[j.id()] = &loser{times: 1, accepted: g.accepted, at: now}
		return false
	case g.accepted > l.accepted || tookMail.After(l.at):
		l.times, l.accepted, l.at = l.times+1, g.accepted, now
	}
	return l.times >= LostTimes
}
