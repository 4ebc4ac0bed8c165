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
