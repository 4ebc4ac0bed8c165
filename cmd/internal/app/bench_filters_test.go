package app

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"restante/cmd/internal/config"
	"restante/cmd/internal/load"
	"restante/relay/policy/scan/scantest"
)

// BenchmarkFilters keeps b.N messages of 4 KB over 50 sessions with content filters on: Debian's rspamd with no rules but ours, two workers; and
// clamd with two signatures. What real rules and signatures cost comes on top.
func BenchmarkFilters(b *testing.B) {
	rspamd, clamd := scantest.Rspamd(b), scantest.Clamd(b)
	for _, on := range []struct {
		name      string
		url, addr string
	}{{"none", "", ""}, {"rspamd", rspamd.URL, ""}, {"clamd", "", clamd.Address}, {"both", rspamd.URL, clamd.Address}} {
		b.Run(on.name, func(b *testing.B) {
			c, err := config.Load("", config.Flags{Hostname: "mx2.example.test", DataDir: b.TempDir(), SMTPListen: []string{"127.0.0.1:0"}, HTTPListen: "off",
				Socket: filepath.Join(b.TempDir(), "s"), Domains: []string{"example.test"}, Primary: []string{"127.0.0.1:1"}})
			if err != nil {
				b.Fatal(err)
			}
			c.Rspamd.URL, c.Clamd.Address, c.Rspamd.WhenFailing = on.url, on.addr, "defer"
			a, err := New(Options{Config: c, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			if err := a.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer a.Stop(b.Context())
			o := load.SendOptions{Addr: a.Addrs().SMTP[0], Run: "b", Messages: b.N, Size: 4096, Sessions: 50, Reuse: true, Retry: time.Second}
			o.Made = o.Make()
			b.ResetTimer()
			sent := load.Send(b.Context(), o)
			if int(sent.Accepted) != b.N {
				b.Fatal(sent)
			}
			b.ReportMetric(sent.Rate(), "kept/s")
		})
	}
}
