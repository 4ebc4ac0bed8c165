package mailbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/index"
)

// ErrForeign: the file was folded from another cluster's store.
var ErrForeign = fmt.Errorf("%w: the mailboxes were folded from another cluster's store; if this is the right one, delete webmail.db", spool.ErrForeign)

type writingKey struct {
	writing key
	account int64
}

// txn is one transaction of the fold.
type txn struct {
	s   *Store
	ctx context.Context
	now time.Time

	decided  map[key]bool // entries that events of this transaction are about
	erased   map[key]bool
	deleted  []spool.StreamID // with seqs
	seqs     []uint64
	accounts []spool.Event
	heard    []key // events that may be our own
	discards []key

	fresh    []*entry
	written  map[writingKey]string // to the account's name
	threads  threads
	ops      []op
	arrivals []string
}

// Apply folds steps and their positions in one transaction. Steps that were applied before are passed over. What makes no sense is
// told in the log and passed over too, since the store can't be argued with.
func (s *Store) Apply(ctx context.Context, steps []spool.Step) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	t, err := s.change(ctx, func(t *txn) error { return t.run(steps) })
	if err != nil {
		return err
	}
	if len(t.accounts) > 0 && s.o.Events != nil {
		s.o.Events(t.accounts)
	}
	s.arrived(t.arrivals)
	if len(t.fresh) > 0 {
		select {
		case s.poke <- struct{}{}:
		default:
		}
	}
	return nil
}

// change runs f in a transaction and then tells views and subscribers. The caller holds s.writing.
func (s *Store) change(ctx context.Context, f func(*txn) error) (*txn, error) {
	ctx = context.WithoutCancel(ctx) // a transaction is short, and an interrupted one would only be done again
	if s.stale {
		if err := s.reload(ctx); err != nil {
			return nil, fmt.Errorf("mailboxes: %w", err)
		}
	}
	t := &txn{s: s, ctx: ctx, now: s.o.Now(), decided: map[key]bool{}, erased: map[key]bool{}, written: map[writingKey]string{}}
	t.threads.init(t)
	if err := s.db.Tx(ctx, func() error { return f(t) }); err != nil {
		return nil, errors.Join(fmt.Errorf("mailboxes: %w", err), s.reload(ctx))
	}
	s.views.apply(t.ops)
	s.subs.tell(t.ops, t.now)
	return t, nil
}

func (t *txn) run(steps []spool.Step) error {
	fresh, err := t.positions(steps)
	if err != nil {
		return err
	}
	for i := range fresh {
		if err := t.events(fresh[i].Events); err != nil {
			return err
		}
	}
	for i := range fresh {
		if err := t.batch(&fresh[i]); err != nil {
			return err
		}
	}
	for _, f := range []func() error{t.place, t.insert, t.decide, t.settleWritings, t.eraseEntries, t.deleteBatches, t.hear} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// positions moves the positions on and returns the steps that were not applied before.
func (t *txn) positions(steps []spool.Step) ([]spool.Step, error) {
	var fresh []spool.Step
	touched := map[*streamRow]bool{}
	st := t.s.st
	for _, s := range steps {
		if s.Cluster != "" && st.cluster == "" {
			st.cluster = s.Cluster
			if err := t.exec("INSERT INTO meta VALUES('cluster',?)", s.Cluster); err != nil {
				return nil, err
			}
		}
		if s.Cluster != "" && s.Cluster != st.cluster {
			return nil, fmt.Errorf("%w (here %s, in the store %s)", ErrForeign, st.cluster, s.Cluster)
		}
		if s.Stream.IsZero() {
			fresh = append(fresh, s)
			continue
		}
		row, err := t.stream(s.Stream)
		if err != nil {
			return nil, err
		}
		if s.Position.Seq <= row.pos.Seq && row.pos.Hash != "" {
			continue
		}
		row.pos = s.Position
		touched[row] = true
		fresh = append(fresh, s)
	}
	for row := range touched {
		err := t.exec("UPDATE stream SET seq=?, hash=?, sealed=? WHERE n=?", int64(row.pos.Seq), row.pos.Hash, row.pos.Sealed, row.n)
		if err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

func (t *txn) stream(id spool.StreamID) (*streamRow, error) {
	if row := t.s.st.streams[id]; row != nil {
		return row, nil
	}
	res, err := t.s.db.Result(t.ctx, "INSERT INTO stream(ledger,name,seq,hash,sealed) VALUES(?,?,0,'',0)", id.Ledger, id.Name)
	if err != nil {
		return nil, err
	}
	row := &streamRow{}
	if row.n, err = res.LastInsertId(); err != nil {
		return nil, err
	}
	t.s.st.streams[id] = row
	return row, nil
}

func (t *txn) exec(query string, args ...any) error { return t.s.db.Exec(t.ctx, query, args...) }

func (t *txn) each(query string, f func(*sql.Rows) error, args ...any) error {
	return t.s.db.Each(t.ctx, query, f, args...)
}

// events sorts events: those that matter here are written, the others passed over.
func (t *txn) events(evs []spool.Event) error {
	decided := t.s.db.Bulk("INSERT OR IGNORE INTO event VALUES ", 9)
	for i := range evs {
		ev := &evs[i]
		id, err := ulid.ParseStrict(ev.ID)
		if err != nil {
			t.s.log.Error("an event of the ledger has no valid id and is passed over", "id", ev.ID, "type", ev.Type)
			continue
		}
		switch {
		case index.Decides(ev.Type):
			entry, err := ulid.ParseStrict(ev.Entry)
			if err != nil {
				continue // package index complains
			}
			t.decided[entry] = true
			err = decided.Add(t.ctx, entry.Bytes(), int64(ev.Rcpt), id.Bytes(), string(ev.Type), ev.Time.UnixNano(), int64(ev.Round),
				ev.Data["again"] == true, ev.Reply, ev.Reason)
			if err != nil {
				return err
			}
		default:
			if err := t.event(ev, id); err != nil {
				return err
			}
		}
	}
	return decided.Flush(t.ctx)
}

// event applies one event that isn't about a pair.
func (t *txn) event(ev *spool.Event, id key) error {
	switch ev.Type {
	case spool.Flagged:
		t.heard = append(t.heard, id)
		return t.flagged(ev, id)
	case spool.Erased:
		if entry, err := ulid.ParseStrict(ev.Entry); err == nil {
			t.erased[entry] = true
			return t.exec("INSERT OR IGNORE INTO erased VALUES(?)", entry.Bytes())
		}
	case spool.Activity:
		t.heard = append(t.heard, id)
		return t.kept("INSERT OR IGNORE INTO activity VALUES(?,?,?,?)", ev, canonical(ev.Address), ev.Time.UnixNano(), id.Bytes())
	case spool.AccountChanged:
		t.accounts = append(t.accounts, *ev)
		return t.kept("INSERT OR IGNORE INTO account VALUES(?,?)", ev, id.Bytes())
	case spool.BatchDeleted:
		if stream, seq, ok := spool.ParseKey(ev.Batch); ok && !stream.Ledger {
			row, err := t.stream(stream)
			if err != nil {
				return err
			}
			t.deleted, t.seqs = append(t.deleted, stream), append(t.seqs, seq)
			return t.exec("INSERT OR IGNORE INTO deleted VALUES(?,?)", row.n, int64(seq))
		}
	}
	return nil
}

// kept writes an event as JSON, as the last column.
func (t *txn) kept(query string, ev *spool.Event, args ...any) error {
	raw, err := json.Marshal(ev)
	if err != nil {
		return err
	}
	return t.exec(query, append(args, raw)...)
}

// flagged applies flags: of each the last writer by time, then id, stands.
func (t *txn) flagged(ev *spool.Event, id key) error {
	entry, err := ulid.ParseStrict(ev.Entry)
	if err != nil || ev.Address == "" {
		t.s.log.Error("a flag of the ledger names no valid entry or mailbox and is passed over", "id", ev.ID, "entry", ev.Entry)
		return nil
	}
	t.s.clock.seen(ev.Time, t.now)
	box := canonical(ev.Address)
	n, err := t.s.address(t.ctx, box)
	if err != nil {
		return err
	}
	for what, name := range markNames {
		value, ok := ev.Data[name].(bool)
		if !ok {
			continue
		}
		res, err := t.s.db.Result(t.ctx, `INSERT INTO mark VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET value=excluded.value, time=excluded.time,
			event=excluded.event, by=excluded.by WHERE excluded.time>time OR excluded.time=time AND excluded.event>event`,
			n, entry.Bytes(), what, value, ev.Time.UnixNano(), id.Bytes(), ev.By)
		if err != nil {
			return err
		}
		if rows, err := res.RowsAffected(); err != nil || rows == 0 {
			if err != nil {
				return err
			}
			continue
		}
		if what == markDiscarded {
			t.discards = append(t.discards, entry)
			continue
		}
		t.ops = append(t.ops, op{what: opMark, name: box, id: entry, mark: what, value: value})
	}
	return nil
}

// hear forgets those of our own lazy events that have come back with the ledger.
func (t *txn) hear() error {
	for _, id := range t.heard {
		if t.s.st.noted[id] {
			delete(t.s.st.noted, id)
			if err := t.exec("DELETE FROM noted WHERE id=?", id.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

// eraseEntries takes erased entries out of all tables.
func (t *txn) eraseEntries() error {
	for id := range t.erased {
		err := t.remove("SELECT n FROM item WHERE id=?", id.Bytes())
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteBatches takes the entries of deleted batches out of all tables.
func (t *txn) deleteBatches() error {
	for i, stream := range t.deleted {
		row, err := t.stream(stream)
		if err != nil {
			return err
		}
		if err := t.remove("SELECT n FROM item WHERE stream=? AND seq=?", row.n, int64(t.seqs[i])); err != nil {
			return err
		}
	}
	return nil
}

// remove takes the items that a query names out of all tables. Their conversations go with the last of them.
func (t *txn) remove(query string, args ...any) error {
	var ns []int64
	if err := t.each(query, func(r *sql.Rows) error {
		var n int64
		err := r.Scan(&n)
		ns = append(ns, n)
		return err
	}, args...); err != nil {
		return err
	}
	for _, n := range ns {
		var thread int64
		var id key
		if err := t.each("SELECT thread FROM place WHERE n=?", func(r *sql.Rows) error { return r.Scan(&thread) }, n); err != nil {
			return err
		}
		if err := t.each("SELECT id FROM item WHERE n=?", func(r *sql.Rows) error { return scanKeys(r, &id) }, n); err != nil {
			return err
		}
		if err := t.removeOne(n); err != nil {
			return err
		}
		if thread != 0 {
			if err := t.exec("DELETE FROM node WHERE thread=?1 AND NOT EXISTS(SELECT 1 FROM place WHERE thread=?1)", thread); err != nil {
				return err
			}
		}
		t.ops = append(t.ops, op{what: opGone, id: id})
	}
	return nil
}

func (t *txn) removeOne(n int64) error {
	var data stored
	var raw []byte
	if err := t.each("SELECT data FROM item WHERE n=?", func(r *sql.Rows) error { return r.Scan(&raw) }, n); err != nil {
		return err
	}
	if err := data.decode(raw); err != nil {
		return err
	}
	for _, m := range data.mailboxes() {
		a, err := t.s.address(t.ctx, m.name)
		if err != nil {
			return err
		}
		if err := t.exec("DELETE FROM slot WHERE address=? AND role=? AND n=? AND rcpt=?", a, m.role, n, m.rcpt); err != nil {
			return err
		}
	}
	back, err := t.takenBack(n)
	if err != nil {
		return err
	}
	if data.Kind == spool.Draft || back { // what was sent stays sent
		if w, err := ulid.ParseStrict(data.Writing); err == nil {
			if err := t.exec("DELETE FROM written WHERE writing=? AND n=?", w.Bytes(), n); err != nil {
				return err
			}
		}
	}
	for _, q := range []string{"DELETE FROM item WHERE n=?", "DELETE FROM place WHERE n=?", "DELETE FROM pair WHERE n=?", "DELETE FROM ft WHERE rowid=?"} {
		if err := t.exec(q, n); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys(m map[key]bool) []key { return slices.SortedFunc(maps.Keys(m), key.Compare) }
