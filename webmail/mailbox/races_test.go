package mailbox

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"restante/spool"
)

// TestQueriesWhileFolding asks all the time while messages and flags come in: nobody sees another's, no view misses anything.
func TestQueriesWhileFolding(t *testing.T) {
	f := &fakeSpool{raw: map[string]string{}}
	s := openStore(t, "", f, func(o *Options) { o.Limits.ViewRows = 400 }) // some views are let go again and again
	defer closeStore(t, s)
	const people, rounds, each = 6, 40, 5
	var done atomic.Bool
	var asking sync.WaitGroup
	for p := range people {
		b := own(fmt.Sprintf("u%d@a.test", p), "all@a.test")
		asking.Go(func() {
			last := 0
			for !done.Load() {
				page, err := s.List(t.Context(), Query{Box: b, Folder: Inbox, Limit: 20})
				if err != nil {
					t.Error(err)
					return
				}
				for _, it := range page.Items {
					if it.Rcpt != b.ID && it.Rcpt != "all@a.test" {
						t.Errorf("%s sees what is for %s", b.ID, it.Rcpt)
						return
					}
				}
				c, err := s.Counts(t.Context(), b)
				if err != nil || c[Inbox].Total < last {
					t.Errorf("%s had %d messages and now %d, %v", b.ID, last, c[Inbox].Total, err)
					return
				}
				last = c[Inbox].Total
				if len(page.Items) > 0 {
					if err := s.Flag(t.Context(), b.ID, b, []string{page.Items[0].Entry}, Change{Seen: yes()}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	m := newMaker()
	for r := range rounds {
		var es []*spool.Entry
		for p := range people {
			for range each {
				es = append(es, m.held(r, "s@x.test", "x", fmt.Sprintf("u%d@a.test", p)))
			}
		}
		es = append(es, m.held(r, "s@x.test", "x", "all@a.test"))
		apply(t, s, m.mail(es...))
		if _, err := s.readTexts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	done.Store(true)
	asking.Wait()
	for p := range people {
		b := own(fmt.Sprintf("u%d@a.test", p), "all@a.test")
		c, err := s.Counts(t.Context(), b)
		if err != nil || c[Inbox].Total != rounds*(each+1) {
			t.Errorf("%s has %+v, want %d, %v", b.ID, c[Inbox], rounds*(each+1), err)
		}
		s.views.clear()
		again, err := s.Counts(t.Context(), b)
		if err != nil || again[Inbox] != c[Inbox] {
			t.Errorf("%s has %+v, and %+v when read anew, %v", b.ID, c, again, err)
		}
	}
}

// TestJoiningCosts: somebody sends messages that join many conversations to a large one, again and again. What is moved each time is the
// smaller of two, so that it costs no more than their sum, a few times.
func TestJoiningCosts(t *testing.T) {
	s := openStore(t, "", &fakeSpool{}, nil)
	defer closeStore(t, s)
	m := newMaker()
	var singles, large []*spool.Entry
	for i := range 300 {
		singles = append(singles, m.held(0, "s@x.test", "x", "u@a.test"))
		large = append(large, m.held(1, "s@x.test", "x", "u@a.test"))
		large[i].Summary.Refs = large[0].Summary.MessageID
	}
	apply(t, s, m.mail(singles...))
	apply(t, s, m.mail(large...))
	moved := 0
	for _, e := range singles {
		j := m.held(2, "s@x.test", "x", "u@a.test")
		j.Summary.Refs = e.Summary.MessageID + " " + large[0].Summary.MessageID
		before := threadsOf(t, s)
		apply(t, s, m.mail(j))
		for n, thread := range threadsOf(t, s) {
			if was, ok := before[n]; ok && was != thread {
				moved++
			}
		}
	}
	if moved > 600 {
		t.Errorf("%d messages were moved to another conversation", moved)
	}
	if p := mustList(t, s, Query{Box: own("u@a.test"), Folder: Inbox}); len(p.Items) != 1 || p.Items[0].Count != 900 {
		t.Errorf("%d conversations", len(p.Items))
	}
}

func threadsOf(t *testing.T, s *Store) map[int64]int64 {
	t.Helper()
	all := map[int64]int64{}
	rows, err := s.db.Read.QueryContext(t.Context(), "SELECT n, thread FROM place")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n, thread int64
		if err := rows.Scan(&n, &thread); err != nil {
			t.Fatal(err)
		}
		all[n] = thread
	}
	return all
}
