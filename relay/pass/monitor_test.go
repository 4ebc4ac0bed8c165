package pass

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
)

// TestWithMonitor goes through an outage with the real Monitor: passed, kept, kept until a replayed
// message went through, passed again.
func TestWithMonitor(t *testing.T) {
	r := newRig(t, nil)
	var pending atomic.Bool
	states := make(chan health.State, 100)
	m, err := health.New(health.Options{
		Domains:    []health.Domain{{Name: domA, Primary: []string{r.sink.Addr()}, TLS: smtpc.TLSPolicy{Mode: smtpc.TLSNone}, Interval: 20 * time.Millisecond}},
		Dialer:     &smtpc.Dialer{Hostname: "mx2.test"},
		HasPending: func(string) bool { return pending.Load() },
		Known:      func(string) []string { return []string{"anna@a.example"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Subscribe(func(c health.Change) { states <- c.After.State })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	defer func() { cancel(); <-done }()
	until := func(want health.State) {
		t.Helper()
		for {
			select {
			case s := <-states:
				if s == want {
					return
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("never %s; it is %+v", want, m.State(domA))
			}
		}
	}
	r.o.Primaries = m
	until(health.Up)
	_, dot := r.send(letter, "anna@a.example")
	r.want(dot, 250, "")
	if o := r.Offers(); !o.SMTPUTF8 || !o.DSN {
		t.Errorf("offers %+v", o)
	}
	r.sink.Stop()
	pending.Store(true)
	_, dot = r.send(letter, "anna@a.example")
	r.want(dot, 250, "2.6.0")
	until(health.Down)
	_, dot = r.send(letter, "anna@a.example")
	r.want(dot, 250, "2.6.0")
	if err := r.sink.Start(); err != nil {
		t.Fatal(err)
	}
	until(health.Recovering)
	_, dot = r.send(letter, "anna@a.example")
	r.want(dot, 250, "2.6.0")
	m.Observe(domA, health.Observation{Kind: health.Took, Replay: true})
	until(health.Up)
	_, dot = r.send(letter, "anna@a.example")
	r.want(dot, 250, "")
	if n := r.atSink(letter); n != 2 || len(r.spool.entries) != 3 {
		t.Errorf("%d passed, %d kept", n, len(r.spool.entries))
	}
	// A message that crashes the filter: the primary answers probes and everything else.
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Match: "poison@", Drop: sink.DropBefore}}})
	_, dot = r.send(letter, "poison@a.example")
	r.want(dot, 250, "2.6.0")
	until(health.Recovering) // until the next kept message goes through
}

func BenchmarkPass(b *testing.B) {
	r := newRig(b, nil)
	r.sink.SetOffers(sink.Offers{Pipelining: true, Chunking: true, EightBitMIME: true})
	r.o.Note = nil
	msg := letter
	for len(msg) < 4096 {
		msg += "0123456789012345678901234567890123456789012345678901234567890123\r\n"
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, dot := r.send(msg, "anna@a.example"); !dot.Positive() {
				b.Error(dot)
			}
		}
	})
}

// nothing is a spool that takes everything and keeps nothing.
type nothing struct{}

func (nothing) Available() error { return nil }
func (nothing) Expect() func()   { return func() {} }
func (nothing) Append(context.Context, *spool.Entry, []byte, *spool.Body) error {
	return nil
}

// BenchmarkKeep is what this package costs a kept message.
func BenchmarkKeep(b *testing.B) {
	m, err := health.New(health.Options{Domains: []health.Domain{{Name: domA, Primary: []string{"127.0.0.1:1"}}}, Dialer: &smtpc.Dialer{}})
	if err != nil {
		b.Fatal(err)
	}
	h, err := New(Options{Hostname: "mx2.test", Domains: []Domain{{Name: domA}}, Spool: nothing{}, Primaries: m, Kept: func([]string, string) {}})
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{t: b, Handler: h}
	msg := letter
	for len(msg) < 4096 {
		msg += "0123456789012345678901234567890123456789012345678901234567890123\r\n"
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, dot := r.send(msg, "anna@a.example"); !dot.Positive() {
			b.Fatal(dot)
		}
	}
}
