package replay

import (
	"context"
	"fmt"
	"time"

	"restante/relay/replay/pace"
	"restante/spool"
	"restante/spool/index"
)

// ErrNotHosted says that a domain isn't configured here.
type ErrNotHosted struct{ Domain string }

// Error says which one.
func (e ErrNotHosted) Error() string { return "no domain " + e.Domain + " is configured here" }

func (e *Engine) domain(name string) (*domain, error) {
	if d := e.domains[name]; d != nil {
		return d, nil
	}
	return nil, ErrNotHosted{name}
}

// Start begins to replay a domain: it ends a pause, lets a manual domain go until it has nothing
// pending, and tries at once what backs off. On an error a manual domain that wasn't paused may go until the
// process ends.
func (e *Engine) Start(ctx context.Context, domain string, o StartOptions) error {
	e.mu.Lock()
	d, err := e.domain(domain)
	paused, manual := err == nil && d.paused != nil, err == nil && d.Manual
	e.mu.Unlock()
	if err != nil {
		return err
	}
	_, recorded, err := e.o.Index.Paused(ctx, domain)
	if paused || recorded || err != nil {
		if err := e.resume(ctx, domain, o.By, o.Reason, true); err != nil {
			return err
		}
		manual = false // it is recorded with that
	}
	e.mu.Lock()
	d.started, d.start = true, o
	e.hasten(d)
	e.mu.Unlock()
	if !manual {
		return nil
	}
	if err := e.resume(ctx, domain, o.By, o.Reason, true); err != nil {
		return fmt.Errorf("replay of %s has begun, but that could not be recorded and ends with this process: %w", domain, err)
	}
	return nil
}

// hasten tries at once what backs off. Callers hold e.mu.
func (e *Engine) hasten(d *domain) {
	now := time.Now()
	d.released = now
	d.claims.release(now, true)
	d.rewind()
	if g := d.group; g != nil {
		g.setPace()
		g.pace.Nudge()
		g.wakeFeeder()
		g.dispatch()
	}
}

// Pause stops the replay of a domain until Resume or Start. What is under way ends. It holds at once
// on this node; on an error it may not outlive a restart.
func (e *Engine) Pause(ctx context.Context, domain, by, reason string) error {
	e.mu.Lock()
	d, err := e.domain(domain)
	p := &pause{by: by, reason: reason}
	if err == nil {
		d.paused, d.pauseAt = p, time.Now()
		d.started = false
		if d.group != nil {
			d.group.drop(d)
			d.group.wakeFeeder()
		}
	}
	e.mu.Unlock()
	if err != nil {
		return err
	}
	if err := e.o.Spool.Record(ctx, spool.Event{Type: spool.ReplayPaused, Domain: domain, By: by, Reason: reason}); err != nil {
		e.mu.Lock()
		p.unrecorded = true
		e.mu.Unlock()
		return fmt.Errorf("replay of %s is paused, but that could not be recorded and ends with this process: %w", domain, err)
	}
	return nil
}

// Resume ends a pause.
func (e *Engine) Resume(ctx context.Context, domain, by, reason string) error {
	return e.resume(ctx, domain, by, reason, false)
}

func (e *Engine) resume(ctx context.Context, domain, by, reason string, start bool) error {
	e.mu.Lock()
	d, err := e.domain(domain)
	paused := err == nil && d.paused != nil
	start = err == nil && d.Manual && (start || d.started)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	now := time.Now()
	ev := spool.Event{Type: spool.ReplayResumed, Domain: domain, By: by, Reason: reason, Data: startedData(start)}
	was, recorded, err := e.o.Index.Paused(ctx, domain)
	if err != nil {
		return err
	}
	if recorded && !was.Time.Before(now) {
		now = was.Time.Add(1) // the clock was ahead then: the pause would outlive all that is said before its time
		ev.Time = now
	}
	if err := e.o.Spool.Record(ctx, ev); err != nil {
		if !paused && !recorded {
			return fmt.Errorf("replay of %s was not paused as far as this node knows, and that it goes on could not be recorded: %w", domain, err)
		}
		return fmt.Errorf("replay of %s stays paused, since its end could not be recorded: %w", domain, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d.paused, d.pauseAt = nil, now
	e.hasten(d)
	return nil
}

// Status says how far replay of a domain is.
func (e *Engine) Status(ctx context.Context, domain string) (Status, error) {
	sum, err := e.o.Index.Summary(ctx, domain)
	if err != nil {
		return Status{}, err
	}
	ev, recorded, err := e.o.Index.Paused(ctx, domain)
	if err != nil {
		return Status{}, err
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	d, err := e.domain(domain)
	if err != nil {
		return Status{}, err
	}
	if d.lease == nil {
		d.adoptPause(ev, recorded, now, e.cfg.PauseRetry)
	}
	r := &d.run
	s := Status{
		Domain: domain, Since: r.since, Done: r.delivered + r.parked,
		Pending:   max(0, sum.All.Pending-d.onTheirWay(sum)),
		Delivered: r.delivered, Parked: r.parked, Deferred: r.deferred, Lost: r.lost, Unknown: r.unknown,
		LastReply: r.lastReply, Recent: append([]Parked(nil), r.recent...),
	}
	if !r.ended.IsZero() && s.Pending > 0 {
		s.Done = 0 // of the run before; the next has not begun
	}
	s.Total = s.Done + s.Pending
	if !r.since.IsZero() {
		s.Rate = d.rate.perSecond(now, r.since)
	}
	if s.Rate > 0 {
		s.Left = time.Duration(float64(s.Pending) / s.Rate * float64(time.Second)).Round(time.Second)
	}
	if d.group != nil {
		s.Connections = d.group.pace.Connections()
	}
	e.state(d, &s)
	if n := d.claims.unread; n > 0 && s.Reason == "" {
		s.Reason = fmt.Sprintf("pairs that can't be read now: %d, tried again later; %s", n, d.unread)
	}
	return s, nil
}

// onTheirWay counts the outcomes of this run that the index shows as pending for a moment longer. What others
// did to the domain's pairs meanwhile makes it inexact, within what was settled lately. Callers hold e.mu.
func (d *domain) onTheirWay(sum index.Summary) int64 {
	if d.run.over() {
		return 0
	}
	return min(max(0, d.run.delivered+d.run.parked-(endedPairs(sum)-d.base)), int64(d.claims.settled))
}

// state fills in what a domain's replay is doing, and why not more. Callers hold e.mu.
func (e *Engine) state(d *domain, s *Status) {
	rec := e.o.Health.State(d.name)
	switch {
	case e.failed != nil:
		s.State, s.Reason = StateStopped, e.failed.Error()
	case d.paused != nil:
		s.State, s.By, s.Reason, s.Next = StatePaused, d.paused.by, d.paused.reason, d.paused.retryAt
	case s.Pending == 0 && d.jobs == 0:
		s.State = StateIdle
	case d.Manual && !d.started:
		s.State, s.Reason = StateManual, "waits for replay start"
	case !rec.Reachable():
		s.State, s.Reason = StateWaiting, rec.Reason
	case d.lease == nil:
		s.State, s.Reason = StateLease, d.waitingFor
	case d.jobs == 0 && d.scan.ended && !d.scan.next.IsZero():
		s.State, s.Next = StateBackoff, d.scan.next
	case d.group != nil && d.group.pace.Phase() != pace.Open:
		s.State = StateCanary
		if owed := d.group.owed; !owed.IsZero() {
			s.Reason = "the primary has had the first message for " + spool.Span(time.Since(owed)) + " without a reply; [primary] data_timeout says how long it may"
		}
	default:
		s.State = StateRunning
	}
}

// Watch calls f with the status of a domain, at once and then each time `every` has passed, until ctx
// ends or f fails, whose error it returns.
func (e *Engine) Watch(ctx context.Context, domain string, every time.Duration, f func(Status) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s, err := e.Status(ctx, domain)
		if err != nil {
			return err
		}
		if err := f(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// HasPending reports that the domain has something that replay would send if the primary could be
// reached: pairs kept for an address that is declared down don't count, nor do those that are settled
// and of which the index doesn't know yet, nor any while replay waits for an admin.
func (e *Engine) HasPending(domain string) bool {
	if e.waitsForAdmin(domain) {
		return false
	}
	const pages, size = 5, 200 // more than that declared for single addresses is not worth looking through
	var after index.Cursor
	for range pages {
		pairs, next, err := e.o.Index.Pending(context.Background(), domain, after, size)
		if err != nil {
			e.log.Warn("the index doesn't say whether mail is pending", "domain", domain, "error", err)
			return true // then the primary has to show that it takes mail
		}
		e.mu.Lock()
		d := e.domains[domain]
		for i := range pairs {
			k, ok := keyOf(&pairs[i])
			if d != nil && ok && d.claims.isSettled(k, pairs[i].Round) {
				continue
			}
			if decl, held := e.o.Health.Declared(pairs[i].Address); held && decl.Target != domain {
				continue
			}
			e.mu.Unlock()
			return true
		}
		e.mu.Unlock()
		if next == "" {
			return false
		}
		after = next
	}
	return true
}

// waitsForAdmin reports that nothing of the domain is sent until an admin says so: it is manual and not started, or
// was paused by one. After a pause of our own the primary has yet to show that it takes mail.
func (e *Engine) waitsForAdmin(domain string) bool {
	ev, recorded, err := e.o.Index.Paused(context.Background(), domain)
	if err != nil {
		e.log.Warn("the index doesn't say whether replay is paused", "domain", domain, "error", err)
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.domains[domain]
	if d == nil {
		return false
	}
	switch {
	case d.paused != nil:
		return !d.paused.self
	case recorded && ev.Time.After(d.pauseAt): // adopted with the lease
		return ev.By != by
	}
	return d.Manual && !d.started
}
