package index

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/table"
)

// What is written in the webmail is told apart by its piece of writing. A draft may go once its writing was sent or given up, or, where
// there is a newer version, once that is old enough; its batch goes after those of all older entries of its writing, so that
// an older version, or one that was sent, never looks like the newest again when everything is folded anew.

// attachmentReason is Entry.Reason of a draft entry that holds an attachment: it goes with its writing.
const attachmentReason = "attachment"

// kindAttachment is how the table writing tells those from versions of a draft.
const kindAttachment = "attachment"

// passed reports events of the webmail that are nothing to the index. They may come in large numbers.
func (t *txn) passed(ev *spool.Event, id key) (bool, error) {
	switch ev.Type {
	case spool.Activity, spool.AccountChanged:
		return true, nil
	case spool.Flagged:
		if value, ok := ev.Data["discarded"].(bool); ok {
			return true, t.discarded(ev, id, value)
		}
		return true, nil
	}
	return false, nil
}

// discarded notes that a version of a draft was given up, or taken up again; the latest event stands.
func (t *txn) discarded(ev *spool.Event, id key, value bool) error {
	entry, err := ulid.ParseStrict(ev.Entry)
	if err != nil {
		return nil
	}
	_, err = t.x.db.Result(t.ctx, `INSERT INTO discard VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET value=excluded.value, time=excluded.time, event=excluded.event
		WHERE excluded.time>time OR excluded.time=time AND excluded.event>event`, entry.Bytes(), value, ev.Time.UnixNano(), id[:])
	return err
}

// written notes an entry that belongs to a piece of writing.
func (t *txn) written(k key, e *spool.Entry, stream, seq int64) error {
	if e.Writing == "" {
		return nil
	}
	kind := string(e.Kind)
	if e.Kind == spool.Draft && e.Reason == attachmentReason {
		kind = kindAttachment
	}
	_, err := t.x.db.Result(t.ctx, "INSERT OR IGNORE INTO writing VALUES(?,?,?,?,?,?)", k.Bytes(), strings.ToLower(e.Mailbox)+" "+e.Writing, kind, stream, seq, e.Received.UnixNano())
	return err
}

// writtenRow is one entry of a piece of writing.
type writtenRow struct {
	id          key
	kind        string
	stream, seq int64
	received    int64
	takenBack   bool  // all its pairs were removed
	discarded   int64 // ns, when it was given up; 0: it wasn't
}

func (r *writtenRow) draft() bool { return r.kind == string(spool.Draft) || r.kind == kindAttachment }

// place is where a batch is.
type place struct{ stream, seq int64 }

// writtenPast reports whether what a batch holds of pieces of writing may go, after the batches that are going already.
func (x *Index) writtenPast(ctx context.Context, c candidate, going map[place]bool, terms func(string) spool.Terms, now time.Time) (bool, error) {
	type mine struct {
		id      key
		kind    spool.Kind
		erased  bool
		writing sql.NullString
	}
	var all []mine
	err := table.Each(ctx, x.db.Read, `SELECT e.id, e.kind, e.flags, w.writing FROM entry e LEFT JOIN writing w ON w.id=e.id
		WHERE e.id BETWEEN ? AND ? AND e.stream=? AND e.seq=? AND e.kind<>'held'`, func(r *sql.Rows) error {
		var m mine
		var raw sql.RawBytes
		var flags int
		err := r.Scan(&raw, &m.kind, &flags, &m.writing)
		copy(m.id[:], raw)
		m.erased = flags&flagErased != 0
		all = append(all, m)
		return err
	}, c.low, c.high, c.stream, c.seq)
	if err != nil {
		return false, err
	}
	for _, m := range all {
		if m.erased {
			continue
		}
		if !m.writing.Valid {
			if m.kind == spool.Draft {
				return false, nil // nothing will ever say that it isn't needed
			}
			continue
		}
		past, err := x.onePast(ctx, c, going, m.id, m.writing.String, terms, now)
		if err != nil || !past {
			return false, err
		}
	}
	return true, nil
}

// onePast reports whether one entry of a piece of writing may go with its batch.
func (x *Index) onePast(ctx context.Context, c candidate, going map[place]bool, id key, writing string, terms func(string) spool.Terms, now time.Time) (bool, error) {
	rows, err := x.writing(ctx, writing)
	if err != nil {
		return false, err
	}
	account, _, _ := strings.Cut(writing, " ")
	term := terms(domainOf(account)).Delivered
	old := func(ns int64) bool { return ns != 0 && term > 0 && !when(ns).Add(term).After(now) }
	var mine, newest *writtenRow
	var sent, given bool
	for i := range rows {
		r := &rows[i]
		if r.draft() && r.id.Compare(id) < 0 && (r.stream != c.stream || r.seq != c.seq) && !going[place{r.stream, r.seq}] {
			return false, nil // it goes first
		}
		switch {
		case !r.draft():
			sent = sent || !r.takenBack && old(r.received)
		case r.kind == string(spool.Draft) && (newest == nil || newest.id.Compare(r.id) < 0):
			newest = r
		}
		if r.id == id {
			mine = r
		}
	}
	if mine == nil || !mine.draft() {
		return true, nil // its pairs decide
	}
	given = newest != nil && old(newest.discarded)
	superseded := newest != nil && mine.kind != kindAttachment && newest.id != id && old(newest.received)
	return sent || given || superseded, nil
}

// writing reads what there is of a piece of writing. What was sent and deleted since still shows as sent.
func (x *Index) writing(ctx context.Context, writing string) ([]writtenRow, error) {
	var rows []writtenRow
	err := table.Each(ctx, x.db.Read, `SELECT w.id, w.kind, w.stream, w.seq, w.received, coalesce(d.time*d.value,0),
		EXISTS(SELECT 1 FROM pair p WHERE p.entry=w.id) AND NOT EXISTS(SELECT 1 FROM pair p WHERE p.entry=w.id AND p.state<>4),
		EXISTS(SELECT 1 FROM entry e WHERE e.id=w.id)
		FROM writing w LEFT JOIN discard d ON d.id=w.id WHERE w.writing=?`, func(r *sql.Rows) error {
		var w writtenRow
		var raw sql.RawBytes
		var there bool
		if err := r.Scan(&raw, &w.kind, &w.stream, &w.seq, &w.received, &w.discarded, &w.takenBack, &there); err != nil {
			return err
		}
		copy(w.id[:], raw)
		if there || !w.draft() {
			rows = append(rows, w)
		}
		return nil
	}, writing)
	return rows, err
}
