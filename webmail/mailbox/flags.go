package mailbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"restante/spool"
)

// Flag changes flags of messages in a box: here at once, in the ledger soon. by is the account that does it. Entries that the box
// doesn't see are passed over, and so are flags that are as wanted already. To trash a draft is to discard it, and the other way round.
func (s *Store) Flag(ctx context.Context, by string, b Box, entries []string, c Change) error {
	if len(entries) > s.o.Limits.Bulk {
		return fmt.Errorf("%w: %d messages, at most %d", ErrTooMany, len(entries), s.o.Limits.Bulk)
	}
	b = b.clean()
	var evs []spool.Event
	var hidden []key
	err := s.with(ctx, b, func(rows []row) error {
		done := map[key]bool{}
		for _, e := range entries {
			id, err := parseKey(e)
			if err != nil || done[id] {
				continue
			}
			done[id] = true
			r, err := find(rows, id, s.now())
			if err != nil {
				hidden = append(hidden, id)
				continue
			}
			if data := c.of(&r); len(data) > 0 {
				evs = append(evs, s.flagEvent(by, b.ID, id, data))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.Trashed != nil && !*c.Trashed && !b.Shared {
		for _, id := range hidden {
			mine, err := s.ownDraft(ctx, b.ID, id)
			if err != nil {
				return err
			}
			if mine {
				evs = append(evs, s.flagEvent(by, b.ID, id, map[string]any{markNames[markDiscarded]: false}))
			}
		}
	}
	return s.note(ctx, evs)
}

// of returns what a change changes of a message.
func (c Change) of(r *row) map[string]any {
	data := map[string]any{}
	for mark, v := range map[int]*bool{markSeen: c.Seen, markStarred: c.Starred, markTrashed: c.Trashed, markAnswered: c.Answered} {
		switch {
		case v == nil || *v == r.is(mark):
		case r.role != roleDraft:
			data[markNames[mark]] = *v
		case mark == markTrashed:
			data[markNames[markDiscarded]] = *v
		}
	}
	return data
}

func (s *Store) flagEvent(by, box string, id key, data map[string]any) spool.Event {
	return spool.Event{ID: spool.NewID(), Time: s.clock.next(s.o.Now()), Type: spool.Flagged, By: by, Entry: id.String(), Address: box, Data: data}
}

// ownDraft reports a draft of the account, shown or not.
func (s *Store) ownDraft(ctx context.Context, account string, id key) (bool, error) {
	l, err := s.loadID(ctx, id)
	return l != nil && l.data.Kind == spool.Draft && !l.data.Attached && l.data.Account == account, err
}

// note applies lazy events here and gives them to the ledger. Those that a killed process takes with it are noted again by
// the next.
func (s *Store) note(ctx context.Context, evs []spool.Event) error {
	if len(evs) == 0 {
		return nil
	}
	if err := s.applyNoted(ctx, evs); err != nil {
		return err
	}
	s.o.Note(evs...)
	return nil
}

// applyNoted applies events that are on their way to the ledger.
func (s *Store) applyNoted(ctx context.Context, evs []spool.Event) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.change(ctx, func(t *txn) error {
		for i := range evs {
			ev := &evs[i]
			id, err := parseKey(ev.ID)
			if err != nil {
				return fmt.Errorf("event %q: %w", ev.ID, err)
			}
			if err := t.event(ev, id); err != nil {
				return err
			}
			raw, err := json.Marshal(ev)
			if err != nil {
				return err
			}
			if err := t.exec("INSERT OR REPLACE INTO noted VALUES(?,?)", id.Bytes(), raw); err != nil {
				return err
			}
			s.st.noted[id] = true
		}
		return t.settleWritings()
	})
	return err
}

// noteAgain notes events of before that haven't come back with the ledger: the process that noted them was killed. The same
// event counts once.
func (s *Store) noteAgain(ctx context.Context) error {
	s.writing.Lock()
	var evs []spool.Event
	err := s.db.Each(ctx, "SELECT event FROM noted", func(r *sql.Rows) error {
		var raw sql.RawBytes
		var ev spool.Event
		if err := r.Scan(&raw); err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &ev); err != nil {
			return err
		}
		if s.o.Now().Sub(ev.Time) > noteAfter {
			evs = append(evs, ev)
		}
		return nil
	})
	s.writing.Unlock()
	if len(evs) > 0 {
		s.log.Info("flags of before are noted in the ledger again", "events", len(evs))
		s.o.Note(evs...)
	}
	return err
}

// NoteActivity notes what an account has done, here at once, in the ledger soon. what is a short word ("signed-in", "sent",
// "downloaded", ...); entry is the message it was done with, or ""; data says more and may be nil.
func (s *Store) NoteActivity(account, entry, what string, data map[string]any) {
	all := map[string]any{"what": what}
	for k, v := range data {
		all[k] = v
	}
	account = canonical(account)
	ev := spool.Event{ID: spool.NewID(), Time: s.clock.next(s.o.Now()), Type: spool.Activity, By: account, Entry: entry, Address: account, Data: all}
	if err := s.note(context.Background(), []spool.Event{ev}); err != nil {
		s.log.Error("an activity can't be shown yet; it goes to the ledger", "account", account, "what", what, "err", err)
		s.o.Note(ev)
	}
}

// Activity returns activities of an account, newest first, those before a time (zero: all).
func (s *Store) Activity(ctx context.Context, account string, before time.Time, n int) ([]spool.Event, error) {
	upto := int64(1<<63 - 1)
	if !before.IsZero() {
		upto = before.UnixNano()
	}
	return s.kept(ctx, "SELECT event FROM activity WHERE account=? AND time<? ORDER BY time DESC, id DESC LIMIT ?", canonical(account), upto, n)
}

// pruneActivity forgets the oldest activities of accounts that have too many. They stay in the ledger.
func (s *Store) pruneActivity(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var over []string
	err := s.db.Each(ctx, "SELECT account FROM activity GROUP BY account HAVING count(*)>?", func(r *sql.Rows) error {
		var a string
		err := r.Scan(&a)
		over = append(over, a)
		return err
	}, s.o.Limits.Activity)
	for _, a := range over {
		if err == nil {
			err = s.db.Exec(ctx, `DELETE FROM activity WHERE account=?1 AND (time, id) <
				(SELECT time, id FROM activity WHERE account=?1 ORDER BY time DESC, id DESC LIMIT 1 OFFSET ?2)`, a, s.o.Limits.Activity-1)
		}
	}
	return err
}

// sessionsKept is how long events of package session are kept here: by far longer than a session lasts, after which they say nothing.
const sessionsKept = 40 * 24 * time.Hour

// pruneSessions forgets the events of old sessions, of which a person makes some each day. They stay in the ledger.
func (s *Store) pruneSessions(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	before := keyAt(s.o.Now().Add(-sessionsKept))
	return s.db.Exec(ctx, "DELETE FROM account WHERE id<? AND json_extract(event,'$.data.change') LIKE 'session%'", before.Bytes())
}

// Accounts returns all AccountChanged events, oldest first, but for those of old sessions.
func (s *Store) Accounts(ctx context.Context) ([]spool.Event, error) {
	return s.kept(ctx, "SELECT event FROM account ORDER BY id")
}

// kept reads events that are kept as JSON.
func (s *Store) kept(ctx context.Context, query string, args ...any) ([]spool.Event, error) {
	var out []spool.Event
	rows, err := s.db.Read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var raw sql.RawBytes
		var ev spool.Event
		if err := rows.Scan(&raw); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, &ev); err != nil {
			return nil, err
		}
		out = append(out, ev)
	}
	return out, rows.Err()
}
