package app

import (
	"testing"

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
			c := plain(b, "127.0.0.1:1")
			c.Rspamd.URL, c.Clamd.Address, c.Rspamd.WhenFailing = on.url, on.addr, "defer"
			keep(b, startWith(b, c))
		})
	}
}
