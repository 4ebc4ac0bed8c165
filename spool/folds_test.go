package spool_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/blob/mem"
	"restante/spool/index"
)

// recorder is a fold that remembers what it was given.
type recorder struct {
	mu      sync.Mutex
	pos     map[spool.StreamID]spool.Position
	entries map[string]int
	cluster string
	resets  int
	fail    error
	panics  bool
	aside   chan error
	lag     int
}

func newRecorder() *recorder {
	return &recorder{pos: map[spool.StreamID]spool.Position{}, entries: map[string]int{}, aside: make(chan error, 10)}
}

func (r *recorder) Positions(context.Context) (map[spool.StreamID]spool.Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.pos), nil
}

func (r *recorder) Apply(_ context.Context, steps []spool.Step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("a message that it doesn't survive")
	}
	if r.fail != nil {
		return r.fail
	}
	for _, st := range steps {
		if st.Stream.IsZero() || st.Position.Seq <= r.pos[st.Stream].Seq {
			continue
		}
		r.pos[st.Stream], r.cluster = st.Position, st.Cluster
		for _, l := range st.Entries {
			r.entries[l.Entry.ID]++
		}
	}
	return nil
}

func (r *recorder) Cluster(context.Context) (string, error)   { return r.cluster, nil }
func (r *recorder) Domains(context.Context) ([]string, error) { return []string{"wrong.test"}, nil }

func (r *recorder) Reset(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets++
	r.cluster = ""
	clear(r.pos)
	clear(r.entries)
	return nil
}

func (r *recorder) SetAside(err error) { r.aside <- err }

func (r *recorder) SetLag(batches int, _ time.Time) { r.set(func() { r.lag = batches }) }

func (r *recorder) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// want checks that the fold was given exactly these entries, once each.
func (r *recorder) want(t *testing.T, ids ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) != len(ids) {
		t.Errorf("it has %d entries, want %d", len(r.entries), len(ids))
	}
	for _, id := range ids {
		if r.entries[id] != 1 {
			t.Errorf("it was given %s %d times", id, r.entries[id])
		}
	}
}

func (w *world) unpaused() {
	w.t.Helper()
	if ev, ok, err := w.x.Paused(w.t.Context(), "example.test"); err != nil || ok {
		w.t.Errorf("replay is paused: %+v %v", ev, err)
	}
}

// TestFoldsEachOnItsOwn: folds that are fed together keep places of their own; one that is new or was thrown away reads
// everything, and that is no trouble for the other.
func TestFoldsEachOnItsOwn(t *testing.T) {
	store, dir, r := mem.New(), t.TempDir(), newRecorder()
	w := start(t, store, dir, r)
	a := w.message(10)
	w.sync()
	r.want(t, a)
	w.end()

	w = start(t, store, dir) // the second is behind
	b := w.message(10)
	w.sync()
	w.end()
	w = start(t, store, dir, r)
	w.sync()
	r.want(t, a, b)
	w.unpaused()
	w.end()

	r = newRecorder() // the second is new
	w = start(t, store, dir, r)
	c := w.message(10)
	w.sync()
	r.want(t, a, b, c)
	w.unpaused()
	if n := len(w.picture().Pairs); n != 3 {
		t.Errorf("the index has %d pairs", n)
	}
	w.end()

	if err := index.Remove(w.path); err != nil { // the first is new
		t.Fatal(err)
	}
	w = start(t, store, dir, r)
	w.sync()
	r.want(t, a, b, c)
	w.unpaused()
	if n := len(w.picture().Pairs); n != 3 || r.resets != 0 {
		t.Errorf("the index has %d pairs; the other was reset %d times", n, r.resets)
	}
}

// TestFoldsOlderStore: the store was restored from a backup that one of the folds doesn't reach beyond.
func TestFoldsOlderStore(t *testing.T) {
	store, dir, r := mem.New(), t.TempDir(), newRecorder()
	w := start(t, store, dir, r)
	a := w.message(10)
	w.sync()
	w.end()
	yesterday := clone(t, store)
	behind := newRecorder()
	w = start(t, store, dir, r)
	w.message(10)
	w.sync()
	w.end()

	w = start(t, yesterday, dir, behind, r)
	w.sync()
	if _, ok, err := w.x.Paused(t.Context(), "example.test"); err != nil || !ok {
		t.Errorf("replay is not paused, though the index knows more than the store: %v", err)
	}
	if _, ok, err := w.x.Paused(t.Context(), "wrong.test"); err != nil || ok {
		t.Errorf("the domains of another fold than the first were paused: %v", err)
	}
	if r.resets != 1 || behind.resets != 0 {
		t.Errorf("resets: %d of the one that knew more, %d of the new one", r.resets, behind.resets)
	}
	r.want(t, a)
	behind.want(t, a)
	w.end()

	w = start(t, yesterday, dir) // only the second knows more
	w.record(spool.Event{Type: spool.ReplayResumed, Domain: "example.test"})
	w.end()
	r.set(func() {
		for id, pos := range r.pos {
			pos.Hash = "of another history"
			r.pos[id] = pos
		}
	})
	w = start(t, yesterday, dir, r)
	w.sync()
	w.unpaused()
	if r.resets != 2 {
		t.Errorf("%d resets", r.resets)
	}
	r.want(t, a)
}

// TestFoldsForeign: a second fold of another cluster begins anew instead of stopping the service.
func TestFoldsForeign(t *testing.T) {
	r := newRecorder()
	r.cluster = "another"
	w := start(t, mem.New(), t.TempDir(), r)
	a := w.message(10)
	w.sync()
	r.want(t, a)
	if r.resets != 1 {
		t.Errorf("%d resets", r.resets)
	}
}

// TestFoldsLeftBehind: a second fold that can't be written doesn't hold up the first, and catches up after the next start.
func TestFoldsLeftBehind(t *testing.T) {
	store, dir, r := mem.New(), t.TempDir(), newRecorder()
	r.fail = errors.New("its disk is broken")
	w := start(t, store, dir, r)
	a := w.message(10)
	select {
	case err := <-r.aside:
		if !errors.Is(err, r.fail) {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it isn't left behind")
	}
	w.sync()
	b := w.message(10)
	w.sync()
	if n := len(w.picture().Pairs); n != 2 {
		t.Errorf("the index has %d pairs, want 2", n)
	}
	w.end()
	r.set(func() { r.fail = nil })
	w = start(t, store, dir, r)
	w.sync()
	r.want(t, a, b)
	var lag int
	r.set(func() { lag = r.lag })
	if lag != 0 {
		t.Errorf("lag %d", lag)
	}
}

// TestFoldsPanic: a second fold that panics ends neither the service nor the first.
func TestFoldsPanic(t *testing.T) {
	r := newRecorder()
	r.panics = true
	w := start(t, mem.New(), t.TempDir(), r)
	w.message(10)
	select {
	case err := <-r.aside:
		if !strings.Contains(err.Error(), "a message that it doesn't survive") {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it isn't left behind")
	}
	w.sync()
	if n := len(w.picture().Pairs); n != 1 {
		t.Errorf("the index has %d pairs", n)
	}
}
