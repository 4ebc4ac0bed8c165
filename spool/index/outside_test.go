package index

import (
	"fmt"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
)

// TestStray: mail that was kept and delivered between two outages is in none, until one is opened that began before.
func TestStray(t *testing.T) {
	w := newWriter(t)
	outage := func(typ spool.EventType, id, since string) time.Time {
		st := w.m.step(ledger)
		ev, at := w.m.id()
		st.Events = []spool.Event{{ID: ev, Time: at, Type: typ, Domain: "example.test", Outage: id, Data: map[string]any{spool.OutageSince: since}}}
		w.apply(st)
		return at
	}
	outage(spool.OutageOpened, "o1", "")
	closed := outage(spool.OutageClosed, "o1", "")
	w.m.n += 50 // ids are of milliseconds
	rcpt := []spool.Recipient{{Address: "b@example.test", Domain: "example.test"}}
	w.batch(spool.Entry{Kind: spool.Held, Rcpts: rcpt, Quarantine: "x"})
	w.m.n += 50
	id, _ := w.batch(spool.Entry{Kind: spool.Held, Rcpts: rcpt})
	if at, since, err := w.x.Stray(t.Context(), "example.test", time.Now().Add(time.Hour)); err != nil || at.IsZero() || !since.IsZero() {
		t.Errorf("pending since %v, an outage may begin at %v, %v", at, since, err)
	}
	w.event(spool.Delivered, id, nil)
	at, since, err := w.x.Stray(t.Context(), "example.test", closed)
	if want := receivedAt(ulid.MustParse(id)); err != nil || at.UnixNano() != want || !since.Equal(at) {
		t.Fatalf("stray since %v, %v, %v", at, since, err)
	}
	if at, _, err := w.x.Stray(t.Context(), "example.test", time.Now().Add(time.Hour)); err != nil || !at.IsZero() {
		t.Errorf("stray since %v, %v", at, err)
	}
	for i, c := range []struct {
		since string
		want  int64
	}{
		{"no time", 0}, {at.Add(-spool.MaxOutageSince).Format(time.RFC3339Nano), 0}, {at.Add(24 * time.Hour).Format(time.RFC3339Nano), 0}, {at.Format(time.RFC3339Nano), 1},
	} {
		name := fmt.Sprint("o", i+2)
		outage(spool.OutageOpened, name, c.since)
		outage(spool.OutageClosed, name, "")
		o, err := w.x.Outage(t.Context(), name)
		if err != nil || o.Counts.Delivered != c.want {
			t.Errorf("since %s: %+v, %v; want %d delivered", c.since, o, err, c.want)
		}
	}
	if at, _, err := w.x.Stray(t.Context(), "example.test", closed); err != nil || !at.IsZero() {
		t.Errorf("stray since %v, %v: only what is in quarantine is left", at, err)
	}
}
