package replay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"restante/relay/health"
	"restante/relay/replay/pace"
	"restante/spool"
)

const (
	// ReadyBytes and ReadyCount bound what a group has fetched and not yet sent.
	ReadyBytes = 8 << 20
	ReadyCount = 1000
	// pageSize is the number of pairs read from the index at once.
	pageSize = 1000
	// LeaseIdle is how long a lease is kept with nothing to do, so that a trickle of mail doesn't cost
	// a lease each.
	LeaseIdle = 5 * time.Second
	// ConnIdle is how long a connection is kept with nothing to send.
	ConnIdle = 5 * time.Second
	// StopWait is how long messages under way may take to end when Run's context ends.
	StopWait = 15 * time.Second
	// recheckAfter is the age at which a fetched message's pairs are asked for again before it is sent:
	// an admin may have held or removed them since.
	recheckAfter = 2 * time.Second
)

// Engine replays all domains. All its methods may be called at any time by any goroutine.
type Engine struct {
	o   Options
	log *slog.Logger

	mu      sync.Mutex
	cfg     Config
	domains map[string]*domain
	groups  map[string]*group
	running context.Context // of the workers; nil before Run
	feeding context.Context // of the feeders: ends first
	tasks   sync.WaitGroup

	synced     time.Time     // all that was in the ledger by then is in the index
	syncFailed time.Time     // the ledger could not be read to its end then
	failed     error         // why nothing is sent: outcomes can't be recorded
	unsaved    []spool.Event // outcomes that stand nowhere yet
}

// New returns an Engine that does nothing before Run.
func New(o Options) (*Engine, error) {
	if o.Spool == nil || o.Index == nil || o.Health == nil {
		return nil, errors.New("replay: Spool, Index and Health are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(Notice) {}
	}
	e := &Engine{o: o, log: o.Log, domains: make(map[string]*domain), groups: make(map[string]*group)}
	e.SetConfig(o.Config, o.Domains)
	return e, nil
}

// Run replays until ctx ends. Then no further message is begun, those under way get StopWait to end,
// and leases are given back.
func (e *Engine) Run(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.mu.Lock()
	if e.running != nil {
		e.mu.Unlock()
		return errors.New("replay: it runs already")
	}
	e.running, e.feeding = hard, ctx
	e.regroup()
	e.mu.Unlock()
	e.o.Health.Subscribe(e.healthChanged)
	e.housekeeping(ctx)

	e.mu.Lock()
	for _, g := range e.groups {
		g.stopIdle()
	}
	e.mu.Unlock()
	ended := make(chan struct{})
	go func() { e.tasks.Wait(); close(ended) }()
	timer := time.NewTimer(StopWait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		cancel()
		<-ended
	}
	e.retryUnsaved() // what can't be written now is forgotten
	e.releaseAll(hard)
	e.mu.Lock()
	e.running, e.feeding = nil, nil
	e.groups = make(map[string]*group)
	e.mu.Unlock()
	return nil
}

// housekeeping does what is due by the clock, and returns when ctx ends.
func (e *Engine) housekeeping(ctx context.Context) {
	const every = 5 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		e.adoptStarts(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.retryUnsaved()
		e.adoptResumes(ctx)
		e.mu.Lock()
		e.regroup() // MX records may have moved a domain to other hosts
		now := time.Now()
		for _, d := range e.domains {
			d.claims.expire(now)
		}
		e.gauge()
		e.mu.Unlock()
	}
}

// gauge refreshes what the metrics say of the pace. Sets with the same hosts, spoken to in different ways, are one there.
// Callers hold e.mu.
func (e *Engine) gauge() {
	connections, window := make(map[string]int), make(map[string]int)
	for _, g := range e.groups {
		hosts := health.Hosts(g.key)
		connections[hosts] += g.pace.Connections()
		window[hosts] += g.pace.Limit()
	}
	for hosts, n := range connections {
		e.o.Metrics.pace(hosts, n, window[hosts])
	}
}

// SetConfig replaces configuration and domains. What is under way goes on; a domain that is gone gets
// no further message.
func (e *Engine) SetConfig(c Config, domains []Domain) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cfg = c.withDefaults()
	for _, dc := range domains {
		d := e.domains[dc.Name]
		if d == nil {
			d = newDomain(dc.Name)
			e.domains[dc.Name] = d
		}
		d.Domain = dc
	}
	for name := range e.domains {
		if !slices.ContainsFunc(domains, func(d Domain) bool { return d.Name == name }) {
			d := e.domains[name]
			d.gone = true
			delete(e.domains, name)
			e.letGo(d)
		}
	}
	e.regroup()
	for _, g := range e.groups {
		g.setPace()
		g.wakeFeeder()
	}
}

// regroup puts each domain into the group of its primary's hosts, and makes and drops groups. Callers
// hold e.mu.
func (e *Engine) regroup() {
	if e.running == nil || e.feeding.Err() != nil {
		return
	}
	want := make(map[string][]*domain)
	for _, d := range e.domains {
		k := e.o.Health.Key(d.name)
		want[k] = append(want[k], d)
	}
	for k, ds := range want {
		slices.SortFunc(ds, func(a, b *domain) int {
			if a.name < b.name {
				return -1
			}
			return 1
		})
		g := e.groups[k]
		if g == nil {
			g = e.newGroup(k)
			e.groups[k] = g
			e.tasks.Go(func() { g.feed(e.feeding) })
		}
		if slices.Equal(g.doms, ds) {
			continue
		}
		for _, d := range ds {
			if d.group != nil && d.group != g {
				d.group.drop(d)
			}
			d.group = g
		}
		g.doms = ds
		g.setPace()
		g.wakeFeeder()
	}
	for k, g := range e.groups {
		if want[k] == nil {
			g.doms = nil
			g.stop()
			delete(e.groups, k)
		}
	}
}

// healthChanged hears of each change of a primary's state.
func (e *Engine) healthChanged(c health.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.regroup()
	d := e.domains[c.Domain]
	if d == nil || d.group == nil {
		return
	}
	g := d.group
	switch {
	case c.After.Reachable() && !c.Before.Reachable():
		// What was lost or deferred before was the primary's fault. What it refused may be why it counted as away: if it answers
		// probes alone, that goes on many times a second, and is no reason to park anything.
		d.released = time.Now()
		d.claims.release(d.released, false)
		d.rewind()
		d.refusals.proven = false
		g.pace.Nudge()
	case !c.After.Reachable() && c.Before.Reachable() && c.After.Declaration == nil:
		g.pace.Reset()
	}
	if !c.After.Reachable() {
		g.hangUp()
	}
	g.wakeFeeder()
	g.dispatch()
}

// settle records an outcome; after an error nothing is sent until the outcome is recorded after all.
func (e *Engine) settle(ev spool.Event) error {
	err := e.o.Spool.Settle(ev)
	if err == nil {
		return nil
	}
	e.mu.Lock()
	first := e.failed == nil
	e.failed = err
	e.unsaved = append(e.unsaved, ev)
	e.mu.Unlock()
	if first {
		e.log.Error("replay stops: outcomes can't be recorded", "error", err)
		e.o.Notify(Notice{Kind: NoticeStopped, Time: time.Now(), Reason: err.Error()})
	}
	return err
}

// retryUnsaved tries again to record what could not be recorded, and lets replay go on when all is.
func (e *Engine) retryUnsaved() {
	e.mu.Lock()
	failed, evs := e.failed, slices.Clone(e.unsaved)
	e.mu.Unlock()
	if failed == nil {
		return
	}
	n := 0
	for _, ev := range evs {
		if err := e.o.Spool.Settle(ev); err != nil {
			e.log.Error("replay stays stopped: outcomes can't be recorded", "error", err, "outcomes", len(evs)-n)
			break
		}
		n++
	}
	e.mu.Lock()
	e.unsaved = slices.Delete(e.unsaved, 0, n)
	goesOn := len(e.unsaved) == 0
	if goesOn {
		e.failed = nil
		for _, g := range e.groups {
			g.wakeFeeder()
			g.dispatch()
		}
	}
	e.mu.Unlock()
	if goesOn {
		e.log.Info("replay goes on: outcomes can be recorded again")
		e.o.Notify(Notice{Kind: NoticeGoesOn, Time: time.Now()})
	}
}

// observe tells health what was seen; never with e.mu held, since health may call back.
func (e *Engine) observe(domain string, kind health.Kind, host, reply, reason string) {
	e.o.Health.Observe(domain, health.Observation{Kind: kind, Host: host, Reply: reply, Reason: reason, Replay: true})
}

func paceConfig(c Config, connections int, rate float64) pace.Config {
	return pace.Config{Start: c.Start, Cap: connections, Rate: rate, WaitMin: c.LostWait}
}
