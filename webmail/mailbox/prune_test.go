package mailbox

import (
	"slices"
	"testing"
	"time"

	"restante/spool"
)

// TestPruneSessions: what is kept of an account lasts, but for its sessions of long ago.
func TestPruneSessions(t *testing.T) {
	s := openStore(t, "", &fakeSpool{raw: map[string]string{}}, nil)
	defer closeStore(t, s)
	m := newMaker()
	old, now := base.Add(-sessionsKept), s.o.Now()
	var want []string
	var evs []spool.Event
	for _, c := range []struct {
		at     time.Time
		change any
		stays  bool
	}{{old, "session", false}, {old, "session-seen", false}, {old, "sessions-ended", false}, {old, "name", true}, {old, nil, true}, {now, "session", true}, {now, "session-seen", true}} {
		ev := spool.Event{ID: m.id(c.at), Time: c.at, Type: spool.AccountChanged, Address: "anna@a.test", Data: map[string]any{"change": c.change, "session": "x"}}
		evs = append(evs, ev)
		if c.stays {
			want = append(want, ev.ID)
		}
	}
	if err := s.Apply(t.Context(), []spool.Step{{Events: evs}}); err != nil {
		t.Fatal(err)
	}
	if err := s.pruneSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := s.Accounts(t.Context())
	var got []string
	for _, ev := range left {
		got = append(got, ev.ID)
	}
	if slices.Sort(want); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v are left, want %v; %v", got, want, err)
	}
}
