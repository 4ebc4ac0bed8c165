package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
)

func TestWaitsForThePrimaryThenCanaryFirst(t *testing.T) {
	t.Parallel()
	var first, most atomic.Int64
	r := newRig(t, sink.Options{Keep: true}).open()
	r.health.state = health.Down
	r.keepMany(100)
	pairs, _, err := r.index.Pending(t.Context(), testDomain, "", 30)
	if err != nil {
		t.Fatal(err)
	}
	known := pairs[29].Address
	r.learn(known)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Count: 1, Delay: 100 * time.Millisecond}}})
	r.run()
	r.until("it waits", func() bool { return r.status().State == StateWaiting })
	if st := r.sink.Stats(); st.Connections != 0 {
		t.Fatalf("%d connections to a primary that is down", st.Connections)
	}
	if !r.engine.HasPending(testDomain) {
		t.Error("nothing pending?")
	}
	began := time.Now()
	r.health.set(health.Recovering, testDomain)
	r.until("the canary is out", func() bool { return r.sink.Stats().Transactions == 1 })
	if took := time.Since(began); took > 4*time.Second { // housekeeping comes round every 5 s: it was woken before
		t.Errorf("the canary took %v", took)
	}
	first.Store(r.sink.Stats().Connections)
	r.delivered(100)
	most.Store(r.sink.Stats().MaxCurrent)
	if first.Load() != 1 || most.Load() < 5 {
		t.Errorf("%d connections for the canary, %d later", first.Load(), most.Load())
	}
	if m := r.sink.Messages(); len(m) == 0 || m[0].Rcpts[0] != known {
		t.Error("the canary wasn't to the recipient known good")
	}
	if r.health.count(health.Took) == 0 {
		t.Error("health wasn't told that mail was taken")
	}
	r.until("health hears that nothing is left", func() bool { return r.health.count(health.Empty) > 0 })
	if r.engine.HasPending(testDomain) {
		t.Error("still pending")
	}
	r.exact(0)
}

func TestGoesDownHalfWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(200)
	r.sink.SetFaults(sink.Faults{Delay: 2 * time.Millisecond, Rules: []sink.Rule{{Stage: sink.StageDot, Skip: 50, Count: 1, Stop: true, Drop: sink.DropBefore}}})
	r.run()
	r.until("health is told", func() bool { return r.health.count(health.Lost) > 0 })
	r.health.set(health.Down, testDomain)
	n := r.status().Delivered
	if n == 0 || n == 200 {
		t.Fatalf("%d delivered before it stopped", n)
	}
	r.sink.SetFaults(sink.Faults{})
	r.startSink()
	r.health.set(health.Recovering, testDomain)
	r.delivered(200)
	r.exact(int(r.status().Unknown)) // the host was killed with replies on their way
}

func TestManualPauseResume(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain, Manual: true}}
	r.keepMany(50)
	r.run()
	r.until("it waits for start", func() bool { return r.status().State == StateManual })
	if n := r.sink.Stats().Connections; n > 0 {
		t.Fatalf("%d connections", n)
	}
	ctx := t.Context()
	if err := r.engine.Start(ctx, testDomain, StartOptions{By: "admin root", Rate: 20}); err != nil {
		t.Fatal(err)
	}
	r.until("some are delivered", func() bool { return r.counts().Delivered > 3 })
	if err := r.engine.Pause(ctx, testDomain, "admin root", "lunch"); err != nil {
		t.Fatal(err)
	}
	var at int64
	r.until("nothing is under way", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		at = r.sink.Stats().Messages
		return r.engine.domains[testDomain].jobs == 0
	})
	s := r.status()
	if s.State != StatePaused || s.By != "admin root" || s.Reason != "lunch" {
		t.Errorf("status %+v", s)
	}
	if at == 50 {
		t.Fatal("the rate of 20/s was not kept")
	}
	if err := r.engine.Start(ctx, testDomain, StartOptions{By: "admin root"}); err != nil {
		t.Fatal(err)
	}
	r.delivered(50)
	r.exact(0)
	r.until("the run ends", func() bool { return len(r.noticed(NoticeFinished)) == 1 })
	r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "late@"+testDomain)
	r.until("manual again", func() bool { return r.status().State == StateManual })
	var e ErrNotHosted
	if err := r.engine.Pause(ctx, "other.test", "", ""); !errors.As(err, &e) {
		t.Errorf("pause of a domain that isn't ours: %v", err)
	}
}

// TestStartOutlivesTheProcess: a manual domain that was started goes on after a restart until it has nothing pending, and
// no longer.
func TestStartOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain, Manual: true}}
	r.keepMany(30)
	stop := r.run()
	if err := r.engine.Start(t.Context(), testDomain, StartOptions{By: "admin root", Rate: 20}); err != nil {
		t.Fatal(err)
	}
	r.until("some are delivered", func() bool { return r.counts().Delivered > 3 })
	stop()
	if r.counts().Delivered == 30 {
		t.Fatal("the rate of 20/s was not kept")
	}
	r.until("the index knows", func() bool {
		at, err := r.engine.startedAt(t.Context(), testDomain)
		return err == nil && !at.IsZero()
	})
	stop = r.run()
	r.delivered(30)
	r.until("the run ends", func() bool { return len(r.noticed(NoticeFinished)) == 1 })
	late := r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "late@"+testDomain)
	r.until("manual again", func() bool { return r.status().State == StateManual })
	r.engine.adoptStarts(t.Context())
	if s := r.status(); s.State != StateManual {
		t.Errorf("state %s, want what came later to wait", s.State)
	}
	stop()
	r.run()
	r.engine.adoptStarts(t.Context())
	if s := r.status(); s.State != StateManual {
		t.Errorf("state %s after another restart, want what came later to wait", s.State)
	}
	delete(r.sent, late)
	r.exact(0)
}

// TestWhatWaitsForAnAdminIsNotPending: mail that only an admin's word sends doesn't keep the primary from counting as
// up, before or after a restart. What replay itself paused for does.
func TestWhatWaitsForAnAdminIsNotPending(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(5)
	r.health.state = health.Down
	stop := r.run()
	pending := func(want bool, when string) {
		t.Helper()
		r.until(when, func() bool { return r.engine.HasPending(testDomain) == want })
	}
	pending(true, "pending while the primary is down")
	if err := r.engine.Pause(t.Context(), testDomain, "admin root", "wait"); err != nil {
		t.Fatal(err)
	}
	pending(false, "paused")
	stop()
	stop = r.run()
	pending(false, "paused, after a restart")
	if err := r.engine.Resume(t.Context(), testDomain, "admin root", ""); err != nil {
		t.Fatal(err)
	}
	pending(true, "resumed")
	if err := r.spool.Record(t.Context(), spool.Event{Type: spool.ReplayPaused, Domain: testDomain, By: by}); err != nil {
		t.Fatal(err)
	}
	r.until("paused by itself", func() bool { return r.status().State == StatePaused })
	pending(true, "paused by itself")
	if err := r.engine.Resume(t.Context(), testDomain, "admin root", ""); err != nil {
		t.Fatal(err)
	}
	r.until("the index knows", func() bool {
		_, paused, err := r.index.Paused(t.Context(), testDomain)
		return err == nil && !paused
	})
	stop()
	r.options.Domains = []Domain{{Name: testDomain, Manual: true}}
	r.run()
	pending(false, "manual")
	if err := r.engine.Start(t.Context(), testDomain, StartOptions{By: "admin root"}); err != nil {
		t.Fatal(err)
	}
	pending(true, "started")
}

func TestPauseOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	stop := r.run()
	if err := r.engine.Pause(t.Context(), testDomain, "admin root", "wait"); err != nil {
		t.Fatal(err)
	}
	stop()
	r.keepMany(5)
	r.run()
	r.until("paused", func() bool { s := r.status(); return s.State == StatePaused && s.By == "admin root" })
	if n := r.sink.Stats().Connections; n > 0 {
		t.Errorf("%d connections", n)
	}
	if err := r.engine.Resume(t.Context(), testDomain, "admin root", ""); err != nil {
		t.Fatal(err)
	}
	r.delivered(5)
}

func TestDeclaredAddressIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.health.declared["me@"+testDomain] = true
	r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "me@"+testDomain, "you@"+testDomain)
	r.folded(2)
	r.run()
	r.delivered(1)
	r.until("the rest is held back", func() bool { return !r.engine.HasPending(testDomain) })
	r.health.mu.Lock()
	delete(r.health.declared, "me@"+testDomain)
	r.health.mu.Unlock()
	r.until("pending, or delivered already, after the declaration ended", func() bool {
		return r.engine.HasPending(testDomain) || r.sink.Stats().Messages == 2
	})
	r.delivered(2)
	r.exact(0)
}

// faulty fails Settle for a while, and hands out leases that can be broken.
type faulty struct {
	Spool
	failing atomic.Bool
	settles atomic.Int64
	broken  atomic.Bool
	mu      sync.Mutex
	failed  []spool.Event
}

func (f *faulty) Settle(ev spool.Event) error {
	f.settles.Add(1)
	if f.failing.Load() {
		f.mu.Lock()
		f.failed = append(f.failed, ev)
		f.mu.Unlock()
		return errors.New("disk full")
	}
	return f.Spool.Settle(ev)
}

type faultyLease struct {
	Lease
	f *faulty
}

func (l faultyLease) Valid() bool { return !l.f.broken.Load() && l.Lease.Valid() }

func (f *faulty) Lease(ctx context.Context, name string) (Lease, error) {
	l, err := f.Spool.Lease(ctx, name)
	if err != nil {
		return nil, err
	}
	return faultyLease{l, f}, nil
}

func TestStopsWhenOutcomesCannotBeRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(100)
	f := &faulty{Spool: r.options.Spool}
	r.options.Spool = f
	r.sink.SetFaults(sink.Faults{Delay: time.Millisecond})
	r.run()
	r.until("some are delivered", func() bool { return f.settles.Load() > 20 })
	f.failing.Store(true)
	r.until("it stops", func() bool { return r.status().State == StateStopped })
	r.until("nothing is under way", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return r.engine.domains[testDomain].jobs == 0
	})
	if len(r.noticed(NoticeStopped)) != 1 {
		t.Error("nobody was told")
	}
	f.failing.Store(false)
	r.engine.retryUnsaved() // housekeeping does, every 5 s
	r.delivered(100)
	f.mu.Lock()
	lost := len(f.failed)
	f.mu.Unlock()
	if lost == 0 {
		t.Error("nothing failed")
	}
	// What was under way when it stopped had its final dot out already; replies that were read are kept.
	s := r.status()
	r.exact(int(s.Unknown))
	if len(r.noticed(NoticeGoesOn)) != 1 {
		t.Error("nobody was told that it goes on")
	}
}

func TestNothingGoesOutWithoutTheLease(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(300)
	f := &faulty{Spool: r.options.Spool}
	r.options.Spool = f
	r.sink.SetFaults(sink.Faults{Delay: 2 * time.Millisecond})
	r.run()
	r.until("some are delivered", func() bool { return f.settles.Load() > 20 })
	f.broken.Store(true)
	r.until("nothing is under way", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return r.engine.domains[testDomain].jobs == 0
	})
	at := r.sink.Stats().Messages
	if at >= 300 {
		t.Fatal("all went before")
	}
	r.until("time passes", func() bool { return r.status().State == StateLease })
	if n := r.sink.Stats().Messages; n != at {
		t.Errorf("%d messages went out without the lease", n-at)
	}
	f.broken.Store(false)
	r.delivered(300)
	r.exact(int(r.status().Unknown))
}

// lagging is an index that learns of everything late.
type lagging struct {
	spool.Fold
	delay time.Duration
}

func (l lagging) Apply(ctx context.Context, steps []spool.Step) error {
	sleep(ctx, l.delay)
	return l.Fold.Apply(ctx, steps)
}

func TestIndexThatLagsCausesNoDuplicates(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true})
	r.fold = lagFold{r}
	r.open()
	r.keepMany(1500)
	r.run()
	r.until("it begins", func() bool { return r.sink.Stats().Messages > 0 })
	// Everything wakes the feeder, again and again, while the index still shows what was delivered.
	for range 20 {
		r.engine.mu.Lock()
		r.engine.domains[testDomain].rewind()
		r.engine.groups["set"].wakeFeeder()
		r.engine.mu.Unlock()
		n := r.sink.Stats().Messages
		r.until("more", func() bool { return r.sink.Stats().Messages > n || n == 1500 })
	}
	r.delivered(1500)
	r.exact(0)
	r.until("claims are forgotten", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return len(r.engine.domains[testDomain].claims.m) == 0
	})
}

// lagFold is lagging around the index that the rig opens later.
type lagFold struct{ r *rig }

func (l lagFold) Positions(ctx context.Context) (map[spool.StreamID]spool.Position, error) {
	return l.r.index.Positions(ctx)
}
func (l lagFold) Apply(ctx context.Context, steps []spool.Step) error {
	return lagging{l.r.index, 200 * time.Millisecond}.Apply(ctx, steps)
}

func TestDomainsOfOnePrimaryShareItsPace(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain}, {Name: "second.test"}, {Name: "third.test"}}
	r.health.keys["third.test"] = "other"
	for i := range 100 {
		for _, d := range []string{testDomain, "second.test", "third.test"} {
			r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", fmt.Sprintf("u%d@%s", i, d))
		}
	}
	r.run()
	r.until("all have it", func() bool { return r.sink.Stats().Messages == 300 })
	r.exact(0)
	r.engine.mu.Lock()
	groups := len(r.engine.groups)
	r.engine.mu.Unlock()
	if groups != 2 {
		t.Errorf("%d groups, want 2", groups)
	}
	r.engine.SetConfig(quick(), []Domain{{Name: testDomain}})
	r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "late@"+testDomain)
	r.until("the last one", func() bool { return r.sink.Stats().Messages == 301 })
	if _, err := r.engine.Status(t.Context(), "third.test"); err == nil {
		t.Error("status of a domain that is gone")
	}
}

func TestRunOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain, Manual: true}}
	other := sink.New(sink.Options{Keep: true, Strict: true})
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	r.options.DialTo = func(ctx context.Context, hostport string) (*smtpc.Conn, error) {
		target, err := health.ParsePrimary(hostport)
		if err != nil {
			return nil, err
		}
		target.TLS.Mode = smtpc.TLSNone
		return r.health.dialer.Dial(ctx, target)
	}
	r.keepMany(50)
	r.run()
	ctx := t.Context()

	r.until("it waits for start", func() bool { return r.status().State == StateManual })
	sum, err := r.engine.RunOnce(ctx, Selection{Domain: testDomain, DryRun: true}, nil)
	if err != nil || sum.Selected != 50 || sum.Octets == 0 || sum.Delivered != 0 || r.sink.Stats().Connections != 0 {
		t.Fatalf("dry run: %+v, %v; %d connections", sum, err, r.sink.Stats().Connections)
	}
	sum, err = r.engine.RunOnce(ctx, Selection{Rcpt: "USER7@" + testDomain}, nil)
	if err != nil || sum.Selected != 1 || sum.Delivered != 1 {
		t.Fatalf("one recipient: %+v, %v", sum, err)
	}
	r.delivered(1)
	var told []Progress
	sum, err = r.engine.RunOnce(ctx, Selection{Domain: testDomain, By: "admin root"}, func(p Progress) { told = append(told, p) })
	if err != nil || sum.Selected != 49 || sum.Delivered != 49 {
		t.Fatalf("the rest: %+v, %v", sum, err)
	}
	if len(told) != 50 || told[10].Outcome != "delivered" || told[10].Entry == "" || told[49].Delivered != 49 {
		t.Errorf("progress: %d calls, %+v", len(told), told[len(told)-1])
	}
	r.delivered(50)
	r.exact(0)
	sum, err = r.engine.RunOnce(ctx, Selection{Domain: testDomain}, nil)
	if err != nil || sum.Selected != 0 {
		t.Fatalf("nothing left: %+v, %v", sum, err)
	}
	id := firstID(r)
	sum, err = r.engine.RunOnce(ctx, Selection{IDs: []string{id}, Again: true, To: other.Addr(), By: "admin root"}, nil)
	if err != nil || sum.Delivered != 1 || len(other.Messages()) != 1 {
		t.Fatalf("again, to another host: %+v, %v", sum, err)
	}
	sum, err = r.engine.RunOnce(ctx, Selection{Domain: testDomain, Again: true, To: other.Addr(), Rate: 500}, nil)
	if err != nil || sum.Delivered != 50 || len(other.Messages()) != 51 {
		t.Fatalf("all again: %+v, %v; %d", sum, err, len(other.Messages()))
	}
	r.until("all is accounted for", func() bool { c := r.counts(); return c.Delivered == 50 && c.Pending == 0 })
	r.exact(0) // the primary got nothing more
	v, err := r.index.Entry(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if p := v.Pairs[0]; p.Round != 2 || p.Attempts != 3 || !strings.Contains(v.Pairs[0].Host, other.Addr()) {
		t.Errorf("pair %+v", v.Pairs[0])
	}
	other.Stop()
	sum, err = r.engine.RunOnce(ctx, Selection{IDs: []string{id}, Again: true, To: other.Addr()}, nil)
	if err == nil || !strings.Contains(err.Error(), "3 times in a row") || sum.Delivered != 0 {
		t.Fatalf("nobody there: %+v, %v", sum, err)
	}
}

func TestRunOnceBesideTheEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(400)
	r.sink.SetFaults(sink.Faults{Delay: time.Millisecond})
	r.run()
	r.until("it begins", func() bool { return r.sink.Stats().Messages > 0 })
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := r.engine.RunOnce(context.Background(), Selection{Domain: testDomain}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r.delivered(400)
	r.exact(0)
}

func TestAdminTakesAPairOutOfTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Config.Rate = 4
	r.keepMany(12)
	r.run()
	r.until("the first is delivered", func() bool { return r.counts().Delivered > 0 })
	pairs, _, err := r.index.Pending(t.Context(), testDomain, "", 100)
	if err != nil || len(pairs) < 5 {
		t.Fatalf("%d pending, %v", len(pairs), err)
	}
	p := pairs[len(pairs)-1]
	if err := r.spool.Record(t.Context(), spool.Event{Type: spool.Removed, Entry: p.Entry, Rcpt: p.Rcpt, Round: p.Round, By: "admin root"}); err != nil {
		t.Fatal(err)
	}
	r.delivered(11)
	delete(r.sent, p.Entry)
	r.exact(0)
}

func TestLeaseIsLookedAtBeforeTheFinalDot(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Config.Connections = 1
	r.keepMany(20)
	f := &faulty{Spool: r.options.Spool}
	r.options.Spool = f
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Skip: 5, Count: 1, Delay: 300 * time.Millisecond}}})
	r.run()
	r.until("the sixth is at its recipient", func() bool {
		st := r.sink.Stats()
		return st.Messages == 5 && st.Transactions == 6
	})
	f.broken.Store(true)
	r.until("nothing is under way", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return r.engine.domains[testDomain].jobs == 0
	})
	if n := r.sink.Stats().Messages; n != 5 {
		t.Errorf("%d messages, the lease was lost after 5", n)
	}
	f.broken.Store(false)
	r.delivered(20)
	r.exact(0)
}
