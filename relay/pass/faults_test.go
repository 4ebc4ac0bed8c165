package pass

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/reply"
	"restante/relay/sink"
	"restante/spool"
)

// fault is one way in which a primary fails in a session.
type fault struct {
	name string
	rule sink.Rule
}

// faults are all of them: each drop at each stage, and the replies that speak of the primary itself.
func faults() []fault {
	var fs []fault
	for _, stage := range []sink.Stage{
		sink.StageConnect, sink.StageEhlo, sink.StageMail, sink.StageRcpt, sink.StageData, sink.StageBody, sink.StageDot,
	} {
		for _, drop := range []sink.Drop{sink.DropBefore, sink.DropAfter, sink.DropReply} {
			fs = append(fs, fault{fmt.Sprintf("%s dropped %s", stage, drop), sink.Rule{Stage: stage, Drop: drop}})
		}
		if stage == sink.StageBody {
			continue
		}
		for _, r := range []string{"421 4.3.2 Going down", "451 4.3.0 Broken", "452 4.3.1 Full", "gibberish"} {
			if stage == sink.StageEhlo && r[0] != '4' {
				continue // HELO may follow
			}
			fs = append(fs, fault{fmt.Sprintf("%s answered %q", stage, r), sink.Rule{Stage: stage, Reply: r}})
		}
		fs = append(fs, fault{fmt.Sprintf("%s stops the server", stage), sink.Rule{Stage: stage, Drop: sink.DropBefore, Stop: true}})
	}
	return fs
}

// TestPrimaryDies lets the primary fail between any two replies, on a new session and on a reused
// one, with DATA and with BDAT, once and for good, while the store is up, down, and of unknown outcome; and
// then holds what the sender was told against who has the message.
func TestPrimaryDies(t *testing.T) {
	type storeCase struct {
		name string
		down error
		fail error
		keep bool
	}
	stores := []storeCase{
		{name: "store up"},
		{name: "store down", down: errStore, fail: spool.ErrVoid},
		{name: "store fails just then", fail: spool.ErrVoid},
		{name: "store unsettled", fail: spool.ErrUnsettled},
		{name: "store unsettled but kept", fail: spool.ErrUnsettled, keep: true},
	}
	outcomes := map[string]int{}
	for _, f := range faults() {
		for _, bdat := range []bool{false, true} {
			for _, reused := range []bool{false, true} {
				for _, count := range []int{1, 0} {
					for _, st := range stores {
						name := fmt.Sprintf("%s, bdat %v, reused %v, count %d, %s", f.name, bdat, reused, count, st.name)
						t.Run(name, func(t *testing.T) {
							r := newRig(t, nil)
							offers := sink.DefaultOffers()
							offers.StartTLS, offers.Chunking = false, bdat
							r.sink.SetOffers(offers)
							if reused {
								if _, dot := r.send("first\r\n", "first@a.example"); !dot.Positive() {
									t.Fatalf("first message: %s", dot)
								}
							}
							r.prim.saw()
							rule := f.rule
							rule.Count = count
							r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{rule}})
							r.spool.down, r.spool.fail, r.spool.keepsFail = st.down, st.fail, st.keep
							rc, dot := r.send(letter, "anna@a.example", "bob@a.example")
							outcomes[judgeOutcome(t, r, f, rc, dot, st.name == "store up")]++
						})
					}
				}
			}
		}
	}
	t.Logf("outcomes: %v", outcomes)
	for _, must := range []string{"passed", "kept", "refused", "silence"} {
		if outcomes[must] == 0 {
			t.Errorf("no fault led to %q: the test doesn't reach what it should", must)
		}
	}
}

// judgeOutcome checks the promises after one transaction.
func judgeOutcome(t *testing.T, r *rig, f fault, rc []reply.Reply, dot reply.Reply, storeUp bool) string {
	t.Helper()
	passed, kept := r.atSink(letter), r.inSpool(letter)
	accepted := 0
	for _, rep := range rc {
		switch {
		case rep.Positive():
			accepted++
		case rep.Permanent() && strings.Contains(f.rule.Reply, "4"):
			t.Errorf("RCPT was refused for good: %s", rep)
		}
	}
	seen := r.prim.saw()
	if passed > 1 || kept > 1 {
		t.Errorf("%d copies at the primary, %d kept", passed, kept)
	}
	if r.spool.expecting != 0 {
		t.Error("the spool still expects a message")
	}
	afterDot := f.rule.Stage == sink.StageDot && f.rule.Drop == sink.DropAfter
	if passed+kept > 1 && !afterDot {
		t.Errorf("both passed and kept, though the reply to the dot wasn't lost: %s", seen)
	}
	switch {
	case accepted == 0:
		if storeUp {
			t.Errorf("recipients were refused while the store is up: %v", rc)
		}
		if passed+kept > 0 {
			t.Errorf("nobody was accepted: %d passed, %d kept", passed, kept)
		}
		return "refused"
	case dot.Positive():
		if passed+kept == 0 {
			t.Fatalf("lost: the sender was told %q", dot)
		}
		if kept == 1 {
			if got := len(r.spool.entries[0].Rcpts); got != accepted {
				t.Errorf("kept for %d recipients, %d were accepted", got, accepted)
			}
			if !strings.Contains(seen, "lost") {
				t.Errorf("kept, and health saw only %q", seen)
			}
			return "kept"
		}
		if ms := r.sink.Messages(); len(ms[len(ms)-1].Rcpts) != accepted {
			t.Errorf("passed for %v, %d were accepted", ms[len(ms)-1].Rcpts, accepted)
		}
		return "passed"
	case dot.IsZero():
		if storeUp {
			t.Errorf("silence while the store is up; health saw %q", seen)
		}
		return "silence"
	default:
		if passed+kept > 0 {
			t.Errorf("the sender was told %q, and yet %d passed, %d kept", dot, passed, kept)
		}
		if storeUp {
			t.Errorf("refused with %q while the store is up", dot)
		}
		if !dot.Transient() {
			t.Errorf("a failing primary became %q", dot)
		}
		return "refused"
	}
}

// TestClosedWhileReading: the primary closed the session while the sender sent the message, or while it
// was idle. It is opened again, once, and health doesn't count that.
func TestClosedWhileReading(t *testing.T) {
	for _, bdat := range []bool{false, true} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("bdat %v, again %v", bdat, again), func(t *testing.T) {
				r := newRig(t, nil)
				offers := sink.DefaultOffers()
				offers.StartTLS, offers.Chunking = false, bdat
				r.sink.SetOffers(offers)
				s := r.session()
				s.mail(fromAnna)
				r.want(s.rcpt("anna@a.example"), 250, "")
				r.want(s.rcpt("bob@a.example"), 250, "")
				s.tx.Expect()
				r.restart()
				if again {
					r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "bob", Reply: "550 5.1.1 No such user"}}})
				}
				dot := s.dot(letter)
				s.tx.Reset()
				if again { // half-restored: it forgot a recipient that it had accepted
					r.want(dot, 250, "2.6.0")
					if len(r.spool.entries) != 1 || len(r.spool.entries[0].Rcpts) != 2 || r.atSink(letter) != 0 {
						t.Errorf("kept %+v, %d passed", r.spool.entries, r.atSink(letter))
					}
					return
				}
				r.want(dot, 250, "")
				if r.atSink(letter) != 1 || len(r.spool.entries) != 0 {
					t.Errorf("%d passed, %d kept", r.atSink(letter), len(r.spool.entries))
				}
				if got := r.prim.saw(); got != "a.example took" {
					t.Errorf("health saw %q", got)
				}
				// Idle in the pool, then between RCPTs.
				r.restart()
				s = r.session()
				s.mail(fromAnna)
				r.want(s.rcpt("anna@a.example"), 250, "")
				r.restart()
				r.want(s.rcpt("bob@a.example"), 250, "")
				r.want(s.data(letter), 250, "")
				s.tx.Reset()
				if got := r.prim.saw(); got != "a.example took" || r.atSink(letter) != 2 {
					t.Errorf("health saw %q, %d passed", got, r.atSink(letter))
				}
				if ms := r.sink.Messages(); len(ms[len(ms)-1].Rcpts) != 2 {
					t.Errorf("recipients %v", ms[len(ms)-1].Rcpts)
				}
			})
		}
	}
}

// restart stops the primary, so that every session to it is gone, and starts it again.
func (r *rig) restart() {
	r.t.Helper()
	r.sink.Stop()
	if err := r.sink.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// TestHalfRestored: a primary that comes up with its mailboxes missing refuses everybody it had.
func TestHalfRestored(t *testing.T) {
	r := newRig(t, nil)
	for _, a := range []string{"anna@a.example", "bob@a.example", "carl@a.example", "dora@a.example"} {
		r.known[a] = true
	}
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 No such user"}}})
	rc, _ := r.send(letter, "anna@a.example", "bob@a.example", "carl@a.example")
	for _, rep := range rc {
		r.want(rep, 451, "4.2.0")
	}
	if st := r.prim.State(domA).State; st != health.Suspect {
		t.Fatalf("state %s after three known recipients were refused", st)
	}
	rc, dot := r.send(letter, "dora@a.example")
	r.want(rc[0], 250, "")
	r.want(dot, 250, "2.6.0")
}

// TestSomebodyLeft: the primary refuses one recipient that it had and takes all others.
func TestSomebodyLeft(t *testing.T) {
	r := newRig(t, nil)
	r.known["gone@a.example"] = true
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "gone@", Reply: "550 5.1.1 No such user"}}})
	refused := func(code int, seen string) {
		t.Helper()
		rc, _ := r.send(letter, "gone@a.example")
		r.want(rc[0], code, "")
		if got := r.prim.saw(); got != seen {
			t.Fatalf("health saw %q, want %q", got, seen)
		}
	}
	earlier := func(d time.Duration) { r.doubts["gone@a.example"] = r.doubts["gone@a.example"].Add(-d) }
	refused(451, "a.example refusal")
	refused(451, "a.example refusal") // no other mail yet: it may refuse everybody
	_, dot := r.send(letter, "anna@a.example")
	r.want(dot, 250, "")
	r.prim.saw()
	refused(451, "")
	earlier(25 * time.Hour)
	refused(550, "")
	// Accepted again, the story begins anew.
	r.sink.SetFaults(sink.Faults{})
	r.send(letter, "gone@a.example")
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "gone@", Reply: "550 5.1.1 No such user"}}})
	r.prim.saw()
	refused(451, "a.example refusal")
	// A primary that has taken nothing since isn't believed, however long it goes on.
	earlier(100 * time.Hour)
	r.prim.set(domA, health.Up, true)
	refused(451, "a.example refusal")
}

// TestDeadPrimary: no connection at all, a hung banner apart.
func TestDeadPrimary(t *testing.T) {
	r := newRig(t, nil)
	r.sink.Stop()
	rc, dot := r.send(letter, "anna@a.example", "bob@a.example")
	r.want(rc[0], 250, "")
	r.want(rc[1], 250, "")
	r.want(dot, 250, "2.6.0")
	if got := r.prim.saw(); got != "a.example lost" {
		t.Errorf("health saw %q", got)
	}
	if fmt.Sprint(r.kept) != "[a.example]" {
		t.Errorf("told of %v", r.kept)
	}
}

// TestTiredSession: a primary that ends a reused session at its next MAIL (a limit of messages a
// session) isn't failing.
func TestTiredSession(t *testing.T) {
	for _, rule := range []sink.Rule{
		{Stage: sink.StageMail, Reply: "421 4.7.0 Too many messages in this session", Count: 1},
		{Stage: sink.StageMail, Drop: sink.DropBefore, Count: 1},
	} {
		r := newRig(t, nil)
		r.send("first\r\n", "anna@a.example")
		r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{rule}})
		_, dot := r.send(letter, "anna@a.example")
		r.want(dot, 250, "")
		if got := r.prim.saw(); got != "a.example took, a.example took" || r.atSink(letter) != 1 {
			t.Errorf("health saw %q, %d passed", got, r.atSink(letter))
		}
	}
}

// TestAcceptedGoSomewhere: recipients were accepted, the session is gone, and in the new one the primary
// refuses the sender: what was accepted is kept, whatever the reply would mean otherwise.
func TestAcceptedGoSomewhere(t *testing.T) {
	for _, answer := range []string{"550 5.1.8 No such sender", "450 4.7.1 Greylisted", "554 5.7.1 Blocked"} {
		r := newRig(t, nil)
		s := r.session()
		s.mail(fromAnna)
		r.want(s.rcpt("anna@a.example"), 250, "")
		r.restart()
		r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageMail, Reply: answer}}})
		r.want(s.rcpt("bob@a.example"), 250, "")
		r.want(s.data(letter), 250, "2.6.0")
		s.tx.Reset()
		if len(r.spool.entries) != 1 || len(r.spool.entries[0].Rcpts) != 2 {
			t.Errorf("%s: kept %+v", answer, r.spool.entries)
		}
	}
}
