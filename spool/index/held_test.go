package index

import (
	"context"
	"path/filepath"
	"testing"

	"restante/spool"
)

// TestHeld: of the parked pairs those are held that an admin parked last.
func TestHeld(t *testing.T) {
	ctx := context.Background()
	x := openAt(t, filepath.Join(t.TempDir(), "index.db"))
	defer x.Close()
	m := newMaker()
	mail := m.mail(5)
	s := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	for i, types := range [][]spool.EventType{
		{spool.HeldBack},
		{spool.Parked},
		{spool.HeldBack, spool.Released},
		{spool.HeldBack, spool.Released, spool.Parked},
		{spool.Parked, spool.Retried, spool.HeldBack},
	} {
		round := 0
		for _, typ := range types {
			if typ != spool.Parked {
				round++
			}
			id, at := m.id()
			s.Events = append(s.Events, spool.Event{ID: id, Time: at, Type: typ, Entry: mail.Entries[i].Entry.ID, Round: round})
		}
	}
	if err := x.Apply(ctx, []spool.Step{mail, s}); err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"", "example.test"} {
		pairs, _, err := x.List(ctx, Filter{State: StateHeld, Domain: domain})
		if err != nil || len(pairs) != 2 || pairs[0].Entry != mail.Entries[0].Entry.ID || pairs[1].Entry != mail.Entries[4].Entry.ID || pairs[0].State != spool.StateParked {
			t.Errorf("held in %q: %+v, %v", domain, pairs, err)
		}
	}
	if n, err := x.Held(ctx, "example.test"); n != 2 || err != nil {
		t.Errorf("%d held, %v", n, err)
	}
	if n, err := x.Held(ctx, "other.test"); n != 0 || err != nil {
		t.Errorf("%d held of another domain, %v", n, err)
	}
	if s, err := x.Summary(ctx, "example.test"); err != nil || s.All.Parked != 4 || s.All.Pending != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
