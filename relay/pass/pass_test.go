package pass

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
)

func TestPassThrough(t *testing.T) {
	r := newRig(t, nil)
	r.spool.down = errStore // pass-through never asks the store
	rc, dot := r.send(letter, "anna@a.example", "bob@a.example")
	r.want(rc[0], 250, "")
	r.want(rc[1], 250, "")
	r.want(dot, 250, "")
	ms := r.sink.Messages()
	if len(ms) != 1 || len(ms[0].Rcpts) != 2 || ms[0].From != "anna@sender.example" {
		t.Fatalf("the primary has %+v", ms)
	}
	if got := bodyOf(t, string(ms[0].Data)); got != letter {
		t.Errorf("the message is %q, want it unchanged", got)
	}
	if r.spool.asked != 0 || r.spool.expecting != 0 || len(r.spool.entries) != 0 {
		t.Errorf("pass-through asked the store %d times", r.spool.asked)
	}
	if got := r.prim.saw(); got != "a.example took" {
		t.Errorf("health saw %q", got)
	}
	if len(r.notes) != 2 || r.notes[0].Type != spool.Learned || r.notes[0].Address != "anna@a.example" || r.notes[0].Domain != domA {
		t.Errorf("learned %+v", r.notes)
	}
	r.send(letter, "anna@a.example")
	if len(r.notes) != 2 {
		t.Errorf("learned again: %+v", r.notes)
	}
}

func TestReuse(t *testing.T) {
	r := newRig(t, nil)
	for range 20 {
		_, dot := r.send(letter, "anna@a.example")
		r.want(dot, 250, "")
	}
	// Both domains have the same primary, so they share sessions. A transaction given up leaves a clean one.
	s := r.session()
	s.mail(fromAnna)
	r.want(s.rcpt("x@b.example"), 250, "")
	s.tx.Reset()
	r.pool.tasks.Wait()
	_, dot := r.send(letter, "y@b.example")
	r.want(dot, 250, "")
	if got := r.sink.Stats().Connections; got != 1 {
		t.Errorf("%d connections for 22 transactions, want 1", got)
	}
	if ms := r.sink.Messages(); len(ms[20].Rcpts) != 1 {
		t.Errorf("recipients of a given-up transaction came along: %v", ms[20].Rcpts)
	}
}

// What one sender has refused again and again must not make the primary slow for the next.
func TestSourSessionIsNotReused(t *testing.T) {
	r := newRig(t, nil)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "nobody@", Reply: "550 5.1.1 No such user"}}})
	connections := func() int64 {
		r.pool.tasks.Wait()
		return r.sink.Stats().Connections
	}
	for range 3 { // far from enough, and forgiven each time by a message
		r.send(letter, "nobody@a.example", "nobody@a.example", "anna@a.example")
	}
	if got := connections(); got != 1 {
		t.Errorf("%d connections after some refusals, want 1", got)
	}
	r.send(letter, "nobody@a.example", "nobody@a.example", "nobody@a.example", "nobody@a.example", "nobody@a.example")
	_, dot := r.send(letter, "anna@a.example")
	r.want(dot, 250, "")
	if got := connections(); got != 2 {
		t.Errorf("%d connections after a harvest, want 2", got)
	}
}

func TestForgedResultsGo(t *testing.T) {
	r := newRig(t, nil)
	forged := "Authentication-Results: mx2.test; dkim=pass\r\n" + letter
	_, dot := r.send(forged, "anna@a.example")
	r.want(dot, 250, "")
	if got := bodyOf(t, string(r.sink.Messages()[0].Data)); got != letter {
		t.Errorf("went out: %q", got)
	}
}

func TestPrimaryVerifiesRecipients(t *testing.T) {
	r := newRig(t, nil)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{
		{Stage: sink.StageRcpt, Match: "nobody@", Reply: "550 5.1.1 No such user"},
		{Stage: sink.StageRcpt, Match: "gone@", Reply: "550 5.1.1 No such user"},
		{Stage: sink.StageRcpt, Match: "grey@", Reply: "450 4.7.1 Greylisted"},
	}})
	r.known["gone@a.example"] = true
	rc, dot := r.send(letter, "nobody@a.example", "grey@a.example", "gone@a.example", "anna@a.example")
	r.want(rc[0], 550, "5.1.1")
	r.want(rc[1], 450, "4.7.1")
	r.want(rc[2], 451, "4.2.0")
	r.want(rc[3], 250, "")
	r.want(dot, 250, "")
	if got := r.prim.saw(); got != "a.example refusal, a.example took" {
		t.Errorf("health saw %q", got)
	}
	if ms := r.sink.Messages(); len(ms) != 1 || len(ms[0].Rcpts) != 1 {
		t.Errorf("the primary has %+v", ms)
	}
}

func TestTheWayIsFixed(t *testing.T) {
	r := newRig(t, nil)
	other := r.newSink()
	r.prim.addr[domB] = other.Addr()
	rc, dot := r.send(letter, "anna@a.example", "bob@b.example", "carl@a.example")
	r.want(rc[0], 250, "")
	r.want(rc[1], 452, "4.5.3")
	r.want(rc[2], 250, "")
	r.want(dot, 250, "")
	// A recipient that its primary refused fixes nothing.
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 No"}}})
	rc, dot = r.send(letter, "anna@a.example", "bob@b.example")
	r.want(rc[0], 550, "5.1.1")
	r.want(rc[1], 250, "")
	r.want(dot, 250, "")
	if n := len(other.Messages()); n != 1 {
		t.Errorf("the other primary has %d messages", n)
	}
	// Spool first, then a primary that is up.
	r.prim.set(domA, health.Down, true)
	rc, dot = r.send(letter, "anna@a.example", "bob@b.example")
	r.want(rc[0], 250, "")
	r.want(rc[1], 452, "4.5.3")
	r.want(dot, 250, "2.6.0")
	if len(r.spool.entries) != 1 || len(r.spool.entries[0].Rcpts) != 1 {
		t.Errorf("kept %+v", r.spool.entries)
	}
}

func TestKept(t *testing.T) {
	for _, st := range []health.State{health.Suspect, health.Down, health.Recovering, health.Isolated} {
		t.Run(string(st), func(t *testing.T) {
			r := newRig(t, nil)
			r.prim.set(domA, st, true)
			s := r.session()
			s.mail(smtpd.Mail{From: fromAnna.From, Params: spool.Params{Ret: "HDRS", EnvID: "x"}})
			r.want(s.rcpt(`"an na"@a.example`), 250, "")
			s.tx.Expect()
			if r.spool.expecting != 1 {
				t.Error("the spool doesn't expect the message")
			}
			r.want(s.dot(letter), 250, "2.6.0")
			s.tx.Reset()
			if r.spool.expecting != 0 {
				t.Error("the spool still expects it")
			}
			e := r.spool.entries[0]
			if e.Kind != spool.Held || e.From != "anna@sender.example" || e.Rcpts[0].Address != `"an na"@a.example` || e.Rcpts[0].Domain != domA ||
				e.Client.Addr != "192.0.2.7" || e.Params.EnvID != "x" || e.Summary.Subject != "hello" || !strings.Contains(e.Reason, string(st)) {
				t.Errorf("entry %+v", e)
			}
			if got := bodyOf(t, r.spool.bodies[0]); got != letter {
				t.Errorf("kept %q", got)
			}
			if fmt.Sprint(r.kept) != "[a.example]" || r.prim.dials != 0 {
				t.Errorf("told of %v, %d connections", r.kept, r.prim.dials)
			}
		})
	}
}

func TestRefusesUs(t *testing.T) {
	r := newRig(t, nil)
	r.prim.set(domA, health.RefusesUs, false)
	rc, _ := r.send(letter, "anna@a.example")
	r.want(rc[0], 451, "4.7.1")
	// The reply that tells us so: for each stage, from a primary that never took mail.
	for _, stage := range []sink.Stage{sink.StageConnect, sink.StageMail, sink.StageRcpt, sink.StageDot} {
		t.Run(string(stage), func(t *testing.T) {
			r := newRig(t, nil)
			r.prim.set(domA, health.Up, false)
			r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: stage, Reply: "554 5.7.1 Blocked"}}})
			rc, dot := r.send(letter, "anna@a.example")
			last := dot
			if last.IsZero() {
				last = rc[0]
			}
			r.want(last, 451, "4.7.1")
			if st := r.prim.State(domA); st.State != health.RefusesUs {
				t.Errorf("state %s", st.State)
			}
			if len(r.spool.entries) != 0 {
				t.Error("kept although the sender was told to come back")
			}
		})
	}
}

func TestNotOurs(t *testing.T) {
	r := newRig(t, nil)
	for _, a := range []string{
		"x@other.example", "x@sub.a.example", "x@[192.0.2.1]", "x%other.example@a.example", "other.example!x@a.example",
		`"x@other.example"@a.example`, `"x%other"@a.example`, "x@xn--e1afmkfd.example",
	} {
		rc, _ := r.send(letter, a)
		r.want(rc[0], 554, "5.7.1")
		if !errors.Is(rc[0].Cause, smtpd.ErrForeign) {
			t.Errorf("%s counts as somebody unknown of ours", a)
		}
	}
	for _, a := range []string{"x@A.Example", "@relay.example:x@a.example", `"x"@a.EXAMPLE`} {
		rc, _ := r.send(letter, a)
		r.want(rc[0], 250, "")
	}
	if r.prim.dials > 1 {
		t.Errorf("%d connections", r.prim.dials)
	}
}

func TestDeclaredAddress(t *testing.T) {
	r := newRig(t, nil)
	r.prim.declared["me@a.example"] = true
	rc, dot := r.send(letter, "Me@A.example", "anna@a.example")
	r.want(rc[0], 250, "")
	r.want(rc[1], 452, "4.5.3")
	r.want(dot, 250, "2.6.0")
	_, dot = r.send(letter, "anna@a.example")
	r.want(dot, 250, "")
	if len(r.spool.entries) != 1 || len(r.sink.Messages()) != 1 {
		t.Errorf("%d kept, %d passed", len(r.spool.entries), len(r.sink.Messages()))
	}
}

func TestDeclaredBecause(t *testing.T) {
	for want, d := range map[string]health.Declaration{
		"me@a.example declared by root: trying it out": {Target: "me@a.example", By: "root", Reason: "trying it out"},
		"me@a.example declared by an admin":            {Target: "me@a.example"},
		"declared by root: mailboxes won't open":       {Target: "a.example", By: "root", Reason: "mailboxes won't open"},
	} {
		if got := declaredBecause(d); got != want {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
}

func TestWhenUpSpool(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Domains = []Domain{{Name: domA, WhenUp: WhenUpSpool}} })
	_, dot := r.send(letter, "anna@a.example")
	r.want(dot, 250, "2.6.0")
	if r.prim.dials != 0 {
		t.Error("connected to the primary")
	}
}

func TestFits(t *testing.T) {
	r := newRig(t, nil)
	r.prim.offers[domA] = smtpc.Offers{Size: 100_000}
	r.prim.offers[domB] = smtpc.Offers{Size: 200_000, SMTPUTF8: true, DSN: true}
	for _, st := range []health.State{health.Up, health.Down} { // fits the primary when it is back, too
		r.prim.set(domA, st, true)
		s := r.session()
		s.mail(smtpd.Mail{From: fromAnna.From, Size: 100_000 - Reserve + 1})
		r.want(s.rcpt("anna@a.example"), 552, "5.3.4")
		r.want(s.rcpt("anna@b.example"), 250, "")
		s.tx.Reset()
		s.mail(smtpd.Mail{From: fromAnna.From, Params: spool.Params{SMTPUTF8: true}})
		r.want(s.rcpt("anna@a.example"), 553, "5.6.7")
		s.tx.Reset()
		_, dot := r.send(strings.Repeat("x\r\n", 30_000), "anna@a.example") // SIZE wasn't given
		r.want(dot, 552, "5.3.4")
	}
	if got, want := r.Offers(), (smtpd.Offers{Size: 200_000 - Reserve}); got != want {
		t.Errorf("offers %+v, want %+v", got, want)
	}
	delete(r.prim.offers, domA)
	if got, want := r.Offers(), (smtpd.Offers{SMTPUTF8: true, DSN: true}); got != want {
		t.Errorf("offers %+v, want %+v: a primary that never answered limits nothing", got, want)
	}
	r.o.MaxSize = 50_000
	if got := r.Offers().Size; got != 50_000 {
		t.Errorf("size %d", got)
	}
}

func TestStoreDown(t *testing.T) {
	r := newRig(t, nil)
	r.spool.down = errStore
	r.prim.set(domA, health.Down, true)
	// b.example passes: MAIL is accepted, a.example's recipients aren't.
	rc, _ := r.send(letter, "anna@a.example")
	r.want(rc[0], 451, "4.3.0")
	_, dot := r.send(letter, "anna@b.example")
	r.want(dot, 250, "")
	r.prim.set(domB, health.Down, true)
	r.passing.at = time.Time{} // anyPasses looks a few times a second
	rc, dot = r.send(letter, "anna@a.example")
	r.want(dot, 451, "4.3.0")
	if rc != nil {
		t.Error("MAIL was accepted although nothing can be taken")
	}
	r.spool.down = spool.ErrNoSpace
	_, dot = r.send(letter, "anna@a.example")
	r.want(dot, 452, "4.3.1")
}

func TestAppendErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{fmt.Errorf("put: %w", spool.ErrVoid), 451},
		{errors.Join(spool.ErrVoid, spool.ErrNoSpace), 452},
		{fmt.Errorf("put: %w", spool.ErrUnsettled), 0},
		{errors.New("who knows"), 0},
	} {
		r := newRig(t, nil)
		r.prim.set(domA, health.Down, true)
		r.spool.fail = tt.err
		_, dot := r.send(letter, "anna@a.example")
		if dot.Code != tt.code {
			t.Errorf("%v: reply %q, want %d", tt.err, dot, tt.code)
		}
		if r.spool.expecting != 0 || len(r.kept) != 0 {
			t.Errorf("%v: expecting %d, kept %v", tt.err, r.spool.expecting, r.kept)
		}
	}
}

func TestExpectEnds(t *testing.T) {
	r := newRig(t, nil)
	r.prim.set(domA, health.Down, true)
	s := r.session()
	s.mail(fromAnna)
	s.rcpt("anna@a.example")
	s.tx.Expect()
	s.tx.Reset() // the connection is gone
	if r.spool.expecting != 0 {
		t.Error("the spool waits for a message that won't come")
	}
}

func TestBusyPrimary(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxConnections, o.MaxWait = 1, 50*time.Millisecond })
	s := r.session()
	s.mail(fromAnna)
	r.want(s.rcpt("anna@a.example"), 250, "")
	_, dot := r.send(letter, "bob@a.example")
	r.want(dot, 250, "2.6.0")
	if got := r.prim.saw(); got != "" {
		t.Errorf("health saw %q: nothing is wrong with the primary", got)
	}
	r.want(s.data(letter), 250, "")
	s.tx.Reset()
	_, dot = r.send(letter, "bob@a.example")
	r.want(dot, 250, "")
	if len(r.sink.Messages()) != 2 {
		t.Error("the slot wasn't given back")
	}
}

// TestPrimaryLimitsConnections: 421 above one connection isn't a failure while that one works.
func TestPrimaryLimitsConnections(t *testing.T) {
	r := newRig(t, nil)
	r.sink.SetFaults(sink.Faults{MaxConnections: 1})
	s := r.session()
	s.mail(fromAnna)
	r.want(s.rcpt("anna@a.example"), 250, "")
	_, dot := r.send(letter, "bob@a.example")
	r.want(dot, 250, "2.6.0")
	if got := r.prim.saw(); got != "" {
		t.Errorf("health saw %q", got)
	}
	r.want(s.data(letter), 250, "")
	s.tx.Reset()
	// Alone, the same reply is one.
	r.pool.drop(r.sink.Addr())
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageConnect, Reply: "421 4.7.0 Too many connections"}}})
	r.prim.saw()
	_, dot = r.send(letter, "bob@a.example")
	r.want(dot, 250, "2.6.0")
	if got := r.prim.saw(); got != "a.example lost" {
		t.Errorf("health saw %q", got)
	}
}

// TestHungUp: when the session ends while the primary is silent, that says nothing of the primary.
func TestHungUp(t *testing.T) {
	r := newRig(t, nil)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Hang: true}}})
	s := r.session()
	s.mail(fromAnna)
	r.want(s.rcpt("anna@a.example"), 250, "")
	r.spool.fail = spool.ErrVoid
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	body := spool.NewBody("", 1<<20)
	defer body.Close()
	if _, err := body.Write([]byte(letter)); err != nil {
		t.Fatal(err)
	}
	if dot := s.tx.Data(ctx, spool.NewID(), body); !dot.IsZero() {
		t.Errorf("reply %q although the primary may have the message", dot)
	}
	s.tx.Reset()
	if got := r.prim.saw(); got != "" {
		t.Errorf("health saw %q", got)
	}
}

func TestOrigin(t *testing.T) {
	for once, connections := range map[bool]int64{false: 1, true: 2} {
		origin(t, once, connections)
	}
}

func origin(t *testing.T, once bool, connections int64) {
	r := newRig(t, func(o *Options) { o.Domains = []Domain{{Name: domA, XClient: true}} })
	offers := sink.DefaultOffers()
	offers.StartTLS = false
	offers.XClient, offers.XClientOnce = []string{"NAME", "ADDR", "PROTO", "HELO", "PORT"}, once
	r.sink.SetOffers(offers)
	for i, addr := range []string{"198.51.100.3", "203.0.113.9"} {
		s := r.session()
		s.client.Addr = addr
		s.mail(smtpd.Mail{From: mailaddr.Address{}})
		r.want(s.rcpt("anna@a.example"), 250, "")
		r.want(s.data(letter), 250, "")
		s.tx.Reset()
		if got := r.sink.Messages()[i].XClient["ADDR"]; got != addr {
			t.Errorf("message %d: the primary was told the client is %q, want %q", i, got, addr)
		}
	}
	if n := r.sink.Stats().Connections; n != connections {
		t.Errorf("%d connections, want %d", n, connections)
	}
}

// TestOriginRefused: what the primary has against a client is no reason to doubt the primary, and nothing goes out in another's name.
func TestOriginRefused(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Domains = []Domain{{Name: domA, XClient: true}} })
	offers := sink.DefaultOffers()
	offers.StartTLS = false
	offers.XClient = []string{"ADDR"}
	r.sink.SetOffers(offers)
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{
		{Stage: sink.StageXClient, Match: "198.51.100.3", Reply: "554 5.7.1 Client host rejected"},
		{Stage: sink.StageXClient, Match: "198.51.100.4", Reply: "421 4.7.0 Too many connections from it"},
	}})
	for _, c := range []struct {
		addr string
		code int
	}{{"203.0.113.9", 250}, {"198.51.100.3", 451}, {"198.51.100.4", 451}, {"203.0.113.9", 250}} {
		s := r.session()
		s.client.Addr = c.addr
		s.mail(smtpd.Mail{From: mailaddr.Address{}})
		r.want(s.rcpt("anna@a.example"), c.code, "")
		if c.code == 250 {
			r.want(s.data(letter), 250, "")
		}
		s.tx.Reset()
	}
	if got := r.prim.saw(); strings.Contains(got, "lost") || strings.Contains(got, "refusal") || strings.Contains(got, "ban") {
		t.Errorf("health saw %q", got)
	}
	for _, m := range r.sink.Messages() {
		if m.XClient["ADDR"] != "203.0.113.9" {
			t.Errorf("a message went out as from %q", m.XClient["ADDR"])
		}
	}
}
