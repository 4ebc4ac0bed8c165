package rcpt

import (
	"context"
	"testing"
	"time"
)

// TestReading: an index that is made anew, as after an upgrade, has the list in the configuration at once, and what was imported,
// added or learned much later. Until all of the ledger is there nobody is refused for not being on what is.
func TestReading(t *testing.T) {
	l := newLedger()
	domains := []Domain{{Name: dom, SubAddress: "+", List: []string{"anna"}, Unknown: UnknownRefuse}}
	first := newNode(t, l, Options{Domains: domains})
	first.replace(SourceImport, "berta", "carla")
	if _, err := first.Add(t.Context(), dom, []string{"dora"}, "test"); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	again := &node{t: t, ledger: l, index: newNode(t, newLedger(), Options{}).index}
	again.open(Options{Domains: domains, CaughtUp: func(ctx context.Context) error {
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	fresh := func(reading bool) {
		t.Helper()
		if f := again.Freshness(t.Context(), dom); f.Reading != reading || f.Complete == reading || (f.Why != "") != reading {
			t.Errorf("%+v", f)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- again.Run(ctx) }()
	again.is("exists take", "anna@"+dom)
	again.is("unsure take", "berta@"+dom, "dora@"+dom, "nobody@"+dom)
	again.fold(len(l.events))
	again.is("unsure take", "nobody@"+dom)
	fresh(true)
	close(end)
	for deadline := time.Now().Add(10 * time.Second); again.reading.Load() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	again.is("exists take", "anna@"+dom, "berta@"+dom, "dora@"+dom)
	again.is("absent refuse", "nobody@"+dom)
	fresh(false)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCutOff: a list that loses fewer than half is taken, as people leave; but it may have been cut off. Whom it has lost is put off
// for a day, on every node and after a restart, and isn't refused before.
func TestCutOff(t *testing.T) {
	l := newLedger()
	o := Options{Domains: []Domain{{Name: dom, SubAddress: "+", Unknown: UnknownRefuse}}}
	n := newNode(t, l, o)
	n.replace(SourceImport, many(10)...)
	n.replace(SourceImport, many(6)...)
	lost := []string{"user000006@" + dom, "user000009+x@" + dom}
	other := newNode(t, l, o)
	for range 2 {
		for _, n := range []*node{n, other} {
			n.is("absent defer", lost...)
			n.is("absent refuse", "nobody@"+dom, "user@"+dom)
			n.sync()
		}
		n.open(o)
		l.pass(LeftFor - time.Hour)
	}
	l.pass(-LeftFor)
	n.replace(SourceImport, many(10)...)
	other.sync()
	n.is("exists take", lost...)
	other.is("exists take", lost...)
	n.replace(SourceImport, many(6)...)
	l.pass(LeftFor + time.Minute)
	other.sync()
	n.is("absent refuse", lost...)
	other.is("absent refuse", lost...)
	if _, err := n.Remove(t.Context(), dom, []string{"user000001"}, "test"); err != nil {
		t.Fatal(err)
	}
	n.is("absent refuse", "user000001@"+dom)
}

// TestClockJump: what was written while the clock was a year ahead neither refuses by a list that never gets old, nor puts anybody off
// for a year.
func TestClockJump(t *testing.T) {
	l := newLedger()
	o := Options{Domains: []Domain{{Name: dom, SubAddress: "+", Unknown: UnknownRefuse}}}
	const year = 365 * 24 * time.Hour
	l.pass(year)
	n := newNode(t, l, o)
	n.Heard(t.Context(), addr(t, "maybe@"+dom), noSuchUser, l.time())
	n.is("absent defer", "maybe@"+dom)
	l.pass(-year)
	n.is("unsure take", "maybe@"+dom)
	l.pass(year)
	n.replace(SourceImport, many(10)...)
	n.is("absent refuse", "nobody@"+dom)
	l.pass(-year)
	for range 2 {
		n.is("unsure defer", "nobody@"+dom)
		n.is("exists take", "user000001@"+dom)
		if f := n.Freshness(t.Context(), dom); !f.Stale || f.Why == "" {
			t.Errorf("%+v", f)
		}
		n.sync()
		n.open(o)
	}
}
