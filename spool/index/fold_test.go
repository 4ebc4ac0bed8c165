package index

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restante/spool"
)

// TestFold is the table of the rules of one pair. Each line of a case is an event: its type, its round,
// when it happened in minutes.
func TestFold(t *testing.T) {
	base := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	type ev struct {
		t     spool.EventType
		round int
		min   int
		reply string
	}
	const again spool.EventType = "retried again"
	cases := []struct {
		name     string
		events   []ev
		state    spool.PairState
		round    int
		attempts int
		reply    string
	}{
		{"nothing happened", nil, "pending", 0, 0, ""},
		{"deferred stays pending", []ev{{"deferred", 0, 1, "450 later"}}, "pending", 0, 1, "450 later"},
		{"the last reply shows", []ev{{"deferred", 0, 2, "450 two"}, {"deferred", 0, 1, "450 one"}}, "pending", 0, 2, "450 two"},
		{"delivered", []ev{{"delivered", 0, 1, "250 ok"}}, "delivered", 0, 1, "250 ok"},
		{"delivered after deferred", []ev{{"deferred", 0, 1, "450 later"}, {"delivered", 0, 2, "250 ok"}}, "delivered", 0, 2, "250 ok"},
		{"parked", []ev{{"parked", 0, 1, "550 no"}}, "parked", 0, 1, "550 no"},
		{"parked without an attempt", []ev{{"parked", 0, 1, ""}}, "parked", 0, 0, ""},
		{"expired beats parked", []ev{{"expired", 0, 1, ""}, {"parked", 0, 2, "550 no"}}, "expired", 0, 1, "550 no"},
		{"bounced beats expired", []ev{{"bounced", 0, 1, ""}, {"expired", 0, 2, ""}}, "bounced", 0, 0, ""},
		{"removed beats bounced", []ev{{"removed", 0, 1, ""}, {"bounced", 0, 2, ""}}, "removed", 0, 0, ""},
		{"delivered beats removed", []ev{{"delivered", 0, 1, "250 ok"}, {"removed", 0, 2, ""}}, "delivered", 0, 1, "250 ok"},
		{"held by an admin", []ev{{"held", 1, 1, ""}}, "parked", 1, 0, ""},
		{"released", []ev{{"held", 1, 1, ""}, {"released", 2, 2, ""}}, "pending", 2, 0, ""},
		{"the higher round wins over precedence", []ev{{"removed", 0, 9, ""}, {"released", 1, 1, ""}}, "pending", 1, 0, ""},
		{"parked again in the round that was opened", []ev{{"parked", 0, 1, "550 no"}, {"retried", 1, 2, ""}, {"parked", 1, 3, "551 no"}}, "parked", 1, 2, "551 no"},
		{"a retry does not undo a delivery of the round before", []ev{{"parked", 0, 1, "550 no"}, {"retried", 1, 2, ""}, {"delivered", 0, 3, "250 ok"}}, "delivered", 1, 2, "250 ok"},
		{"nor one that came earlier", []ev{{"delivered", 0, 1, "250 ok"}, {"retried", 1, 2, ""}}, "delivered", 1, 1, "250 ok"},
		{"again does", []ev{{"delivered", 0, 1, "250 ok"}, {again, 1, 2, ""}}, "pending", 1, 1, "250 ok"},
		{"again, delivered again", []ev{{"delivered", 0, 1, "250 ok"}, {again, 1, 2, ""}, {"delivered", 1, 3, "250 twice"}}, "delivered", 1, 2, "250 twice"},
		{"again, then parked", []ev{{"delivered", 0, 1, "250 ok"}, {again, 1, 2, ""}, {"parked", 1, 3, "550 no"}}, "parked", 1, 2, "550 no"},
		{"a late delivery of a round before again", []ev{{again, 1, 2, ""}, {"delivered", 0, 5, "250 ok"}}, "pending", 1, 1, "250 ok"},
		{"delivered twice shows the later", []ev{{"delivered", 0, 2, "250 b"}, {"delivered", 0, 1, "250 a"}}, "delivered", 0, 2, "250 b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var evs []spool.Event
			for i, e := range c.events {
				v := spool.Event{ID: string(rune('a' + i)), Type: e.t, Round: e.round, Time: base.Add(time.Duration(e.min) * time.Minute), Reply: e.reply}
				if e.t == again {
					v.Type, v.Data = spool.Retried, map[string]any{"again": true}
				}
				evs = append(evs, v)
			}
			permute(evs, func(p []spool.Event) {
				s := fold(p)
				got := []any{stateNames[s.state], s.round, s.attempts, s.reply}
				if d := cmp.Diff([]any{c.state, c.round, c.attempts, c.reply}, got); d != "" {
					t.Fatalf("%v:\n%s", p, d)
				}
			})
		})
	}
}

// TestDetain: what is in quarantine stays there, whatever happens, until it is released.
func TestDetain(t *testing.T) {
	type ev struct {
		t     spool.EventType
		round int
	}
	for _, c := range []struct {
		name   string
		events []ev
		state  spool.PairState
		in     bool
	}{
		{"new", nil, "parked", true},
		{"a retry doesn't let it out", []ev{{spool.Retried, 1}}, "parked", true},
		{"released", []ev{{spool.Released, 1}}, "pending", false},
		{"released and refused", []ev{{spool.Released, 1}, {spool.Parked, 1}}, "parked", false},
		{"released, refused, retried", []ev{{spool.Released, 1}, {spool.Parked, 1}, {spool.Retried, 2}}, "pending", false},
		{"held and released", []ev{{spool.HeldBack, 1}, {spool.Released, 2}}, "pending", false},
		{"held", []ev{{spool.HeldBack, 1}}, "parked", true},
		{"removed", []ev{{spool.Removed, 0}}, "removed", true},
		{"expired", []ev{{spool.Expired, 0}}, "expired", true},
		{"delivered by hand", []ev{{spool.Delivered, 0}}, "delivered", true},
	} {
		var evs []spool.Event
		for i, e := range c.events {
			evs = append(evs, spool.Event{ID: string(rune('a' + i)), Type: e.t, Round: e.round, Time: time.Unix(1000+int64(i), 0), Reason: "because"})
		}
		permute(evs, func(p []spool.Event) {
			s := Stand(p, "a virus", time.Unix(900, 0))
			if s.State != c.state || s.Quarantined != c.in {
				t.Errorf("%s: %+v", c.name, s)
			}
			if c.state == "parked" && c.in && len(p) == 0 && (s.Reason != "a virus" || !s.Changed.Equal(time.Unix(900, 0))) {
				t.Errorf("%s: %+v", c.name, s)
			}
		})
	}
}

// permute calls f with every order of evs.
func permute(evs []spool.Event, f func([]spool.Event)) {
	var rec func(n int)
	rec = func(n int) {
		if n == len(evs) {
			f(evs)
			return
		}
		for i := n; i < len(evs); i++ {
			evs[n], evs[i] = evs[i], evs[n]
			rec(n + 1)
			evs[n], evs[i] = evs[i], evs[n]
		}
	}
	rec(0)
}

// TestAssign is the table of which outage a pair belongs to.
func TestAssign(t *testing.T) {
	line := newTimeline([]*outage{{id: "a", opened: 100, closed: 200}, {id: "b", opened: 300, closed: 400}, {id: "c", opened: 500}})
	cases := []struct {
		name            string
		received, ended int64
		state           int
		want            string
	}{
		{"received inside", 150, 0, pending, "a"},
		{"received inside and delivered", 150, 160, delivered, "a"},
		{"waiting when it opened", 50, 0, pending, "a"},
		{"waiting when it opened, delivered inside", 50, 150, delivered, "a"},
		{"delivered before it opened", 50, 60, delivered, ""},
		{"between two, delivered before the next", 250, 260, delivered, ""},
		{"between two, still waiting", 250, 0, pending, "b"},
		{"between two, delivered in the next but one", 250, 550, delivered, "b"},
		{"at the moment of opening", 300, 300, delivered, "b"},
		{"at the moment of closing", 200, 210, delivered, ""},
		{"in the open one", 600, 700, parked, "c"},
	}
	for _, c := range cases {
		got := ""
		if o := line.assign(c.received, c.state, c.ended); o != nil {
			got = o.id
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
