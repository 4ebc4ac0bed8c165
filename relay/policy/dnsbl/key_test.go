package dnsbl

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"restante/dns"
	"restante/dns/dnstest"
)

func TestKey(t *testing.T) {
	for zone, shown := range map[string]string{
		"zen.spamhaus.org": "zen.spamhaus.org", "b.barracudacentral.org": "b.barracudacentral.org", "bl.spameatingmonkey.net": "bl.spameatingmonkey.net",
		"zen.dq.spamhaus.net": "zen.dq.spamhaus.net", "dnsbl-1.uceprotect.net": "dnsbl-1.uceprotect.net", "dq.spamhaus.net": "dq.spamhaus.net",
		"yourkey.zen.dq.spamhaus.net":                    "zen.dq.spamhaus.net",
		"YourKey.Zen.DQ.Spamhaus.net":                    "Zen.DQ.Spamhaus.net",
		"abcdefghijklmnopqrstuvwxyz.zen.dq.spamhaus.net": "zen.dq.spamhaus.net",
		"0123456789abcdef.combined.mail.abusix.zone":     "combined.mail.abusix.zone",
		"abcdef0123456789.bl.example.net":                "bl.example.net",
		"abcdefghijklmnopqrstuvwxyz.bl.example.net":      "bl.example.net",
		"bl.0123456789abcdef0123.example.net":            "bl.example.net",
	} {
		if got := Shown(zone); got != shown {
			t.Errorf("%s is shown as %s, not %s", zone, got, shown)
		}
	}
}

// A key stands in no verdict, refusal, fault, log line or metric, whether the list works or not.
func TestKeyIsHidden(t *testing.T) {
	const key = "sekrit"
	server := dnstest.New(t, strings.ReplaceAll(`
2.0.0.127.KEY.zen.dq.spamhaus.net. A 127.0.0.2
9.2.0.192.KEY.zen.dq.spamhaus.net. A 127.0.0.2
9.2.0.192.KEY.zen.dq.spamhaus.net. TXT "asked with Sekrit"
2.0.0.127.KEY.xbl.dq.spamhaus.net. A 127.255.255.254
`, "KEY", key))
	server.Fail("2.0.0.127."+key+".down.dq.spamhaus.net", dnstest.Servfail)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, err := dns.New(dns.Options{Servers: []string{"192.0.2.53"}, Exchange: server.Exchange, Fresh: true, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	var lists []List
	for _, zone := range []string{"zen", "xbl", "down", "gone"} {
		lists = append(lists, list(t, key+"."+zone+".dq.spamhaus.net", 1, "127.0.0.2"))
	}
	s, err := New(Options{Resolver: r, Lists: lists, Log: logger, Metrics: NewMetrics(reg)})
	if err != nil {
		t.Fatal(err)
	}
	s.Test(t.Context())
	found := s.Look(t.Context(), netip.MustParseAddr("192.0.2.9"))
	metrics, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(found.Reason(), found.Text(), found, s.Faults(), log.String(), metrics, s.SetConfig([]List{{Zone: key + ".zen.dq.spamhaus.net"}}, 1))
	if found.Text() != "listed by zen.dq.spamhaus.net" || len(s.Faults()) != 3 || !strings.Contains(all, "down.dq.spamhaus.net") {
		t.Errorf("%q: %+v", found.Text(), s.Faults())
	}
	if strings.Contains(strings.ToLower(all), key) {
		t.Errorf("the key is shown: %s", all)
	}
}
