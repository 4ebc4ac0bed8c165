package mailbox

import (
	"errors"
	"testing"

	"restante/spool"
)

// TestQuarantine: what is in quarantine is nowhere: no list, no search, no count, no way to open it; released, it is.
func TestQuarantine(t *testing.T) {
	m := newMaker()
	bad := m.held(1, "x@x.test", "Invoice virus", "anna@a.test", "max@a.test")
	bad.Quarantine = "clamd: found X"
	f := &fakeSpool{raw: map[string]string{bad.ID: "Subject: x\r\n\r\nhidden words\r\n"}}
	path := t.TempDir() + "/webmail.db"
	s := openStore(t, path, f, nil)
	defer func() { closeStore(t, s) }()
	anna, max := own("anna@a.test"), own("max@a.test")
	mustList(t, s, Query{Box: anna}) // its view is in memory from now on
	apply(t, s, m.mail(bad))
	if _, err := s.readTexts(t.Context()); err != nil {
		t.Fatal(err)
	}
	shown := func(b Box, want bool) {
		t.Helper()
		if got := len(mustList(t, s, Query{Box: b}).Items) == 1; got != want {
			t.Errorf("%s: listed %v", b.ID, got)
		}
		for _, words := range []string{"invoice", "hidden"} {
			q, err := ParseSearch(words, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(mustList(t, s, Query{Box: b, Search: q}).Items) == 1; got != want {
				t.Errorf("%s: found by %q %v", b.ID, words, got)
			}
		}
		counts, err := s.Counts(t.Context(), b)
		if err != nil || (counts[Inbox].Total == 1) != want {
			t.Errorf("%s: %+v, %v", b.ID, counts, err)
		}
		if _, err := s.Item(t.Context(), b, bad.ID); (err == nil) != want || err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: item: %v", b.ID, err)
		}
		if _, _, body, err := s.Open(t.Context(), b, bad.ID); (err == nil) != want {
			t.Errorf("%s: opened: %v", b.ID, err)
		} else if err == nil {
			body.Close()
		}
	}
	shown(anna, false)
	ev := m.event(2, spool.Retried, bad.ID)
	ev.Round = 1
	apply(t, s, m.ledger(ev))
	shown(anna, false)
	closeStore(t, s)
	s = openStore(t, path, f, nil)
	shown(anna, false)
	ev = m.event(3, spool.Released, bad.ID)
	ev.Round = 2
	apply(t, s, m.ledger(ev))
	shown(anna, true)
	shown(max, false) // that is another pair
}
