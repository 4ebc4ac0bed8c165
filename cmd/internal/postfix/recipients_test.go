package postfix

import (
	"context"
	"strings"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/policy/rcpt"
	"restante/relay/smtpc"
	"restante/spool/need"
)

// TestRecipients: a real Postfix is asked for recipients, with the limits on errors that it has by itself. It says which it has, and of a
// domain of which it takes any address nothing is believed.
func TestRecipients(t *testing.T) {
	t.Parallel()
	need.This(t, Missing())
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	addr := need.Addr(t)
	p, err := Start(ctx, Options{Listen: addr, Next: "[127.0.0.1]:1", Main: map[string]string{
		"mydestination": "", "relay_domains": "d.test, any.test", "smtpd_recipient_restrictions": "reject_unauth_destination",
		"relay_recipient_maps": "inline:{ {ada@d.test = x} {postmaster@d.test = x} {@any.test = x} }",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	plain := smtpc.TLSPolicy{Mode: smtpc.TLSNone}
	m, err := health.New(health.Options{Dialer: &smtpc.Dialer{Hostname: "mx2.example.test"},
		Domains: []health.Domain{{Name: "d.test", Primary: []string{addr}, TLS: plain}, {Name: "any.test", Primary: []string{addr}, TLS: plain}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := rcpt.New(rcpt.Options{Primaries: m, Pace: rcpt.Pace{Every: 20 * time.Millisecond},
		Domains: []rcpt.Domain{{Name: "d.test", CallAhead: true}, {Name: "any.test", CallAhead: true}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { m.Run(ctx); ended <- nil }()
	go func() { ended <- d.Run(ctx) }()
	to := func(a string) mailaddr.Address {
		local, domain, _ := strings.Cut(a, "@")
		return mailaddr.Address{Local: local, Domain: domain}
	}
	for _, a := range []string{"ada@d.test", "gone@d.test", "x@any.test"} {
		d.Asked(to(a))
	}
	for end := time.Now().Add(20 * time.Second); d.Freshness(ctx, "d.test").Wanted+d.Freshness(ctx, "any.test").Wanted > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not all were asked for")
		}
	}
	for a, state := range map[string]rcpt.State{"ada@d.test": rcpt.Exists, "gone@d.test": rcpt.Absent, "x@any.test": rcpt.Unsure} {
		if got := d.Check(ctx, to(a)); got.State != state {
			t.Errorf("%s: %+v, want %s", a, got, state)
		}
	}
	if !d.Freshness(ctx, "any.test").CatchAll || d.Freshness(ctx, "d.test").CatchAll {
		t.Error("which of the two takes any address wasn't seen")
	}
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
