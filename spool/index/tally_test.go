package index

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/spool"
)

// opened is a step that opens an outage.
func (m *maker) opened(id string) spool.Step {
	s := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	ev, at := m.id()
	s.Events = []spool.Event{{ID: ev, Time: at, Type: spool.OutageOpened, Domain: "example.test", Outage: id}}
	return s
}

func (m *maker) closed(id string) spool.Step {
	s := m.opened(id)
	s.Events[0].Type = spool.OutageClosed
	return s
}

// TestDroppedRow: a row that the index has lost is missed, with the batch that named it.
func TestDroppedRow(t *testing.T) {
	ctx := context.Background()
	x := openAt(t, filepath.Join(t.TempDir(), "index.db"))
	defer x.Close()
	m := newMaker()
	steps := []spool.Step{m.opened("o"), m.mail(5), m.mail(5), m.mail(5)}
	steps = append(steps, m.delivered(steps[2]))
	if err := x.Apply(ctx, steps); err != nil {
		t.Fatal(err)
	}
	if r, err := x.Tally(ctx, "o"); err != nil || r.Unaccounted != 0 || r.Counts != (Counts{Pending: 10, Delivered: 5}) {
		t.Fatalf("%+v %v", r, err)
	}
	for i, table := range []string{"pair", "entry"} {
		column := map[string]string{"pair": "entry", "entry": "id"}[table]
		if _, err := x.db.Conn.ExecContext(ctx, "DELETE FROM "+table+" WHERE "+column+" IN (SELECT id FROM entry WHERE seq=1 ORDER BY id LIMIT 1)"); err != nil {
			t.Fatal(err)
		}
		x.straying.Add(1) // so that strays are counted again
		r, err := x.Tally(ctx, "o")
		if err != nil || r.Unaccounted < 1 || r.Accepted() < 15 || len(r.Missing) == 0 || !strings.HasSuffix(r.Missing[0].Key, "1.tar.zst") {
			t.Errorf("%d: without a row of %s: %+v %v", i, table, r, err)
		}
	}
}

// TestLossBelongsToItsTime: a batch that is lost, or a chain that breaks, taints the outages that it may
// belong to, and no later ones; a stream that was all deleted by retention taints none.
func TestLossBelongsToItsTime(t *testing.T) {
	ctx := context.Background()
	x := openAt(t, filepath.Join(t.TempDir(), "index.db"))
	defer x.Close()
	m := newMaker()
	apply := func(steps ...spool.Step) {
		t.Helper()
		for _, s := range steps {
			if err := x.Apply(ctx, []spool.Step{s}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended := func(s spool.Step) spool.Step { return m.delivered(s) }
	first, second := m.opened("o1"), m.mail(5)
	apply(first, second, ended(second))
	m.mail(5) // and is never seen
	third := m.mail(5)
	third.Break = "it is another"
	apply(third, ended(third), m.closed("o1"))
	m.base = m.base.Add(time.Hour)
	fourth := m.mail(3)
	apply(fourth, ended(fourth)) // between the two
	m.base = m.base.Add(time.Hour)
	apply(m.opened("o2"))
	other := m.mail(3)
	other.Stream.Name = "n2-01J"
	other.Position.Seq = 1
	for i := range other.Entries {
		other.Entries[i].Location.Seq, other.Entries[i].Location.Stream = 0, "n2-01J"
	}
	apply(other, ended(other), m.closed("o2"))
	r, err := x.Tally(ctx, "o1")
	if err != nil || r.Unaccounted != 1 || len(r.Missing) != 1 || len(r.Chain) != 1 || r.Chain[0].Key != r.Missing[0].Key {
		t.Errorf("o1: %+v %v", r, err)
	}
	if r, err = x.Tally(ctx, "o2"); err != nil || r.Unaccounted != 0 || len(r.Missing) != 0 || len(r.Chain) != 0 || r.Counts.Delivered != 3 {
		t.Errorf("o2: %+v %v", r, err)
	}
	o, err := x.Outage(ctx, "o1")
	if err != nil || len(o.Heads) != 3 || o.Heads[0].Break == nil || !strings.HasSuffix(o.Heads[0].Break.Key, "2.tar.zst") {
		t.Errorf("%+v %v", o, err)
	}
	// Retention says that it has deleted the batch: then nothing is missing.
	gone := m.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	id, at := m.id()
	gone.Events = []spool.Event{{ID: id, Time: at, Type: spool.BatchDeleted, Batch: mailKey(1), Data: map[string]any{"sums": []any{}}}}
	apply(gone)
	if r, err = x.Tally(ctx, "o1"); err != nil || r.Unaccounted != 0 || len(r.Chain) != 1 || !strings.HasSuffix(r.Chain[0].Key, "2.tar.zst") {
		t.Errorf("o1 after retention: %+v %v", r, err)
	}
}

func mailKey(seq uint64) string { return spool.StreamID{Name: "n1-01J"}.Key(seq) }
