package spool_test

import (
	"bytes"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/batch"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/index"
)

func (w *world) tally() *index.Tally {
	w.t.Helper()
	w.sync()
	r, err := w.x.Tally(w.t.Context(), "o1")
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// anew deletes the index and starts again.
func (w *world) anew(store blob.Store, dir string) *world {
	w.t.Helper()
	w.end()
	if err := index.Remove(w.path); err != nil {
		w.t.Fatal(err)
	}
	return start(w.t, store, dir)
}

// outageOf keeps five messages, six pairs, in a batch each, of which all but the last are delivered.
func outageOf(t *testing.T, store blob.Store, dir string) *world {
	t.Helper()
	w := start(t, store, dir)
	w.record(spool.Event{Type: spool.OutageOpened, Domain: "example.test", Outage: "o1", Time: time.Now().Add(-time.Hour)})
	var done []spool.Event
	for i := range 5 {
		rcpts := []string{"a@example.test"}
		if i == 2 {
			rcpts = append(rcpts, "b@example.test")
		}
		id := w.message(200, rcpts...)
		for r := range rcpts {
			ev := delivered(id)
			ev.Rcpt = r
			done = append(done, ev)
		}
	}
	for _, ev := range done[:len(done)-1] {
		w.record(ev) // a batch of the ledger each
	}
	w.sync()
	return w
}

// TestTally: what the store has lost shows as unaccounted, with its key, in an index that is made anew; what
// retention has deleted doesn't.
func TestTally(t *testing.T) {
	drop := func(t *testing.T, store blob.Store, key string) {
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	spoil := func(t *testing.T, store blob.Store, key string) {
		b, _ := readObject(t, store, key)
		replaceObject(t, store, key, bytes.Repeat([]byte{'x'}, len(b)))
	}
	cases := []struct {
		name        string
		do          func(*testing.T, blob.Store, string)
		batch       int // of mail; -1: none
		deleted     bool
		unaccounted int64
	}{
		{"whole", nil, -1, false, 0},
		{"a delivered batch is lost", drop, 1, false, 1},
		{"one with two pairs", drop, 2, false, 2},
		{"the first", drop, 0, false, 1},
		{"a pending batch is lost", drop, 4, false, 1},
		{"a delivered batch can't be read", spoil, 2, false, 2},
		{"a pending batch can't be read", spoil, 4, false, 1},
		{"after retention", nil, -1, true, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store, dir := mem.New(), t.TempDir()
			w := outageOf(t, store, dir)
			if r := w.tally(); r.Counts != (index.Counts{Delivered: 5, Pending: 1}) || r.Unaccounted != 0 || len(r.Chain) != 0 || r.Recipients != 2 || r.Deleted != 0 {
				t.Fatalf("before: %+v", r)
			}
			keys := keysOf(t, store, "mail/")
			var deleted int64
			if c.deleted {
				if err := w.retain(atOnce); err != nil {
					t.Fatal(err)
				}
				deleted = 5
				if r := w.tally(); r.Unaccounted != 0 || r.Deleted != deleted || r.Accepted() != 6 || len(r.Chain) != 0 {
					t.Errorf("in the index that saw it: %+v", r)
				}
			}
			w.end()
			if c.do != nil {
				c.do(t, store, keys[c.batch])
			}
			w = w.anew(store, dir)
			r := w.tally()
			if r.Unaccounted != c.unaccounted || r.Accepted() != 6 || r.Deleted != deleted {
				t.Errorf("%+v", r)
			}
			if c.batch >= 0 && (len(r.Missing) != 1 || r.Missing[0].Key != keys[c.batch] || len(r.Chain) != 1 || r.Chain[0].Key != keys[c.batch]) {
				t.Errorf("%s is not named: %+v %+v", keys[c.batch], r.Missing, r.Chain)
			}
			if c.batch < 0 && (len(r.Missing) != 0 || len(r.Chain) != 0) {
				t.Errorf("%+v", r)
			}
			w.end()
			w = start(t, store, dir) // and what is wrong stays known
			if again := w.tally(); again.Unaccounted != r.Unaccounted || len(again.Chain) != len(r.Chain) {
				t.Errorf("after a restart: %+v", again)
			}
		})
	}
}

// TestRetentionAndLoss: a batch that is lost beside others that retention has deleted is told from those.
func TestRetentionAndLoss(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := outageOf(t, store, dir)
	keys := keysOf(t, store, "mail/")
	if err := w.retain(atOnce); err != nil {
		t.Fatal(err)
	}
	w.end()
	if err := store.Delete(t.Context(), keys[4]); err != nil { // the pending one
		t.Fatal(err)
	}
	w = w.anew(store, dir)
	r := w.tally()
	if r.Unaccounted != 1 || r.Deleted != 5 || r.Accepted() != 6 || len(r.Missing) != 1 || r.Missing[0].Key != keys[4] {
		t.Errorf("%+v", r)
	}
}

// TestLostTail: the last batch was lost, and a seal stands in its place: only the ledger knows of it.
func TestLostTail(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := outageOf(t, store, dir)
	id := w.message(100)
	w.record(delivered(id))
	keys := keysOf(t, store, "mail/")
	w.end()
	for _, key := range keysOf(t, store, "mail/")[len(keys)-1:] { // with the seal of the clean stop
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	w = w.anew(store, dir)
	if r := w.tally(); r.Unaccounted != 1 || len(r.Missing) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestTampered: a batch of the ledger that was written anew, sound in itself, no longer leads to the next.
func TestTampered(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := outageOf(t, store, dir)
	keys := keysOf(t, store, "ledger/")
	w.end()
	codec := batch.New()
	object, _ := readObject(t, store, keys[2])
	evs, err := codec.Events(object)
	if err != nil {
		t.Fatal(err)
	}
	evs.Lines[0].JSON = bytes.Replace(evs.Lines[0].JSON, []byte("250 ok"), []byte("250 no"), 1)
	replaceObject(t, store, keys[2], codec.Ledger(&evs.Header, evs.Lines))
	w = w.anew(store, dir)
	for range 2 {
		if r := w.tally(); r.Unaccounted != 0 || len(r.Chain) != 1 || r.Chain[0].Key != keys[3] || r.Chain[0].Lost {
			t.Errorf("%+v", r)
		}
		w.end()
		w = start(t, store, dir)
	}
}
