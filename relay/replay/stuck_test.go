package replay

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/spool"
	"restante/spool/batch"
)

// What can't be read, and what is waited for in vain, stands in nobody's way.

func TestMissingBatchHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	id := r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "first@"+testDomain)
	r.folded(1)
	r.keepMany(10)
	v, err := r.index.Entry(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	loc := v.Pairs[0].Location
	if err := r.store.Delete(t.Context(), spool.StreamID{Name: loc.Stream}.Key(loc.Seq)); err != nil {
		t.Fatal(err)
	}
	delete(r.sent, id)
	r.run()
	r.until("the others are delivered", func() bool { return r.counts().Delivered == 10 })
	r.exact(0)
	if c := r.counts(); c.Pending != 1 || c.Parked != 0 {
		t.Errorf("%+v, want what is missing to stay pending", c)
	}
}

// unreadable can't read some entries, as on a bad sector of a disk.
type unreadable struct {
	Spool
	ids   map[string]bool
	err   error
	tries atomic.Int64
}

func (u *unreadable) Fetch(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error) {
	if u.ids[id] {
		u.tries.Add(1)
		return nil, nil, u.err
	}
	return u.Spool.Fetch(ctx, id, loc)
}

func TestUnreadableHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(10)
	id := firstID(r)
	r.options.Spool = &unreadable{Spool: r.options.Spool, ids: map[string]bool{id: true}, err: syscall.EIO}
	delete(r.sent, id)
	r.run()
	r.until("the others are delivered", func() bool { return r.counts().Delivered == 9 })
	r.exact(0)
	if c := r.counts(); c.Pending != 1 || c.Parked != 0 {
		t.Errorf("%+v, want what can't be read to stay pending", c)
	}
}

// TestNewerFormatHoldsNobodyUp: a whole batch that a newer program wrote, met by one that was put back, is tried again
// now and then; what comes after it goes out at once, and the status says what is wrong.
func TestNewerFormatHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(60)
	pairs, _, err := r.index.Pending(t.Context(), testDomain, "", 50)
	if err != nil {
		t.Fatal(err)
	}
	u := &unreadable{Spool: r.options.Spool, ids: map[string]bool{}, err: fmt.Errorf("%w: 2", batch.ErrNewer)}
	for _, p := range pairs {
		u.ids[p.Entry] = true
		delete(r.sent, p.Entry)
	}
	r.options.Spool = u
	r.options.Config.BackoffMax = time.Hour
	r.run()
	began := time.Now()
	r.until("the others are delivered", func() bool { return r.counts().Delivered == 10 })
	if took := time.Since(began); took > 30*time.Second { // a backoff is an hour
		t.Errorf("the others took %v", took)
	}
	r.exact(0)
	r.until("the status tells", func() bool {
		s := r.status()
		return s.State == StateBackoff && strings.Contains(s.Reason, "50") && strings.Contains(s.Reason, "newer")
	})
	if n := u.tries.Load(); n != 50 {
		t.Errorf("read %d times, want each once", n)
	}
	sum, err := r.engine.RunOnce(t.Context(), Selection{Domain: testDomain}, nil)
	if err != nil || sum.Skipped != 50 || sum.Delivered != 0 {
		t.Errorf("replay run: %+v, %v", sum, err)
	}
}

func TestUnreadableBacksOff(t *testing.T) {
	c, k, now := newClaims(), key{}, time.Now()
	cfg := Config{}.withDefaults()
	p := &spool.Pair{Entry: manyID(1)}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		if ok, _ := c.take(p, k, 1, now, time.Time{}, &cfg); !ok {
			t.Fatal("not due")
		}
		due := c.unreadable(k, now, time.Second, 5*time.Second, 0)
		if due.Sub(now) != want || c.unread != 1 || c.later != 1 {
			t.Errorf("due after %v, want %v; %d unread, %d later", due.Sub(now), want, c.unread, c.later)
		}
		now = due
	}
	c.forget(k)
	if c.unread != 0 || c.later != 0 {
		t.Errorf("%d unread, %d later", c.unread, c.later)
	}
}

func TestErasedIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	id := r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "first@"+testDomain)
	r.folded(1)
	r.keepMany(10)
	if err := r.spool.Erase(t.Context(), r.index, "admin root", "asked for", id); err != nil {
		t.Fatal(err)
	}
	delete(r.sent, id)
	r.run()
	r.until("all ended", func() bool { c := r.counts(); return c.Delivered == 10 && c.Parked == 1 })
	r.exact(0)
}

// TestDomainThatComesBack: a domain that a reload drops, right after its last message, lets go of its lease: when
// another reload brings it back, its mail goes out.
func TestDomainThatComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(5)
	r.run()
	r.until("all is delivered", func() bool { return r.counts().Delivered == 5 })
	r.engine.SetConfig(r.options.Config, []Domain{{Name: "second.test"}})
	r.engine.SetConfig(r.options.Config, []Domain{{Name: "second.test"}, {Name: testDomain}})
	r.keepMany(10)
	r.until("what came later is delivered", func() bool { return r.counts().Delivered == 15 })
	r.exact(0)
}

// TestIdleLeaseIsGivenBack: once everything is delivered the lease goes back, although nothing changes any more: mail that
// another node has taken waits for it.
func TestIdleLeaseIsGivenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(5)
	r.run()
	r.delivered(5)
	held := func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return r.engine.domains[testDomain].lease != nil
	}
	if !held() {
		t.Fatal("the lease was given back at once: a trickle of mail costs one each")
	}
	r.until("the lease is given back", func() bool { return !held() })
}

// TestSuspectIsHungUpOn: a primary that takes few connections is in trouble because of ours. They aren't kept for more to
// send when it may not be sent.
func TestSuspectIsHungUpOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(50)
	r.run()
	r.delivered(50)
	if r.sink.Stats().Current == 0 {
		t.Fatal("no connection is kept for more to send")
	}
	began := time.Now()
	r.health.set(health.Suspect, testDomain)
	r.until("all connections are closed", func() bool { return r.sink.Stats().Current == 0 })
	if took := time.Since(began); took > ConnIdle/2 {
		t.Errorf("it took %v", took)
	}
}

// noLedger can't record anything at once.
type noLedger struct{ Spool }

func (noLedger) Record(context.Context, ...spool.Event) error { return spool.ErrVoid }

// TestUnrecordedPauseHolds: what an admin was told, that it is paused until the process ends, stays true although the
// index never shows it.
func TestUnrecordedPauseHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Spool = noLedger{r.options.Spool}
	r.run()
	resume := func(want string) {
		t.Helper()
		if err := r.engine.Resume(t.Context(), testDomain, "admin root", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	resume("was not paused")
	if err := r.engine.Pause(t.Context(), testDomain, "admin root", "wait"); err == nil {
		t.Fatal("not told that it could not be recorded")
	}
	resume("stays paused")
	r.engine.mu.Lock()
	r.engine.domains[testDomain].pauseAt = time.Now().Add(-time.Hour)
	r.engine.mu.Unlock()
	if s := r.status(); s.State != StatePaused {
		t.Errorf("state %s, want it paused", s.State)
	}
}

// TestPauseFromTheFuture: a pause recorded by a clock that was years ahead can be ended today.
func TestPauseFromTheFuture(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(5)
	ev := spool.Event{Type: spool.ReplayPaused, Domain: testDomain, By: "admin root", Time: time.Now().AddDate(4, 0, 0)}
	if err := r.spool.Record(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	paused := func() bool {
		_, ok, err := r.index.Paused(t.Context(), testDomain)
		return ok && err == nil
	}
	r.until("the index shows it", paused)
	r.run()
	r.until("it is paused", func() bool { return r.status().State == StatePaused })
	if err := r.engine.Resume(t.Context(), testDomain, "admin root", ""); err != nil {
		t.Fatal(err)
	}
	r.until("all is delivered", func() bool { return r.counts().Delivered == 5 })
	if paused() {
		t.Error("it comes back with the next start")
	}
}

// TestUnsavedIsWrittenAtTheEnd: outcomes that could not be recorded for a while are when the engine stops, if they can
// be by then: what was delivered is not delivered again.
func TestUnsavedIsWrittenAtTheEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(40)
	f := &faulty{Spool: r.options.Spool}
	r.options.Spool = f
	r.sink.SetFaults(sink.Faults{Delay: 5 * time.Millisecond})
	stop := r.run()
	r.until("some are delivered", func() bool { return f.settles.Load() > 10 })
	f.failing.Store(true)
	r.until("it stops", func() bool { return r.status().State == StateStopped })
	f.failing.Store(false)
	stop()
	r.until("what was delivered is known", func() bool { return r.counts().Delivered == r.sink.Stats().Messages })
	r.run()
	r.until("all is delivered", func() bool { return r.counts().Delivered == 40 })
	r.exact(0)
}
