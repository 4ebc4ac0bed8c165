package mailbox

import (
	"database/sql"
	"encoding/json"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/spool/index"
	"restante/spool/table"
)

// attachmentReason is Entry.Reason of a draft entry that holds an attachment.
const attachmentReason = "attachment"

// entry is an entry while the transaction that brings it works on it.
type entry struct {
	id     key
	n      int64
	stream int64
	seq    int64
	thread int64
	data   stored
	refs   string
	pairs  map[int]index.Standing // those that have events
}

// mailboxOf is one mailbox that holds an entry.
type mailboxOf struct {
	name string
	role int
	rcpt int
}

// mailboxes returns which mailboxes hold an entry.
func (d *stored) mailboxes() []mailboxOf {
	switch {
	case d.Kind == spool.Held, d.Kind == spool.Local:
		var all []mailboxOf
		for i, r := range d.Rcpts {
			name := canonical(r)
			all = append(all, mailboxOf{name, roleInbox, i})
			if base := untagged(name); base != name {
				all = append(all, mailboxOf{base, roleInbox, i})
			}
		}
		return all
	case d.Kind == spool.Copy && d.Account != "":
		all := []mailboxOf{{d.Account, roleSent, 0}}
		if from := canonical(d.From); from != "" && from != d.Account {
			all = append(all, mailboxOf{from, roleAs, 0})
		}
		return all
	case d.Kind == spool.Draft && d.Account != "" && !d.Attached:
		return []mailboxOf{{d.Account, roleDraft, 0}}
	}
	return nil
}

// shown reports entries that lists may show.
func (d *stored) shown() bool { return len(d.mailboxes()) > 0 }

// ended reports that nobody gets what was sent: each of its pairs was removed.
func (e *entry) ended() bool { return allRemoved(len(e.data.Rcpts), e.pairs) }

// gone reports that a mailbox doesn't show it: its pair was removed, or is in quarantine, or nobody gets what was sent.
func (e *entry) gone(m mailboxOf) bool {
	switch m.role {
	case roleInbox:
		p := e.pairs[m.rcpt]
		return p.State == spool.StateRemoved || p.Quarantined
	case roleDraft:
		return false
	}
	return e.ended()
}

func allRemoved(rcpts int, pairs map[int]index.Standing) bool {
	for i := range rcpts {
		if pairs[i].State != spool.StateRemoved {
			return false
		}
	}
	return rcpts > 0
}

// batch takes the entries of a step that are not there yet.
func (t *txn) batch(s *spool.Step) error {
	if len(s.Entries) == 0 {
		return nil
	}
	row, err := t.stream(s.Stream)
	if err != nil {
		return err
	}
	seq := int64(s.Entries[0].Location.Seq)
	gone := false
	err = t.each("SELECT 1 FROM deleted WHERE stream=? AND seq=?", func(*sql.Rows) error { gone = true; return nil }, row.n, seq)
	if err != nil || gone {
		return err
	}
	for i := range s.Entries {
		l := &s.Entries[i]
		t.arrivals = append(t.arrivals, l.Entry.ID)
		id, err := ulid.ParseStrict(l.Entry.ID)
		if err != nil {
			continue // package index complains
		}
		t.fresh = append(t.fresh, newEntry(l, id, row.n, seq))
	}
	return nil
}

func newEntry(l *spool.Located, id key, stream, seq int64) *entry {
	e := l.Entry
	d := stored{Kind: e.Kind, Received: e.Received.UnixNano(), From: e.From, HeadFrom: e.Summary.From, HeadTo: e.Summary.To, Subject: e.Summary.Subject,
		MessageID: e.Summary.MessageID, Size: e.Size, Trace: e.TraceSize, Verdicts: e.Verdicts, Account: canonical(e.Mailbox), Writing: e.Writing, Location: l.Location, Quarantine: e.Quarantine}
	if !e.NotBefore.IsZero() {
		d.NotBefore = e.NotBefore.UnixNano()
	}
	for _, r := range e.Rcpts {
		d.Rcpts = append(d.Rcpts, r.Address)
	}
	d.Attached = e.Kind == spool.Draft && e.Reason == attachmentReason
	return &entry{id: id, stream: stream, seq: seq, data: d, refs: e.Summary.Refs}
}

// place drops the entries that are there already or were erased, numbers the others and finds their conversations and what happened to them.
func (t *txn) place() error {
	if len(t.fresh) == 0 {
		return nil
	}
	byID := make(map[key]*entry, len(t.fresh))
	args := make([]any, 0, len(t.fresh))
	for _, e := range t.fresh {
		if byID[e.id] == nil {
			byID[e.id] = e
			args = append(args, e.id.Bytes())
		}
	}
	drop := func(r *sql.Rows) error {
		var k key
		err := scanKeys(r, &k)
		delete(byID, k)
		return err
	}
	for _, q := range []string{"SELECT i.id FROM k CROSS JOIN item i ON i.id=k.id", "SELECT e.id FROM k CROSS JOIN erased e ON e.id=k.id"} {
		if err := t.s.db.Lookup(t.ctx, "id", q, args, drop); err != nil {
			return err
		}
	}
	kept := t.fresh[:0]
	for _, e := range t.fresh {
		if byID[e.id] == e {
			e.n = t.s.st.next
			t.s.st.next++
			kept = append(kept, e)
		}
	}
	t.fresh = kept
	events, err := t.eventsOf(args)
	if err != nil {
		return err
	}
	for _, e := range t.fresh {
		delete(t.decided, e.id)
		e.pairs = standings(events[e.id], &e.data)
	}
	return t.threads.join(t.fresh)
}

// standings are those of the recipients that something happened to; of what came into quarantine, of all of them.
func standings(evs map[int][]spool.Event, d *stored) map[int]index.Standing {
	var pairs map[int]index.Standing
	for rcpt := range d.Rcpts {
		if len(evs[rcpt]) == 0 && d.Quarantine == "" {
			continue
		}
		if pairs == nil {
			pairs = map[int]index.Standing{}
		}
		pairs[rcpt] = index.Stand(evs[rcpt], d.Quarantine, when(d.Received))
	}
	return pairs
}

// eventsOf reads what decided the pairs of entries: by entry, by recipient.
func (t *txn) eventsOf(ids []any) (map[key]map[int][]spool.Event, error) {
	all := map[key]map[int][]spool.Event{}
	err := t.s.db.Lookup(t.ctx, "id", "SELECT v.entry, v.rcpt, v.id, v.type, v.time, v.round, v.again, coalesce(v.reply,''), coalesce(v.reason,'') FROM k CROSS JOIN event v ON v.entry=k.id",
		ids, func(r *sql.Rows) error {
			var entry, id sql.RawBytes
			var ev spool.Event
			var ns int64
			var again bool
			if err := r.Scan(&entry, &ev.Rcpt, &id, &ev.Type, &ns, &ev.Round, &again, &ev.Reply, &ev.Reason); err != nil {
				return err
			}
			var k, i key
			copy(k[:], entry)
			copy(i[:], id)
			ev.ID, ev.Time = i.String(), when(ns)
			if again {
				ev.Data = map[string]any{"again": true}
			}
			if all[k] == nil {
				all[k] = map[int][]spool.Event{}
			}
			all[k][ev.Rcpt] = append(all[k][ev.Rcpt], ev)
			return nil
		})
	return all, err
}

// insert writes the rows of new entries.
func (t *txn) insert() error {
	if len(t.fresh) == 0 {
		return nil
	}
	db := t.s.db
	items := db.Bulk("INSERT INTO item(n,id,stream,seq,text,attachments,snippet,data) VALUES ", 8)
	places := db.Bulk("INSERT INTO place VALUES ", 2)
	slots := db.Bulk("INSERT INTO slot VALUES ", 7)
	pairs := db.Bulk("INSERT INTO pair VALUES ", 6)
	for _, e := range t.fresh {
		raw, err := json.Marshal(&e.data)
		if err != nil {
			return err
		}
		text := textNone
		if e.data.shown() {
			text = textWaits
			if err := places.Add(t.ctx, e.n, e.thread); err != nil {
				return err
			}
		}
		if err := items.Add(t.ctx, e.n, e.id.Bytes(), e.stream, e.seq, text, 0, "", raw); err != nil {
			return err
		}
		for rcpt, p := range e.pairs {
			if err := pairs.Add(t.ctx, e.n, rcpt, string(p.State), nano(p.Changed), p.Reply, p.Reason); err != nil {
				return err
			}
		}
		for _, m := range e.data.mailboxes() {
			gone := e.gone(m)
			a, err := t.s.address(t.ctx, m.name)
			if err != nil {
				return err
			}
			if err := slots.Add(t.ctx, a, m.role, e.n, m.rcpt, e.id.Bytes(), e.data.NotBefore, gone); err != nil {
				return err
			}
			if !gone {
				t.ops = append(t.ops, op{what: opAdd, name: m.name, role: m.role, id: e.id, row: row{id: e.id, n: e.n, thread: e.thread, visible: e.data.NotBefore}})
			}
		}
		if err := t.insertWritten(e); err != nil {
			return err
		}
	}
	for _, b := range []*table.Bulk{items, places, slots, pairs} {
		if err := b.Flush(t.ctx); err != nil {
			return err
		}
	}
	return nil
}

// insertWritten notes an entry that was written here.
func (t *txn) insertWritten(e *entry) error {
	w, err := ulid.ParseStrict(e.data.Writing)
	if err != nil || e.data.Account == "" {
		return nil
	}
	a, err := t.s.address(t.ctx, e.data.Account)
	if err != nil {
		return err
	}
	kind := string(e.data.Kind)
	if e.data.Attached {
		kind = attachmentReason
	}
	t.written[writingKey{w, a}] = e.data.Account
	return t.exec("INSERT INTO written VALUES(?,?,?,?,?)", w.Bytes(), a, e.n, e.id.Bytes(), kind)
}

// decide folds the pairs of entries that were there before and have new events.
func (t *txn) decide() error {
	if len(t.decided) == 0 {
		return nil
	}
	var args []any
	for _, id := range sortedKeys(t.decided) {
		args = append(args, id.Bytes())
	}
	type known struct {
		id   key
		n    int64
		data stored
	}
	var items []known
	err := t.s.db.Lookup(t.ctx, "id", "SELECT i.id, i.n, i.data FROM k CROSS JOIN item i ON i.id=k.id", args, func(r *sql.Rows) error {
		var k known
		var id, raw sql.RawBytes
		if err := r.Scan(&id, &k.n, &raw); err != nil {
			return err
		}
		copy(k.id[:], id)
		err := k.data.decode(raw)
		items = append(items, k)
		return err
	})
	if err != nil || len(items) == 0 {
		return err
	}
	args = args[:0]
	for _, k := range items {
		args = append(args, k.id.Bytes())
	}
	events, err := t.eventsOf(args)
	if err != nil {
		return err
	}
	for _, k := range items {
		e := &entry{id: k.id, n: k.n, data: k.data, pairs: standings(events[k.id], &k.data)}
		if err := t.redecide(e); err != nil {
			return err
		}
	}
	return nil
}

// redecide writes the pairs of an entry anew.
func (t *txn) redecide(e *entry) error {
	was := map[int]spool.PairState{}
	err := t.each("SELECT rcpt, state FROM pair WHERE n=?", func(r *sql.Rows) error {
		var rcpt int
		var state spool.PairState
		err := r.Scan(&rcpt, &state)
		was[rcpt] = state
		return err
	}, e.n)
	if err != nil {
		return err
	}
	moved := e.data.Quarantine != "" // it may have been released
	for rcpt, p := range e.pairs {
		err := t.exec("INSERT OR REPLACE INTO pair VALUES(?,?,?,?,?,?)", e.n, rcpt, string(p.State), nano(p.Changed), p.Reply, p.Reason)
		if err != nil {
			return err
		}
		moved = moved || (was[rcpt] == spool.StateRemoved) != (p.State == spool.StateRemoved)
	}
	if e.data.Account != "" {
		t.ops = append(t.ops, op{what: opTell, name: e.data.Account})
		if w, err := ulid.ParseStrict(e.data.Writing); err == nil {
			a, err := t.s.address(t.ctx, e.data.Account)
			if err != nil {
				return err
			}
			t.written[writingKey{w, a}] = e.data.Account
		}
	}
	if !moved {
		return nil
	}
	for _, m := range e.data.mailboxes() {
		if m.role == roleDraft {
			continue
		}
		gone := e.gone(m)
		a, err := t.s.address(t.ctx, m.name)
		if err != nil {
			return err
		}
		if err := t.exec("UPDATE slot SET gone=? WHERE address=? AND role=? AND n=? AND rcpt=?", gone, a, m.role, e.n, m.rcpt); err != nil {
			return err
		}
		t.ops = append(t.ops, op{what: opStale, name: m.name})
	}
	return nil
}
