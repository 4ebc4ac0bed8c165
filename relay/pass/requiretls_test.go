package pass

import (
	"testing"

	"restante/relay/health"
	"restante/relay/reply"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
)

// TestRequireTLS: REQUIRETLS is offered when all primaries keep it, refused for one that doesn't whatever was offered, and
// kept with what is kept (RFC 8689 4.2.1).
func TestRequireTLS(t *testing.T) {
	r := newRig(t, nil)
	keeps := smtpc.Offers{RequireTLS: true, Verified: smtpc.VerifiedDANE, TLS: "TLS1.3", SMTPUTF8: true, DSN: true}
	misled, unverified, silent := keeps, keeps, keeps
	misled.Misled, unverified.Verified, silent.RequireTLS = true, "", false
	for name, o := range map[string]*smtpc.Offers{"keeps": &keeps, "misled": &misled, "unverified": &unverified, "not offered": &silent, "never seen": nil} {
		r.prim.offers[domA] = keeps
		delete(r.prim.offers, domB)
		if o != nil {
			r.prim.offers[domB] = *o
		}
		if got := r.Offers().RequireTLS; got != (name == "keeps") {
			t.Errorf("%s: offered %v", name, got)
		}
	}
	r.prim.offers[domB] = unverified
	r.prim.set(domA, health.Down, true)
	s := r.session()
	s.mail(smtpd.Mail{From: fromAnna.From, Params: spool.Params{RequireTLS: true}})
	defer s.tx.Reset()
	r.want(s.rcpt("anna@b.example"), 550, "5.7.30")
	r.want(s.rcpt("anna@a.example"), 250, "")
	r.want(s.data(letter), 250, "2.6.0")
	if e := r.spool.entries[0]; !e.Params.RequireTLS {
		t.Errorf("forgotten: %+v", e.Params)
	}

	// A primary that no longer does what it offered: the sender hears it, nobody gets the mail.
	r.prim.offers[domB] = keeps
	s = r.session()
	s.mail(smtpd.Mail{From: fromAnna.From, Params: spool.Params{RequireTLS: true}})
	defer s.tx.Reset()
	r.want(s.rcpt("anna@b.example"), 550, "5.7.30")
	if s.data(letter) == (reply.Reply{}) || r.atSink("Hello.") != 0 {
		t.Error("it went out")
	}
}
