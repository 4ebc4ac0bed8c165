package pass

import (
	"errors"
	"strings"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/policy/rcpt"
	"restante/relay/sink"
	"restante/relay/smtpd"
)

// newDirectory knows anna, Bob and a quoted name of the first domain, everybody of the second, and nothing of others.
func newDirectory(t *testing.T, unknown string) *rcpt.Directory {
	t.Helper()
	d, err := rcpt.New(rcpt.Options{Domains: []rcpt.Domain{
		{Name: domA, List: []string{"anna", "Bob@A.example", `"c d"@a.example`}, Unknown: unknown},
		{Name: domB, List: []string{"@"}}, {Name: "c.example"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRecipients: while the primary is away the lists decide.
func TestRecipients(t *testing.T) {
	for unknown, code := range map[string]int{"": 450, rcpt.UnknownDefer: 450, rcpt.UnknownAccept: 250, rcpt.UnknownRefuse: 550} {
		r := newRig(t, func(o *Options) {
			o.Domains = append(o.Domains, Domain{Name: "c.example"})
			o.Recipients = newDirectory(t, unknown)
		})
		for _, d := range []string{domA, domB, "c.example"} {
			r.prim.set(d, health.Down, true)
		}
		for a, code := range map[string]int{
			"anna@a.example": 250, "ANNA@a.example": 250, "bob@a.example": 250, `"c d"@a.example`: 250,
			"nobody@a.example": code, "annax@a.example": code,
			"PostMaster@a.example": 250, "abuse@a.example": 250, "any@b.example": 250, "any@c.example": 250,
		} {
			rc, _ := r.send(letter, a)
			if rc[0].Code != code {
				t.Errorf("unknown %q: %s: %s, want %d", unknown, a, rc[0], code)
			}
			if code >= 400 && (!strings.HasSuffix(rc[0].Text, "("+r.session().client.Session+")") || rc[0].Cause == nil || strings.Contains(rc[0].Text, "list")) {
				t.Errorf("a refusal without the session's id or its cause, or that tells why: %s, %v", rc[0], rc[0].Cause)
			}
		}
	}
}

// TestListsDontRefuse: a primary that is up is asked, and whom it takes is taken, whatever the lists say.
func TestListsDontRefuse(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Recipients = newDirectory(t, rcpt.UnknownRefuse) })
	rc, dot := r.send(letter, "new@a.example")
	r.want(rc[0], 250, "")
	r.want(dot, 250, "")
}

// TestListsAgainstHalfRestored: a primary whose list of users is lost refuses everybody. Whom a list has is put off, though no mail for
// them has ever come this way, until the primary has refused them for a day while it took other mail. Where any address exists that is no such knowledge.
func TestListsAgainstHalfRestored(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Recipients = newDirectory(t, rcpt.UnknownRefuse) })
	lost := sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 No such user"}}}
	r.sink.SetFaults(lost)
	for a, code := range map[string]int{"anna@a.example": 451, "BOB@a.example": 451, `"c d"@a.example`: 451, "nobody@a.example": 550, "any@b.example": 550} {
		rc, _ := r.send(letter, a)
		r.want(rc[0], code, "")
	}
	if state := r.prim.State(domA).State; state != health.Suspect {
		t.Errorf("%s after so many refusals", state)
	}
	r.prim.set(domA, health.Up, true)
	r.sink.SetFaults(sink.Faults{})
	_, dot := r.send(letter, "new@a.example")
	r.want(dot, 250, "")
	r.sink.SetFaults(lost)
	rc, _ := r.send(letter, "anna@a.example")
	r.want(rc[0], 451, "")
	r.doubts["anna@a.example"] = r.doubts["anna@a.example"].Add(-25 * time.Hour)
	rc, _ = r.send(letter, "anna@a.example")
	r.want(rc[0], 550, "5.1.1")
}

// TestUnknownWhenItFails: the primary goes away under a transaction. What it has accepted is kept, what nobody knows comes again.
func TestUnknownWhenItFails(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Recipients = newDirectory(t, rcpt.UnknownRefuse) })
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "nobody@", Reply: "421 4.3.2 Shutting down"}}})
	s := r.session()
	s.mail(smtpd.Mail{})
	r.want(s.rcpt("new@a.example"), 250, "")
	r.want(s.rcpt("nobody@a.example"), 550, "5.1.1")
	r.want(s.data(letter), 250, "2.6.0")
	if n := len(r.spool.entries); n != 1 || len(r.spool.entries[0].Rcpts) != 1 {
		t.Errorf("%d entries: %+v", n, r.spool.entries)
	}
}

// TestUnknownWhileBusy: all connections to a primary that is up are taken. It might take the recipient, so nobody is refused.
func TestUnknownWhileBusy(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Recipients = newDirectory(t, rcpt.UnknownRefuse)
		o.MaxConnections, o.MaxWait = 1, time.Millisecond
	})
	one := r.session()
	one.mail(smtpd.Mail{})
	r.want(one.rcpt("anna@a.example"), 250, "")
	two := r.session()
	two.mail(smtpd.Mail{})
	r.want(two.rcpt("nobody@a.example"), 450, "4.1.1")
	r.want(two.rcpt("anna@a.example"), 250, "")
	two.tx.Reset()
	one.tx.Reset()
}

// TestHears: the directory hears what the primary says, and puts off in the next outage whom it didn't have.
func TestHears(t *testing.T) {
	d, err := rcpt.New(rcpt.Options{Domains: []rcpt.Domain{{Name: domA}}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) { o.Recipients = d })
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "gone@", Reply: "550 5.1.1 No such user"}, {Stage: sink.StageRcpt, Match: "blocked@", Reply: "550 5.7.1 No"}}})
	for _, a := range []string{"gone@a.example", "blocked@a.example"} {
		rc, _ := r.send(letter, a)
		r.want(rc[0], 550, "")
	}
	r.prim.set(domA, health.Down, true)
	for a, code := range map[string]int{"gone@a.example": 450, "blocked@a.example": 250, "other@a.example": 250} {
		rc, _ := r.send(letter, a)
		r.want(rc[0], code, "")
	}
	r.prim.set(domA, health.Up, true)
	r.sink.SetFaults(sink.Faults{})
	rc, _ := r.send(letter, "gone@a.example")
	r.want(rc[0], 250, "")
	r.prim.set(domA, health.Down, true)
	rc, _ = r.send(letter, "gone@a.example")
	r.want(rc[0], 250, "")
}

// TestLeft: whom the primary had and has refused for a day, while it took other mail, is put off in an outage; not before.
func TestLeft(t *testing.T) {
	d, err := rcpt.New(rcpt.Options{Domains: []rcpt.Domain{{Name: domA}}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) { o.Recipients = d })
	r.known["left@a.example"] = true
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "left@", Reply: "550 5.7.1 Not any more"}}})
	refused := func(code int, state rcpt.State) {
		t.Helper()
		rc, _ := r.send(letter, "left@a.example")
		r.want(rc[0], code, "")
		if got := d.Check(t.Context(), mailaddr.Address{Local: "left", Domain: domA}); got.State != state {
			t.Errorf("%+v, want %s", got, state)
		}
	}
	refused(451, rcpt.Unsure)
	_, dot := r.send(letter, "anna@a.example")
	r.want(dot, 250, "")
	refused(451, rcpt.Unsure)
	r.doubts["left@a.example"] = r.doubts["left@a.example"].Add(-25 * time.Hour)
	refused(550, rcpt.Absent)
	r.prim.set(domA, health.Down, true)
	rc, _ := r.send(letter, "left@a.example")
	r.want(rc[0], 450, "4.1.1")
}

// TestSpoolFirst: a refusal because of the recipient comes before one because of the store.
func TestSpoolFirst(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Recipients = newDirectory(t, rcpt.UnknownRefuse) })
	r.prim.set(domA, health.Down, true)
	r.spool.down = errors.New("the store is away")
	s := r.session()
	s.mail(smtpd.Mail{})
	r.want(s.rcpt("nobody@a.example"), 550, "5.1.1")
	r.want(s.rcpt("anna@a.example"), 451, "")
}
