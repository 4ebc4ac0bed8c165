package mailbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"restante/spool"
	"restante/spool/table"
)

// loadedItem is what the file holds of one entry.
type loadedItem struct {
	n           int64
	id          key
	data        stored
	attachments int
	snippet     string
}

// numbersJSON makes one argument of many numbers, for json_each.
func numbersJSON(ns []int64) string {
	raw, err := json.Marshal(ns)
	if err != nil || ns == nil {
		return "[]"
	}
	return string(raw)
}

// load reads entries; those that are gone are missing.
func (s *Store) load(ctx context.Context, ns []int64) (map[int64]*loadedItem, error) {
	out := make(map[int64]*loadedItem, len(ns))
	if len(ns) == 0 {
		return out, nil
	}
	err := table.Each(ctx, s.db.Read, "SELECT n, id, attachments, snippet, data FROM item WHERE n IN (SELECT value FROM json_each(?))", func(r *sql.Rows) error {
		var l loadedItem
		var id, raw sql.RawBytes
		if err := r.Scan(&l.n, &id, &l.attachments, &l.snippet, &raw); err != nil {
			return err
		}
		copy(l.id[:], id)
		out[l.n] = &l
		return l.data.decode(raw)
	}, numbersJSON(ns))
	return out, err
}

// items makes items of rows. What is gone since is left out.
func (s *Store) items(ctx context.Context, b Box, rows []row, loaded map[int64]*loadedItem) ([]Item, error) {
	b = b.clean()
	pairs, err := s.pairs(ctx, numbers(rows))
	if err != nil {
		return nil, err
	}
	var out []Item
	for i := range rows {
		r := &rows[i]
		l := loaded[r.n]
		if l == nil || l.id != r.id {
			continue
		}
		d := &l.data
		it := Item{Entry: r.id.String(), Writing: d.Writing, Thread: r.id.String(), Folder: r.folder(), Kind: d.Kind,
			Received: when(d.Received), NotBefore: when(d.NotBefore), From: parsePeople(d.HeadFrom), To: parsePeople(d.HeadTo), Subject: d.Subject,
			Snippet: l.snippet, Size: d.Size - int64(d.Trace), Attachments: l.attachments, Unread: r.unread(), Starred: r.is(markStarred),
			Trashed: r.is(markTrashed), Answered: r.is(markAnswered), Count: 1, Verdicts: d.Verdicts, EnvelopeFrom: d.From, Account: d.Account, MessageID: d.MessageID}
		for rcpt, address := range d.Rcpts {
			if r.role == roleInbox && !b.receives(address) {
				continue
			}
			if it.Rcpt == "" {
				it.Rcpt = address
			}
			it.HandedOver = it.HandedOver || pairs[r.n][rcpt].State == spool.StateDelivered
		}
		if r.role == roleSent {
			if it.Outcomes, err = s.outcomes(ctx, d); err != nil {
				return nil, err
			}
		}
		out = append(out, it)
	}
	return out, nil
}

// receives reports whether a box shows mail for an address.
func (b Box) receives(address string) bool {
	a := canonical(address)
	return slices.Contains(b.Addresses, a) || slices.Contains(b.Addresses, untagged(a))
}

// pairs reads what is known of the recipients of entries; those that nothing happened to are missing.
func (s *Store) pairs(ctx context.Context, ns []int64) (map[int64]map[int]Outcome, error) {
	out := map[int64]map[int]Outcome{}
	if len(ns) == 0 {
		return out, nil
	}
	err := table.Each(ctx, s.db.Read, "SELECT n, rcpt, state, changed, reply, reason FROM pair WHERE n IN (SELECT value FROM json_each(?))", func(r *sql.Rows) error {
		var n, changed int64
		var rcpt int
		var o Outcome
		if err := r.Scan(&n, &rcpt, &o.State, &changed, &o.Reply, &o.Reason); err != nil {
			return err
		}
		o.Changed = when(changed)
		if out[n] == nil {
			out[n] = map[int]Outcome{}
		}
		out[n][rcpt] = o
		return nil
	}, numbersJSON(ns))
	return out, err
}

// outcomes returns how the recipients of a message stand that was sent from here.
func (s *Store) outcomes(ctx context.Context, d *stored) ([]Outcome, error) {
	w, err := parseKey(d.Writing)
	if err != nil {
		return nil, nil
	}
	type sent struct {
		n     int64
		rcpts []string
	}
	var all []sent
	var ns []int64
	err = table.Each(ctx, s.db.Read, `SELECT i.n, i.data FROM written w JOIN item i ON i.n=w.n
		WHERE w.writing=? AND w.account=(SELECT n FROM address WHERE name=?) AND w.kind IN ('outbound','local') ORDER BY w.id`, func(r *sql.Rows) error {
		var one sent
		var raw sql.RawBytes
		var d stored
		if err := r.Scan(&one.n, &raw); err != nil {
			return err
		}
		if err := d.decode(raw); err != nil {
			return err
		}
		one.rcpts = d.Rcpts
		all, ns = append(all, one), append(ns, one.n)
		return nil
	}, w.Bytes(), d.Account)
	if err != nil {
		return nil, err
	}
	pairs, err := s.pairs(ctx, ns)
	if err != nil {
		return nil, err
	}
	var out []Outcome
	for _, one := range all {
		for rcpt, address := range one.rcpts {
			o := pairs[one.n][rcpt]
			if o.State == "" {
				o.State = spool.StatePending
			}
			o.Address = address
			out = append(out, o)
		}
	}
	if again := slices.DeleteFunc(slices.Clone(out), undone); len(again) > 0 { // it was sent once more after it had been taken back
		return again, nil
	}
	return out, nil
}

// undone reports that the writer took it back.
func undone(o Outcome) bool { return o.State == spool.StateRemoved && o.Reason == spool.TakenBack }
