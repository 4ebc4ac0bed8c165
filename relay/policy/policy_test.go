package policy

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"restante/relay/mailaddr"
	"restante/relay/policy/dnsbl"
	"restante/relay/smtpd"
	"restante/spool"
)

func client() *smtpd.Client {
	return &smtpd.Client{Client: spool.Client{Addr: "192.0.2.7", Helo: "mail.test"}, Session: "s1"}
}

func message(t *testing.T) Message {
	t.Helper()
	body := spool.NewBody("", 1<<20)
	t.Cleanup(func() { body.Close() })
	if _, err := body.Write([]byte("From: a@b.test\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	return Message{ID: spool.NewID(), Domains: []string{"a.example"}, Rcpts: []string{"x@a.example"}, Body: body}
}

// TestNothingToSay: no border, and one without stages, let everything in and add nothing.
func TestNothingToSay(t *testing.T) {
	for name, b := range map[string]*Border{"no border": nil, "no stages": New(Options{AuthservID: "mx2.test"})} {
		v, r := b.Open(t.Context(), client(), smtpd.Mail{})
		if !r.IsZero() || !v.Rcpt(t.Context(), mailaddr.Address{Local: "x", Domain: "a.example"}).IsZero() || !v.Together("a.example", "b.example") {
			t.Errorf("%s: refused", name)
		}
		v.Accepted()
		if j := v.Message(t.Context(), message(t)); !j.Reply.IsZero() || j.Quarantine != "" || j.Verdicts != nil || len(j.Fields) != 0 {
			t.Errorf("%s: %+v", name, j)
		}
		v.Close()
	}
}

type everybody struct{}

func (everybody) Look(context.Context, netip.Addr) dnsbl.Result {
	return dnsbl.Result{Score: 1, Refuse: true, Listed: []dnsbl.Hit{{Zone: "bl.test", Code: netip.MustParseAddr("127.0.0.2")}}}
}

// TestReloadWhileBusy: a transaction ends by what its domain wanted when it began.
func TestReloadWhileBusy(t *testing.T) {
	mark := DefaultDomain("a.example")
	mark.Listed = Mark
	b := New(Options{Lists: everybody{}, AuthservID: "mx2.test", Domains: []Domain{mark}})
	v, _ := b.Open(t.Context(), client(), smtpd.Mail{})
	defer v.Close()
	b.SetConfig([]Domain{{Name: "a.example"}}) // which is DefaultDomain
	x := mailaddr.Address{Local: "x", Domain: "a.example"}
	if r := v.Rcpt(t.Context(), x); !r.IsZero() {
		t.Errorf("the old one: %s", r)
	}
	if j := v.Message(t.Context(), message(t)); !j.Reply.IsZero() || string(j.Fields) != "X-Restante-Border: mx2.test; mark=listed\r\n" || j.Verdicts["dnsbl"] != "bl.test (127.0.0.2)" {
		t.Errorf("the old one: %+v", j)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				if i == 0 {
					b.SetConfig([]Domain{DefaultDomain("a.example")})
					continue
				}
				w, _ := b.Open(t.Context(), client(), smtpd.Mail{})
				if r := w.Rcpt(t.Context(), x); r.Code != 550 {
					t.Errorf("the new one: %s", r)
				}
				w.Close()
			}
		})
	}
	all.Wait()
}

func TestActions(t *testing.T) {
	order := []Action{Ignore, Mark, Quarantine, Reject}
	for i, a := range order {
		for j, b := range order {
			if got := a.atMost(b); got != order[min(i, j)] {
				t.Errorf("%s at most %s: %s", a, b, got)
			}
			if got := strictest([]finding{{action: a}, {action: b}}); got != order[max(i, j)] {
				t.Errorf("%s and %s: %s", a, b, got)
			}
		}
	}
}
