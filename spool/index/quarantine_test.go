package index

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"restante/spool"
)

// TestQuarantine: what is in quarantine is parked, not pending; it can be listed by itself, and it is let out by a release alone.
func TestQuarantine(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "index.db")
	x := openAt(t, path)
	defer func() { x.Close() }()
	m := newMaker()
	mail := m.mail(3)
	mail.Entries[0].Entry.Quarantine = "clamd: found X"
	if err := x.Apply(ctx, []spool.Step{mail}); err != nil {
		t.Fatal(err)
	}
	check := func(in, parked, pending int64) {
		t.Helper()
		n, oldest, err := x.Quarantined(ctx, "example.test", "")
		if err != nil || n != in || oldest.IsZero() != (in == 0) {
			t.Errorf("%d in quarantine, the oldest of %v, %v", n, oldest, err)
		}
		for _, domain := range []string{"", "example.test"} {
			pairs, _, err := x.List(ctx, Filter{State: StateQuarantined, Domain: domain})
			if err != nil || int64(len(pairs)) != in || in > 0 && (pairs[0].Quarantine != "clamd: found X" || pairs[0].State != spool.StateParked) {
				t.Errorf("in quarantine in %q: %+v, %v", domain, pairs, err)
			}
		}
		s, err := x.Summary(ctx, "example.test")
		if err != nil || s.All.Parked != parked || s.All.Pending != pending {
			t.Errorf("%+v, %v", s, err)
		}
	}
	event := func(typ spool.EventType, round int) {
		t.Helper()
		s := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
		id, at := m.id()
		s.Events = append(s.Events, spool.Event{ID: id, Time: at, Type: typ, Entry: mail.Entries[0].Entry.ID, Round: round})
		if err := x.Apply(ctx, []spool.Step{s}); err != nil {
			t.Fatal(err)
		}
	}
	check(1, 1, 2)
	if n, _, err := x.Quarantined(ctx, "example.test", "no-such-outage"); n != 0 || err != nil {
		t.Errorf("%d in quarantine of another outage, %v", n, err)
	}
	pair, _, err := x.List(ctx, Filter{State: StateQuarantined})
	if err != nil || pair[0].Reason != "clamd: found X" || pair[0].Round != 0 || pair[0].Attempts != 0 {
		t.Errorf("%+v, %v", pair, err)
	}
	event(spool.Retried, 1)
	check(1, 1, 2)
	if out, err := x.FromOutside(ctx, "example.test"); err != nil || !out {
		t.Error(out, err)
	}
	x.Close()
	x = openAt(t, path) // it lasts
	event(spool.Retried, 2)
	check(1, 1, 2)
	overdue, err := x.Overdue(ctx, time.Now(), func(string) spool.Terms { return spool.Terms{Parked: time.Nanosecond} }, 10)
	if err != nil || len(overdue) != 1 {
		t.Errorf("retention: %+v, %v", overdue, err)
	}
	event(spool.Released, 3)
	check(0, 0, 3)
	event(spool.Parked, 3)
	check(0, 1, 2)
	event(spool.Retried, 4)
	check(0, 0, 3)
}
