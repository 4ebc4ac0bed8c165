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
	"restante/relay/reply"
	"restante/relay/sink"
	"restante/spool"
)

// Primaries that were restored by half. In each of these: nothing is bounced, nothing is stuck, the rest flows.

func TestDiskFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(40)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageMail, Reply: "452 4.3.1 insufficient system storage"}}})
	r.run()
	r.until("health hears of it", func() bool { return r.health.count(health.Lost) > 0 })
	if c := r.counts(); c.Pending != 40 {
		t.Errorf("counts %+v", c)
	}
	if n := r.sink.Stats().Transactions; n > 40 {
		t.Errorf("%d transactions: every entry backs off", n)
	}
	r.sink.SetFaults(sink.Faults{})
	r.delivered(40)
	r.exact(0)
}

func TestRefusesEverybodyKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(40)
	var known []string
	for i := range 40 {
		known = append(known, fmt.Sprintf("user%d@%s", i, testDomain))
	}
	r.learn(known...)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 no such user"}}})
	r.run()
	r.until("it pauses", func() bool { return len(r.noticed(NoticePaused)) == 1 })
	if n := r.sink.Stats().Transactions; n > KnownRow+2 {
		t.Errorf("%d messages tried before the pause", n)
	}
	if s := r.status(); s.State != StatePaused || s.By != by || s.Pending != 40 {
		t.Errorf("status %+v", s)
	}
	if r.health.count(health.Refusal) < KnownRow {
		t.Error("health wasn't told")
	}
	r.until("the pause is recorded", func() bool {
		_, paused, err := r.index.Paused(context.Background(), testDomain)
		return err == nil && paused
	})
	before := r.sink.Stats().Transactions
	r.until("one is tried", func() bool { return r.sink.Stats().Transactions > before })
	if c := r.counts(); c.Pending != 40 {
		t.Errorf("counts %+v", c)
	}
	r.sink.SetFaults(sink.Faults{})
	r.delivered(40)
	r.exact(0)
	if len(r.noticed(NoticeResumed)) != 1 || len(r.noticed(NoticePaused)) != 1 || len(r.noticed(NoticeParked)) != 0 {
		t.Errorf("notices %+v", r.notices)
	}
}

// A primary that no longer lets us by its filters answers each probe and refuses each message, so that its health goes up and down many
// times a second. What it refused waits its time all the same, and isn't parked as if it had been tried for long.
func TestRefusesWhileProbesAreAnswered(t *testing.T) {
	t.Parallel()
	const few = KnownRow - 2 // for a pause
	r := newRig(t, sink.Options{Keep: true})
	r.options.Config.BackoffMin, r.options.Config.BackoffMax = time.Hour, time.Hour
	r.open()
	r.keepMany(few)
	for i := range few {
		r.learn(fmt.Sprintf("user%d@%s", i, testDomain))
	}
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.7.23 SPF validation failed"}}})
	r.run()
	r.until("all was refused", func() bool { return r.health.count(health.Refusal) == few })
	for range RefusedTimes {
		r.health.set(health.Down, testDomain)
		r.health.set(health.Recovering, testDomain)
		r.until("nothing is left to try", func() bool {
			r.engine.mu.Lock()
			defer r.engine.mu.Unlock()
			d := r.engine.domains[testDomain]
			return d.scan.ended && !d.scan.restart && d.jobs == 0 && len(d.refusals.waiting) == 0
		})
	}
	if n, c := r.health.count(health.Refusal), r.counts(); n != few || c.Pending != few {
		t.Errorf("%d refusals, %+v", n, c)
	}
	r.sink.SetFaults(sink.Faults{})
	if err := r.engine.Start(t.Context(), testDomain, StartOptions{}); err != nil { // by an admin
		t.Fatal(err)
	}
	r.delivered(few)
	r.exact(0)
}

func TestRefusesEverybodyUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(60)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 no such user"}}})
	r.run()
	r.until("it pauses", func() bool { return len(r.noticed(NoticePaused)) == 1 })
	if n := r.sink.Stats().Transactions; n > AnyRow+2 {
		t.Errorf("%d messages tried before the pause", n)
	}
	r.sink.SetFaults(sink.Faults{})
	r.delivered(60)
	r.exact(0)
}

func TestRefusesEverythingAtTheDot(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(60)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Reply: "554 5.6.0 filter says no"}}})
	r.run()
	r.until("it pauses", func() bool { return len(r.noticed(NoticePaused)) == 1 })
	r.sink.SetFaults(sink.Faults{})
	r.delivered(60)
	r.exact(0)
}

func TestUnknownParksQuietlyWhileTheRestFlows(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true})
	var mu sync.Mutex
	heard := make(map[string]int)
	r.options.Heard = func(a string, rep reply.Reply) {
		mu.Lock()
		defer mu.Unlock()
		heard[a] = rep.Code
	}
	r.open()
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "<nobody", Reply: "550 5.1.1 no such user"}}})
	for i := range 60 {
		who := "nobody" // most of it is spam to invented addresses
		if i%30 == 0 {
			who = "user"
		}
		r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", fmt.Sprintf("%s%d@%s", who, i, testDomain))
	}
	r.folded(60)
	r.run()
	r.until("all ended", func() bool { c := r.counts(); return c.Delivered == 2 && c.Parked == 58 })
	mu.Lock()
	if len(heard) != 60 || heard["user0@"+testDomain] != 250 || heard["nobody1@"+testDomain] != 550 {
		t.Errorf("heard of %d recipients: %v", len(heard), heard)
	}
	mu.Unlock()
	if n := r.noticed(NoticeParked); len(n) != 0 {
		t.Errorf("people were told: %+v", n)
	}
	if n := r.noticed(NoticePaused); len(n) != 0 {
		t.Errorf("it paused: %+v", n)
	}
}

func TestKnownIsParkedWithANotice(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.learn("gone@" + testDomain)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "<gone", Reply: "550 5.1.1 left us"}}})
	id := r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "gone@"+testDomain, "here@"+testDomain)
	r.folded(2)
	r.run()
	r.until("all ended", func() bool { c := r.counts(); return c.Delivered == 1 && c.Parked == 1 })
	n := r.noticed(NoticeParked)
	if len(n) != 1 || n[0].Entry != id || n[0].Reply != "550 5.1.1 left us" {
		t.Errorf("notices %+v", n)
	}
	s := r.status()
	if s.Parked != 1 || len(s.Recent) != 1 || s.Recent[0].Address != "gone@"+testDomain {
		t.Errorf("status %+v", s)
	}
}

func TestAloneRefusedIsParkedAfterThreeTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.learn("u@" + testDomain)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Reply: "550 5.7.1 spam"}}})
	r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "u@"+testDomain)
	r.folded(1)
	r.run()
	r.until("parked", func() bool { return r.counts().Parked == 1 })
	if n := r.sink.Stats().Transactions; n != RefusedTimes {
		t.Errorf("tried %d times", n)
	}
}

func TestMessageThatCrashesTheFilter(t *testing.T) {
	t.Parallel()
	for _, stage := range []sink.Stage{sink.StageMail, sink.StageDot} {
		t.Run(string(stage), func(t *testing.T) {
			r := newRig(t, sink.Options{Keep: true}).open()
			r.keepMany(30)
			bad := r.keep("bad@b.test", "Subject: bad\r\n\r\nx\r\n", "victim@"+testDomain)
			delete(r.sent, bad)
			r.folded(31)
			r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: stage, Match: "bad@b.test", Drop: sink.DropBefore}}})
			r.run()
			r.until("the rest is delivered", func() bool { return r.counts().Delivered == 30 })
			// Mail that comes in goes on passing.
			n := 30
			r.until("it is parked", func() bool {
				n++
				r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "u@"+testDomain)
				return r.counts().Parked == 1
			})
			r.delivered(n)
			r.exact(0)
			v, err := r.index.Entry(t.Context(), bad)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(v.Pairs[0].Reason, "lost the connection three times") {
				t.Errorf("reason %q", v.Pairs[0].Reason)
			}
		})
	}
}

func TestNoMoreThanFiveConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(1000)
	r.sink.SetFaults(sink.Faults{MaxConnections: 5, Delay: time.Millisecond})
	r.run()
	r.delivered(1000)
	r.exact(0)
	if n := r.health.count(health.Lost); n > 0 {
		t.Errorf("health was told %d times that the primary is lost", n)
	}
	st := r.sink.Stats()
	if refused := st.Connections - st.MaxCurrent; refused > 20 {
		t.Errorf("%d connections made, %d at once", st.Connections, st.MaxCurrent)
	}
	if s := r.status(); s.Deferred+s.Lost+s.Parked > 0 {
		t.Errorf("status %+v", s)
	}
}

func TestDropAfterTheDot(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(50)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Drop: sink.DropAfter, Skip: 5, Count: 5}}})
	r.run()
	r.delivered(50)
	s := r.status()
	if s.Unknown != 5 || s.Lost != 5 {
		t.Errorf("unknown %d, lost %d; want 5 each", s.Unknown, s.Lost)
	}
	r.exact(5)
	if n := len(r.sink.Messages()); n != 55 {
		t.Errorf("the primary has %d, want one duplicate for each unread reply", n)
	}
}

func TestServerThatClosesAfterAFewMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Config.BackoffMin = time.Hour // nothing of this is an attempt that failed
	r.options.Config.BackoffMax = time.Hour
	r.keepMany(100)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageMail, Skip: 7, Rate: 0.1, Reply: "421 4.7.0 enough for one connection", Drop: sink.DropReply}}})
	r.run()
	r.delivered(100)
	r.exact(0)
}

func TestDoesNotFit(t *testing.T) {
	t.Parallel()
	o := sink.DefaultOffers()
	o.Size, o.SMTPUTF8 = 1000, false
	r := newRig(t, sink.Options{Keep: true, Offers: o}).open()
	small := r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "u@"+testDomain)
	big := r.keep("a@b.test", "Subject: x\r\n\r\n"+strings.Repeat("x\r\n", 500), "u@"+testDomain)
	utf8 := r.keep("ä@b.test", "Subject: x\r\n\r\nx\r\n", "ü@"+testDomain)
	r.params.RequireTLS = true
	secret := r.keep("a@b.test", "TLS-Required: No\r\n\r\nx\r\n", "u@"+testDomain) // to a server that nothing vouches for (RFC 8689 4.2.1)
	r.folded(4)
	r.run()
	r.until("all ended", func() bool { c := r.counts(); return c.Delivered == 1 && c.Parked == 3 })
	delete(r.sent, big)
	delete(r.sent, utf8)
	delete(r.sent, secret)
	r.exact(0)
	for _, id := range []string{big, utf8, secret} {
		v, err := r.index.Entry(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(v.Pairs[0].Reason, "doesn't fit the primary: ") {
			t.Errorf("reason %q", v.Pairs[0].Reason)
		}
	}
	_ = small
}

// damaged returns ErrDamaged for one entry, and cannot read anything for a while.
type damaged struct {
	Spool
	id   string
	fail atomic.Int64
}

func (d *damaged) Fetch(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error) {
	if id == d.id {
		return nil, nil, fmt.Errorf("%w: SHA-256 differs", spool.ErrDamaged)
	}
	if d.fail.Add(-1) >= 0 {
		return nil, nil, errors.New("the store doesn't answer")
	}
	return d.Spool.Fetch(ctx, id, loc)
}

func TestDamagedIsParked(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.keepMany(10)
	d := &damaged{Spool: r.options.Spool, id: firstID(r)}
	d.fail.Store(1)
	r.options.Spool = d
	delete(r.sent, d.id)
	r.run()
	r.until("all ended", func() bool { c := r.counts(); return c.Delivered == 9 && c.Parked == 1 })
	r.exact(0)
	if n := r.noticed(NoticeParked); len(n) != 1 || !strings.Contains(n[0].Reason, "damaged") {
		t.Errorf("notices %+v", n)
	}
}

func TestGivesUpAfterLongFourHundreds(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Config.GiveUp = 1500 * time.Millisecond
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "full@", Reply: "452 4.2.2 mailbox full"}}})
	id := r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", "full@"+testDomain, "ok@"+testDomain)
	r.folded(2)
	r.run()
	r.until("parked", func() bool { return r.counts().Parked == 1 })
	v, err := r.index.Entry(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var first, last time.Time
	tries := 0
	for _, ev := range v.Events {
		switch ev.Type {
		case spool.Deferred:
			if tries++; first.IsZero() {
				first = ev.Time
			}
		case spool.Parked:
			last = ev.Time
		}
	}
	if tries < 2 || last.Sub(first) < 1500*time.Millisecond {
		t.Errorf("parked after %v and %d tries", last.Sub(first), tries)
	}
	if v.Pairs[0].Reply != "452 4.2.2 mailbox full" {
		t.Errorf("reply %q", v.Pairs[0].Reply)
	}
}
