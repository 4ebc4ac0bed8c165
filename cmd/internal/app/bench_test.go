package app

import (
	"testing"
	"time"

	"restante/cmd/internal/config"
	"restante/cmd/internal/load"
	"restante/relay/sink"
)

// BenchmarkKeepAndHandOver runs a node with its load and its primary in one process, for profiles: b.N messages of 4 KB
// over 50 sessions while the primary is down, then all of them to the primary.
func BenchmarkKeepAndHandOver(b *testing.B) {
	primary := sink.New(sink.Options{})
	if err := primary.Start(); err != nil {
		b.Fatal(err)
	}
	primary.Stop()
	c := plain(b, primary.Addr())
	c.Domains[0].ProbeInterval = config.Duration(time.Second)
	keep(b, startWith(b, c))
	if err := primary.Start(); err != nil {
		b.Fatal(err)
	}
	defer primary.Stop()
	b.StartTimer()
	var first time.Time
	for int(primary.Stats().Messages) < b.N {
		if first.IsZero() && primary.Stats().Messages > 0 {
			first = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/time.Since(first).Seconds(), "handed-over/s")
}

// keep sends b.N messages of 4 KB over 50 sessions, and reports how many a second were taken.
func keep(b *testing.B, a *App) {
	o := load.SendOptions{Addr: a.Addrs().SMTP[0], Run: "b", Messages: b.N, Size: 4096, Sessions: 50, Reuse: true, Retry: time.Second}
	o.Made = o.Make()
	b.ResetTimer()
	sent := load.Send(b.Context(), o)
	b.StopTimer()
	if int(sent.Accepted) != b.N {
		b.Fatal(sent)
	}
	b.ReportMetric(sent.Rate(), "kept/s")
}
