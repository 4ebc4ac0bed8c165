package mailbox

import (
	"context"
	"database/sql"
	"time"

	"restante/spool/table"
)

// statsMost bounds the lists of Stats.
const statsMost = 2000

// Stats returns what happened in a box from since to until (zero: now). The lists are newest first and end after 2,000; the numbers don't.
func (s *Store) Stats(ctx context.Context, b Box, since, until time.Time) (Stats, error) {
	var st Stats
	var arrived, sent, drafts []row
	from, to := keyAt(since), keyAt(until)
	err := s.with(ctx, b, func(rows []row) error {
		now := s.now()
		for i := len(rows) - 1; i >= 0; i-- {
			r := rows[i]
			if r.visible > now {
				continue
			}
			if r.role == roleDraft {
				drafts = append(drafts, r)
				continue
			}
			if r.id.Compare(from) < 0 || !until.IsZero() && r.id.Compare(to) >= 0 {
				continue
			}
			if r.role == roleSent {
				sent = append(sent, r)
				continue
			}
			arrived = append(arrived, r)
			for mark, n := range map[int]*int{markSeen: &st.Read, markAnswered: &st.Answered, markTrashed: &st.Deleted} {
				if r.is(mark) {
					*n++
				}
			}
		}
		return nil
	})
	if err != nil {
		return st, err
	}
	st.ArrivedCount, st.SentCount, st.DraftCount = len(arrived), len(sent), len(drafts)
	for _, l := range []struct {
		rows []row
		into *[]Item
	}{{arrived, &st.Arrived}, {sent, &st.Sent}, {drafts, &st.Drafts}} {
		rows := l.rows[:min(len(l.rows), statsMost)]
		loaded, err := s.load(ctx, numbers(rows))
		if err != nil {
			return st, err
		}
		if *l.into, err = s.items(ctx, b, rows, loaded); err != nil {
			return st, err
		}
	}
	return st, nil
}

// Totals returns what was done with the mail of a domain ("" for all) that was received from since to until (zero: now), and what
// its people sent then.
func (s *Store) Totals(ctx context.Context, domain string, since, until time.Time) (Totals, error) {
	var t Totals
	from, to := keyAt(since), keyAt(until)
	if until.IsZero() {
		to = keyAt(s.o.Now().Add(aheadMax))
	}
	domain = "%@" + escapeLike(canonical(domain))
	if domain == "%@" {
		domain = "%"
	}
	err := table.Each(ctx, s.db.Read, `SELECT count(DISTINCT m.id), count(DISTINCT m.by) FROM mark m JOIN address a ON a.n=m.box
		WHERE m.what=? AND m.value<>0 AND m.id>=? AND m.id<? AND a.name LIKE ? ESCAPE '\'`, func(r *sql.Rows) error {
		return r.Scan(&t.Read, &t.Readers)
	}, markSeen, from.Bytes(), to.Bytes(), domain)
	if err != nil {
		return t, err
	}
	err = table.Each(ctx, s.db.Read, `SELECT count(*), count(DISTINCT a.n) FROM address a JOIN slot s ON s.address=a.n AND s.role=?
		WHERE s.gone=0 AND s.id>=? AND s.id<? AND a.name LIKE ? ESCAPE '\'`, func(r *sql.Rows) error {
		return r.Scan(&t.Sent, &t.Senders)
	}, roleSent, from.Bytes(), to.Bytes(), domain)
	return t, err
}

func escapeLike(s string) string {
	var b []byte
	for i := range len(s) {
		if s[i] == '%' || s[i] == '_' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(b)
}

// Unclaimed returns the addresses that have mail and that nobody claims, those with most mail first.
func (s *Store) Unclaimed(ctx context.Context, claimed func(address string) bool) ([]AddressCount, error) {
	var out []AddressCount
	err := table.Each(ctx, s.db.Read, `SELECT a.name, count(*), max(s.id) FROM slot s JOIN address a ON a.n=s.address
		WHERE s.role=? AND s.gone=0 GROUP BY s.address ORDER BY 2 DESC, 1`, func(r *sql.Rows) error {
		var c AddressCount
		var raw sql.RawBytes
		if err := r.Scan(&c.Address, &c.Messages, &raw); err != nil {
			return err
		}
		var id key
		copy(id[:], raw)
		c.Latest = time.UnixMilli(int64(id.Time())).UTC()
		if !claimed(c.Address) && !claimed(untagged(c.Address)) {
			out = append(out, c)
		}
		return nil
	}, roleInbox)
	return out, err
}
