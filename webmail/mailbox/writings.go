package mailbox

import (
	"database/sql"

	"restante/spool"
)

// settleWritings looks anew at the pieces of writing that this transaction has touched: of a draft only the newest version
// stays, and it shows unless it was sent or discarded. What was sent and taken back altogether shows the draft again.
func (t *txn) settleWritings() error {
	for _, id := range t.discards {
		if err := t.touch(id); err != nil {
			return err
		}
	}
	for w, account := range t.written {
		if err := t.settleWriting(w, account); err != nil {
			return err
		}
	}
	return nil
}

// touch notes the piece of writing that an entry belongs to.
func (t *txn) touch(id key) error {
	return t.each("SELECT data FROM item WHERE id=?", func(r *sql.Rows) error {
		var raw sql.RawBytes
		var d stored
		if err := r.Scan(&raw); err != nil {
			return err
		}
		if err := d.decode(raw); err != nil {
			return err
		}
		return t.touchWriting(&d)
	}, id.Bytes())
}

func (t *txn) touchWriting(d *stored) error {
	w, err := parseKey(d.Writing)
	if err != nil || d.Account == "" {
		return nil
	}
	a, err := t.s.address(t.ctx, d.Account)
	if err != nil {
		return err
	}
	t.written[writingKey{w, a}] = d.Account
	return nil
}

type writtenRow struct {
	id   key
	n    int64
	kind spool.Kind
}

func (t *txn) settleWriting(w writingKey, account string) error {
	var newest *writtenRow
	var older []int64
	var sent []int64
	err := t.each("SELECT id, n, kind FROM written WHERE writing=? AND account=? ORDER BY n", func(r *sql.Rows) error {
		var row writtenRow
		var raw sql.RawBytes
		if err := r.Scan(&raw, &row.n, &row.kind); err != nil {
			return err
		}
		copy(row.id[:], raw)
		switch {
		case row.kind == attachmentReason:
		case row.kind != spool.Draft:
			sent = append(sent, row.n)
		case newest == nil:
			newest = &row
		case newest.id.Compare(row.id) < 0:
			older = append(older, newest.n)
			newest = &row
		default:
			older = append(older, row.n)
		}
		return nil
	}, w.writing.Bytes(), w.account)
	if err != nil || newest == nil {
		return err
	}
	for _, n := range older {
		if err := t.remove("SELECT n FROM item WHERE n=?", n); err != nil {
			return err
		}
	}
	gone := false
	for _, n := range sent {
		removed, err := t.takenBack(n)
		if err != nil {
			return err
		}
		gone = gone || !removed
	}
	err = t.each("SELECT value FROM mark WHERE box=? AND id=? AND what=?", func(r *sql.Rows) error {
		var discarded bool
		err := r.Scan(&discarded)
		gone = gone || discarded
		return err
	}, w.account, newest.id.Bytes(), markDiscarded)
	if err != nil {
		return err
	}
	return t.showDraft(newest, w.account, account, !gone)
}

// takenBack reports that nobody gets a message that was to be sent.
func (t *txn) takenBack(n int64) (bool, error) {
	var d stored
	removed := 0
	err := t.each("SELECT data FROM item WHERE n=?", func(r *sql.Rows) error {
		var raw sql.RawBytes
		if err := r.Scan(&raw); err != nil {
			return err
		}
		return d.decode(raw)
	}, n)
	if err != nil {
		return false, err
	}
	err = t.each("SELECT count(*) FROM pair WHERE n=? AND state=?", func(r *sql.Rows) error { return r.Scan(&removed) }, n, string(spool.StateRemoved))
	return removed == len(d.Rcpts) && removed > 0, err
}

// showDraft shows a draft, or hides it.
func (t *txn) showDraft(d *writtenRow, address int64, account string, show bool) error {
	res, err := t.s.db.Result(t.ctx, "UPDATE slot SET gone=? WHERE address=? AND role=? AND n=? AND gone<>?", !show, address, roleDraft, d.n, !show)
	if err != nil {
		return err
	}
	changed, err := res.RowsAffected()
	if err != nil || changed == 0 {
		return err
	}
	if !show {
		t.ops = append(t.ops, op{what: opGone, id: d.id, name: account})
		return nil
	}
	var thread int64
	err = t.each("SELECT thread FROM place WHERE n=?", func(r *sql.Rows) error { return r.Scan(&thread) }, d.n)
	t.ops = append(t.ops, op{what: opAdd, name: account, role: roleDraft, id: d.id, row: row{id: d.id, n: d.n, thread: thread}})
	return err
}
