package outage

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/health"
)

// isUp is the health of another node, for which all primaries are up.
type isUp struct{ healthFace }

func (isUp) State(string) health.Record         { return health.Record{State: health.Up} }
func (isUp) Subscribe(func(health.Change))      {}
func (isUp) Declarations() []health.Declaration { return nil }

// TestCutOffFromThePrimary: node b can't reach the primary, node a can and delivers what b keeps. That is one outage, however
// long it lasts; when b is gone for good, a closes it.
func TestCutOffFromThePrimary(t *testing.T) {
	const domain = "a.example"
	w := newWorld(domain)
	synctest.Test(t, func(t *testing.T) {
		start := func(node string, h Health) (*Keeper, context.CancelFunc) {
			k, err := New(Options{Ledger: w, Index: w, Health: h, Node: node})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go k.Run(ctx)
			return k, cancel
		}
		b, stopB := start("b", healthFace{w})
		_, stopA := start("a", isUp{healthFace{w}})
		defer func() { stopA(); wait(time.Minute) }()
		w.set(domain, health.Down)
		wait(time.Second)
		for range 24 {
			b.Kept([]string{domain}, "primary down")
			w.setPending(domain, 1)
			wait(5 * time.Second)
			w.setPending(domain, 0) // a has delivered it
			wait(time.Hour)
		}
		if got := w.log(); got != "opened "+day+"-a.example" {
			t.Fatalf("events %.300s, want one outage", got)
		}
		if n := len(w.noted); n < 100 || n > 150 {
			t.Errorf("renewed %d times in a day", n)
		}
		stopB()
		b, stopB = start("b", healthFace{w}) // a restart: it is still its own
		wait(time.Minute)
		if _, open := b.Outage(domain); !open {
			t.Fatalf("events %s", w.log())
		}
		w.set(domain, health.Up)
		wait(time.Minute)
		if got := w.log(); got != "opened "+day+"-a.example, closed "+day+"-a.example" {
			t.Fatalf("events %.300s, want it closed by the one that opened it", got)
		}
		w.set(domain, health.Down)
		wait(time.Minute)
		second, _ := b.Outage(domain)
		stopB()
		wait(30 * time.Minute)
		if id, open := b.Outage(domain); !open || id != second {
			t.Fatalf("closed too early: %s", w.log())
		}
		wait(10 * time.Minute)
		if _, open := w.OutageOpen(domain); open {
			t.Errorf("events %s, want it closed when the node is gone", w.log())
		}
	})
}
