package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool"
)

const anna, max_ = "anna@example.com", "max@example.com"

// rig is two nodes on one ledger, each of which reads what the other wrote only when told to.
type rig struct {
	t      *testing.T
	ledger []spool.Event
	fail   error
	open   bool
}

func (r *rig) node() *Sessions {
	return New(Options{
		Record: func(_ context.Context, evs ...spool.Event) error {
			if r.fail != nil {
				return r.fail
			}
			r.ledger = append(r.ledger, evs...)
			return nil
		},
		Note: func(evs ...spool.Event) { r.ledger = append(r.ledger, evs...) },
		Open: func(string) bool { return r.open },
	})
}

func (r *rig) start(s *Sessions, n Session) (string, Session) {
	r.t.Helper()
	token, made, err := s.Start(r.t.Context(), n)
	if err != nil {
		r.t.Fatal(err)
	}
	return token, made
}

// reread is a node that has just started and reads the ledger backwards, each event twice.
func (r *rig) reread() *Sessions {
	s := r.node()
	evs := slices.Clone(r.ledger)
	slices.Reverse(evs)
	s.Apply(append(evs, evs...))
	return s
}

func TestSessionSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		a := r.node()
		token, made := r.start(a, Session{Account: anna, Method: Passkey, Second: true, Device: "d1", Addr: "192.0.2.7", Agent: "Firefox on Linux"})
		for name, s := range map[string]*Sessions{"same": a, "restarted": r.reread()} {
			got, ok := s.Lookup(token)
			if !ok || got != made {
				t.Errorf("%s: Lookup = %+v, %v; want %+v", name, got, ok, made)
			}
			if _, ok := s.Lookup(made.ID); ok {
				t.Errorf("%s: the id opens the session", name)
			}
			if _, ok := s.Lookup(token[:len(token)-1] + "_"); ok {
				t.Errorf("%s: another token opens the session", name)
			}
		}
		for _, ev := range r.ledger {
			for k, v := range ev.Data {
				if text, _ := v.(string); strings.Contains(text, token) {
					t.Errorf("the ledger has the token in %q", k)
				}
			}
		}
	})
}

func TestNobodyIsSignedInWithoutTheLedger(t *testing.T) {
	r := &rig{t: t, fail: errors.New("store gone")}
	s := r.node()
	token, _, err := s.Start(t.Context(), Session{Account: anna})
	if err == nil || token != "" || len(s.List(anna)) != 0 {
		t.Fatalf("Start = %q, %v with %d sessions", token, err, len(s.List(anna)))
	}
}

func TestIdleAndAbsolute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		idle, _ := r.start(s, Session{Account: anna, Method: Password})
		used, _ := r.start(s, Session{Account: anna, Method: Password})
		l := DefaultLimits()
		for range 8 {
			time.Sleep(20 * time.Hour)
			if _, ok := s.Lookup(used); !ok {
				t.Fatal("a session in use ended")
			}
		}
		if _, ok := s.Lookup(idle); ok {
			t.Error("an idle session is good after a week")
		}
		if _, ok := r.reread().Lookup(used); !ok {
			t.Error("the use isn't in the ledger")
		}
		time.Sleep(l.Absolute - 8*20*time.Hour - time.Second)
		if _, ok := s.Lookup(used); !ok {
			t.Error("ended before its term")
		}
		time.Sleep(time.Second)
		if _, ok := s.Lookup(used); ok {
			t.Error("good after its term")
		}
	})
}

func TestUseIsNotedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		token, _ := r.start(s, Session{Account: anna})
		for range 240 {
			time.Sleep(time.Minute)
			s.Lookup(token)
		}
		if n := len(r.ledger); n != 1+4 {
			t.Errorf("%d events for a start and four hours of use", n)
		}
	})
}

func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		one, first := r.start(s, Session{Account: anna})
		other, second := r.start(s, Session{Account: anna})
		stranger, _ := r.start(s, Session{Account: max_})
		if err := s.End(t.Context(), max_, first.ID, max_, "test"); !errors.Is(err, ErrNotFound) {
			t.Errorf("another account's session: %v", err)
		}
		if err := s.End(t.Context(), anna, first.ID, anna, "test"); err != nil {
			t.Fatal(err)
		}
		if err := s.End(t.Context(), anna, first.ID, anna, "test"); !errors.Is(err, ErrNotFound) {
			t.Errorf("ended twice: %v", err)
		}
		time.Sleep(time.Second)
		later, _ := r.start(s, Session{Account: anna})
		for name, s := range map[string]*Sessions{"same": s, "restarted": r.reread()} {
			for token, want := range map[string]bool{one: false, other: true, stranger: true, later: true} {
				if _, ok := s.Lookup(token); ok != want {
					t.Errorf("%s: session good = %v, want %v", name, ok, want)
				}
			}
		}
		if err := s.EndAll(t.Context(), anna, second.ID, anna, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		after, _ := r.start(s, Session{Account: anna})
		for name, s := range map[string]*Sessions{"same": s, "restarted": r.reread()} {
			for token, want := range map[string]bool{one: false, other: true, stranger: true, later: false, after: true} {
				if _, ok := s.Lookup(token); ok != want {
					t.Errorf("%s, all ended but one: session good = %v, want %v", name, ok, want)
				}
			}
		}
	})
}

// The other node ends all before it has read of a session; the use that is noted later revives nothing.
func TestEndAllOnAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		a, b := r.node(), r.node()
		token, _ := r.start(a, Session{Account: anna})
		time.Sleep(2 * time.Hour)
		if err := b.EndAll(t.Context(), anna, "", "admin root", "test"); err != nil {
			t.Fatal(err)
		}
		if _, ok := a.Lookup(token); !ok {
			t.Fatal("a knows already") // and notes a use, after the end
		}
		a.Apply(r.ledger)
		b.Apply(r.ledger)
		for name, s := range map[string]*Sessions{"a": a, "b": b, "restarted": r.reread()} {
			if _, ok := s.Lookup(token); ok {
				t.Errorf("%s: the session is still good", name)
			}
		}
	})
}

func TestOutageSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, open: true}
		s := r.node()
		token, made := r.start(s, Session{Account: anna, Method: Code, Outage: true})
		if _, ok := s.Lookup(token); !ok {
			t.Fatal("not good during the outage")
		}
		r.open = false
		if _, ok := s.Lookup(token); ok {
			t.Error("good after the outage")
		}
		if _, ok := s.Peek(made.ID); ok {
			t.Error("Peek: good after the outage")
		}
		r.open = true // the primary went away again
		if _, ok := s.Lookup(token); !ok {
			t.Error("not good when the outage goes on")
		}
		time.Sleep(DefaultLimits().Absolute)
		if _, ok := s.Lookup(token); ok {
			t.Error("good for more than 7 days")
		}
	})
}

func TestTheLeastUsedMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		first, _ := r.start(s, Session{Account: anna})
		time.Sleep(time.Second)
		second, _ := r.start(s, Session{Account: anna})
		time.Sleep(time.Second)
		s.Lookup(first)
		for range DefaultLimits().Each - 1 {
			time.Sleep(time.Second)
			r.start(s, Session{Account: anna})
		}
		if n := len(s.List(anna)); n != DefaultLimits().Each {
			t.Errorf("%d sessions", n)
		}
		if _, ok := s.Lookup(first); !ok {
			t.Error("the one in use made room")
		}
		if _, ok := s.Lookup(second); ok {
			t.Error("the unused one is still there")
		}
	})
}

func TestSweepForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		for range 50 {
			r.start(s, Session{Account: anna, Addr: "192.0.2.1"})
			_ = s.EndAll(t.Context(), anna, "", anna, "test")
			time.Sleep(time.Minute)
		}
		if !s.Known(anna, "192.0.2.1") || s.Known(anna, "192.0.2.2") || s.Known(max_, "192.0.2.1") {
			t.Error("known networks are wrong")
		}
		time.Sleep(10 * 24 * time.Hour)
		s.Apply(nil)
		if len(s.live)+len(s.ended)+len(s.all)+len(s.known) != 0 {
			t.Errorf("kept: %d live, %d ended, %d marks, %d networks", len(s.live), len(s.ended), len(s.all), len(s.known))
		}
		old := r.reread()
		if len(old.live) != 0 {
			t.Errorf("%d sessions came back from the ledger", len(old.live))
		}
		if s.SignedIn(time.Hour) != 0 {
			t.Error("somebody is signed in")
		}
	})
}

// In any order, however often, the fold is the same.
func TestOrderDoesNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		var tokens []string
		rnd := rand.New(rand.NewPCG(1, 2))
		for i := range 200 {
			account := []string{anna, max_}[i%2]
			time.Sleep(time.Minute)
			switch open := s.List(account); {
			case i%17 == 0:
				_ = s.EndAll(t.Context(), account, "", account, "test")
			case i%5 == 0 && len(open) > 0:
				_ = s.End(t.Context(), account, open[0].ID, account, "test")
			default:
				token, _ := r.start(s, Session{Account: account})
				tokens = append(tokens, token)
			}
		}
		for range 20 {
			evs := append(slices.Clone(r.ledger), r.ledger[:50]...)
			rnd.Shuffle(len(evs), func(i, j int) { evs[i], evs[j] = evs[j], evs[i] })
			other := r.node()
			other.Apply(evs)
			for _, token := range tokens {
				_, a := s.Peek(idOf(token))
				if _, b := other.Peek(idOf(token)); a != b {
					t.Fatalf("a session is good = %v in order, %v in another", a, b)
				}
			}
		}
	})
}

func TestHandWrittenEvents(t *testing.T) {
	s := (&rig{t: t}).node()
	for _, data := range []map[string]any{nil, {"change": 7}, {"change": changeStarted}, {"change": changeStarted, "session": "x", "until": "soon"},
		{"change": changeStarted, "session": []string{"x"}, "until": "2100-01-01T00:00:00Z"}, {"change": changeEnded}, {"change": changeAll, "except": 3}, {"change": changeSeen, "session": "y"}} {
		s.Apply([]spool.Event{{Type: spool.AccountChanged, Address: anna, Time: time.Now(), Data: data}})
	}
	if len(s.List(anna)) != 0 {
		t.Error("a session came of it")
	}
	// A session of a hundred years is cut to the limit.
	s.Apply([]spool.Event{{Type: spool.AccountChanged, Address: anna, Time: time.Now(), Data: map[string]any{"change": changeStarted, "session": "z", "until": "2100-01-01T00:00:00Z"}}})
	if l := s.List(anna); len(l) != 1 || time.Until(l[0].Until) > DefaultLimits().Absolute {
		t.Errorf("%+v", l)
	}
}

func TestSignedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := r.node()
		r.start(s, Session{Account: anna})
		r.start(s, Session{Account: anna})
		r.start(s, Session{Account: max_})
		if n := s.SignedIn(time.Hour); n != 2 {
			t.Errorf("%d people signed in", n)
		}
		time.Sleep(3 * time.Hour)
		if n := s.SignedIn(time.Hour); n != 0 {
			t.Errorf("%d people signed in three hours later", n)
		}
	})
}
