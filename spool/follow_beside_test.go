package spool_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
	"restante/spool/index"
)

// recorder is a fold that remembers what it was given.
type recorder struct {
	mu      sync.Mutex
	pos     map[spool.StreamID]spool.Position
	entries map[string]int
	events  map[string]int // of the ledger
	cluster string
	resets  int
	gaps    []string
	fail    error
	luck    func() (before, after error) // around the transaction; nil: it goes well
	behind  spool.Behind
	told    chan error // of what keeps it
}

func newRecorder() *recorder {
	r := &recorder{pos: map[spool.StreamID]spool.Position{}, told: make(chan error, 1000)}
	r.forget()
	return r
}

// forget is what becomes of it when its file is deleted.
func (r *recorder) forget() {
	clear(r.pos)
	r.entries, r.events, r.cluster = map[string]int{}, map[string]int{}, ""
}

func (r *recorder) Positions(context.Context) (map[spool.StreamID]spool.Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.pos), r.fail
}

func (r *recorder) Apply(_ context.Context, steps []spool.Step) error {
	var before, after error
	if r.luck != nil {
		before, after = r.luck()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(r.fail, before); err != nil {
		return err
	}
	for _, st := range steps {
		was := r.pos[st.Stream].Seq
		if st.Stream.IsZero() || st.Position.Seq <= was {
			continue
		}
		if st.Position.Seq != was+1 {
			r.gaps = append(r.gaps, fmt.Sprintf("%s: to %d after %d", st.Stream, st.Position.Seq, was))
		}
		r.pos[st.Stream], r.cluster = st.Position, st.Cluster
		for _, l := range st.Entries {
			r.entries[l.Entry.ID]++
		}
		for _, ev := range st.Events {
			r.events[ev.ID]++
		}
	}
	return after
}

func (r *recorder) Cluster(context.Context) (string, error) { return r.cluster, nil }

func (r *recorder) Reset(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets++
	r.forget()
	return nil
}

func (r *recorder) SetBehind(b spool.Behind) {
	r.set(func() { r.behind = b })
	if b.Err != nil {
		select {
		case r.told <- b.Err:
		default:
		}
	}
}

func (r *recorder) state() (b spool.Behind) {
	r.set(func() { b = r.behind })
	return b
}

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
	if len(r.gaps) > 0 {
		t.Errorf("gaps: %s", r.gaps)
	}
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

// TestBesideEachOnItsOwn: folds that are fed together keep places of their own; one that is new or was thrown away reads
// everything, and that is no trouble for the other.
func TestBesideEachOnItsOwn(t *testing.T) {
	store, dir, r := mem.New(), t.TempDir(), newRecorder()
	w := start(t, store, dir, r)
	a := w.message(10)
	w.abreast()
	r.want(t, a)
	w.end()

	w = start(t, store, dir) // the second is behind
	b := w.message(10)
	w.sync()
	w.end()
	w = start(t, store, dir, r)
	w.abreast()
	r.want(t, a, b)
	w.unpaused()
	w.end()

	r = newRecorder() // the second is new
	w = start(t, store, dir, r)
	c := w.message(10)
	w.abreast()
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
	w.abreast()
	r.want(t, a, b, c)
	w.unpaused()
	if n := len(w.picture().Pairs); n != 3 || r.resets != 0 {
		t.Errorf("the index has %d pairs; the other was reset %d times", n, r.resets)
	}
}

// TestBesideOlderStore: the store was restored from a backup that one of the folds doesn't reach beyond.
func TestBesideOlderStore(t *testing.T) {
	store, dir, r := mem.New(), t.TempDir(), newRecorder()
	w := start(t, store, dir, r)
	a := w.message(10)
	w.abreast()
	w.end()
	yesterday := clone(t, store)
	behind := newRecorder()
	w = start(t, store, dir, r)
	w.message(10)
	w.abreast()
	w.end()

	w = start(t, yesterday, dir, behind, r)
	w.abreast()
	if _, ok, err := w.x.Paused(t.Context(), "example.test"); err != nil || !ok {
		t.Errorf("replay is not paused, though the index knows more than the store: %v", err)
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
	w.abreast()
	w.unpaused()
	if r.resets != 2 {
		t.Errorf("%d resets", r.resets)
	}
	r.want(t, a)
}

// TestBesideForeign: a second fold of another cluster begins anew instead of stopping the service.
func TestBesideForeign(t *testing.T) {
	r := newRecorder()
	r.cluster = "another"
	w := start(t, mem.New(), t.TempDir(), r)
	a := w.message(10)
	w.abreast()
	r.want(t, a)
	if r.resets != 1 {
		t.Errorf("%d resets", r.resets)
	}
}

// errDisk is what a fold says whose disk is full.
var errDisk = errors.New("no space left on the device")

// soon fails when the spool isn't as far within ten seconds.
func soon(t *testing.T, what string, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// followed runs Follow until what it returns is called, or the test ends: what is left in a bubble would run for ever.
func followed(t *testing.T, s *spool.Spool, first spool.Fold, others ...spool.Beside) func() error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Follow(ctx, first, others...) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-ended, s.Close(context.Background()))
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// grown returns a fold that has all of the store, and the ids of the two messages there.
func grown(t *testing.T, store blob.Store, dir string) (first *ram, ids []string) {
	first = &ram{pos: map[spool.StreamID]spool.Position{}}
	for range 2 { // in the second life it reads how the first ended
		w := openNode(t, store, dir)
		stop := followed(t, w.s, first)
		if ids == nil {
			w.record(spool.Event{Type: spool.Learned, Address: "me@example.test"})
			ids = []string{w.message(10), w.message(10)}
		}
		soon(t, "sync", w.s.Sync)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	return first, ids
}

// TestBesideAtRest: a new fold is brought up to the first though nothing happens any more, and not before the first has caught up.
func TestBesideAtRest(t *testing.T) {
	for _, rebuilt := range []bool{false, true} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			fault, r := wrap.NewFault(mem.New()), newRecorder()
			first, ids := grown(t, fault, dir)
			if rebuilt {
				first = &ram{pos: map[spool.StreamID]spool.Position{}}
			}
			fault.Add(wrap.Rule{Op: "prefixes", When: "before", Times: 1, Action: wrap.Action{Delay: time.Minute}})
			w := openNode(t, fault, dir)
			stop := followed(t, w.s, first, r)
			time.Sleep(10 * time.Second)
			if r.state().Since.IsZero() {
				t.Error("it is abreast of a first that hasn't caught up")
			}
			r.want(t)
			time.Sleep(2 * time.Minute)
			if r.state() != (spool.Behind{}) {
				t.Errorf("told %+v", r.state())
			}
			r.want(t, ids...)
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBesideLedger: nobody delivers by another fold, so that it goes on without a batch of the ledger that it can't read.
func TestBesideLedger(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, r := wrap.Count(mem.New()), newRecorder()
		fault := wrap.NewFault(store)
		first, ids := grown(t, fault, dir)
		key := keysOf(t, fault, "ledger/")[0]
		w := openNode(t, fault, dir)
		fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: key, Action: wrap.Action{Err: errIO}})
		stop := followed(t, w.s, first, r)
		time.Sleep(5 * time.Minute)
		before := store.Bill()
		time.Sleep(10 * time.Minute)
		if b, n := r.state(), store.Bill().Sub(before); !errors.Is(b.Err, errIO) || b.Batches != 2 || n.Lists > 12 || n.Gets > 30 {
			t.Errorf("told %+v, %+v while it is waited for", b, n)
		}
		r.want(t, ids...)
		fault.Clear()
		soon(t, "abreast", func(context.Context) error { return w.s.Abreast(t.Context()) })
		if len(r.events) != first.events {
			t.Errorf("%d events, want %d", len(r.events), first.events)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// foreigner is a first fold that finds out late that the store isn't its own.
type foreigner struct{ *ram }

func (foreigner) Apply(context.Context, []spool.Step) error { return spool.ErrForeign }

// TestBesideEnds: Follow ends with the first fold, whatever the others do.
func TestBesideEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, ended := openNode(t, mem.New(), dir), make(chan error, 1)
		w.message(10)
		go func() { ended <- w.s.Follow(t.Context(), foreigner{&ram{}}, newRecorder()) }()
		soon(t, "the end", func(ctx context.Context) error {
			select {
			case err := <-ended:
				if !errors.Is(err, spool.ErrForeign) {
					t.Error(err)
				}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err := w.s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestBesideStuck: what needs the first fold alone waits for no other, be that new and stuck; that one knows that it is behind,
// and is fed once it goes on.
func TestBesideStuck(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		store, r := mem.New(), newRecorder()
		other, _ := node(t, store, dirs[0])
		ids := []string{other.message(10), other.message(10)}
		r.luck = func() (_, _ error) { time.Sleep(time.Hour); return nil, nil }
		w, fold := node(t, store, dirs[1], r)
		began := time.Now()
		soon(t, "catching up", w.s.CaughtUp)
		ids = append(ids, w.message(10), other.message(10))
		soon(t, "sync", w.s.Sync)
		if fold.count() != 4 {
			t.Errorf("the first has %d entries, want 4", fold.count())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.s.Abreast(ctx); err == nil || !r.state().Since.Equal(began) {
			t.Errorf("abreast: %v, told %+v", err, r.state())
		}
		if err := w.s.Abreast(t.Context()); err != nil || r.state() != (spool.Behind{}) {
			t.Errorf("%v, told %+v", err, r.state())
		}
		r.want(t, ids...)

		began = time.Now() // it was abreast
		w.message(10)
		soon(t, "sync", w.s.Sync)
		time.Sleep(time.Minute)
		if b := r.state(); b.Since.Sub(began) > time.Second || b.Batches != 1 {
			t.Errorf("stuck again, told %+v", b)
		}
		if err := w.s.Abreast(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestBesideDiskFull: another fold whose disk is full for minutes holds up nothing and has everything soon after, without a new
// start, however much came meanwhile; what is kept in memory for it is bounded.
func TestBesideDiskFull(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, r := wrap.Count(mem.New()), newRecorder()
		w, fold := node(t, store, dir, r)
		ids := []string{w.message(10)}
		soon(t, "abreast", w.s.Abreast)
		r.set(func() { r.fail = errDisk })
		full := time.Now()
		for range 21 {
			ids = append(ids, w.message(10))
			w.record(slices.Repeat([]spool.Event{{Type: spool.Learned, Address: "me@example.test"}}, 1000)...)
			soon(t, "sync", w.s.Sync)
			time.Sleep(20 * time.Second)
		}
		if b := r.state(); !errors.Is(b.Err, errDisk) || b.Batches < 21 || b.Since.Sub(full) > time.Second {
			t.Errorf("told %+v", b)
		}
		before := store.Bill()
		time.Sleep(time.Hour)
		if gets := store.Bill().Sub(before).Gets; gets > 2 {
			t.Errorf("%d GETs while it is waited for", gets)
		}
		r.set(func() { r.fail = nil })
		time.Sleep(2 * time.Minute)
		if r.state() != (spool.Behind{}) || fold.count() != 22 {
			t.Errorf("told %+v, the first has %d", r.state(), fold.count())
		}
		r.want(t, ids...)
		if len(r.events) != fold.events {
			t.Errorf("%d events, want %d", len(r.events), fold.events)
		}
	})
}

// TestBesidePanic: another fold that panics ends neither the service nor the first, and is tried again.
func TestBesidePanic(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, until := newRecorder(), time.Now().Add(time.Minute)
		r.luck = func() (_, _ error) {
			if time.Now().Before(until) {
				panic("a message that it doesn't survive")
			}
			return nil, nil
		}
		w, fold := node(t, mem.New(), dir, r)
		id := w.message(10)
		soon(t, "sync", w.s.Sync)
		if err := <-r.told; !strings.Contains(err.Error(), "a message that it doesn't survive") || fold.count() != 1 {
			t.Errorf("%v, the first has %d", err, fold.count())
		}
		if err := w.s.Abreast(t.Context()); err != nil {
			t.Error(err)
		}
		r.want(t, id)
	})
}

// TestBesideHoles: a new fold reads a stream that retention has made holes in, up to its end; an object that the store doesn't
// give holds up its stream alone, is told of, and comes once it can be read.
func TestBesideHoles(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		store, r := mem.New(), newRecorder()
		w, _ := node(t, store, dirs[0])
		w.record(slices.Repeat([]spool.Event{{Type: spool.Learned, Address: "me@example.test"}}, 20000)...) // more than is kept in memory
		var ids []string
		for range 250 {
			ids = append(ids, w.message(10))
		}
		keys := keysOf(t, store, "mail/")
		for _, key := range slices.Concat(keys[:30], keys[240:249]) {
			if err := store.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		r.fail = errDisk
		fault := wrap.NewFault(store)
		n := openNode(t, fault, dirs[1])
		stop := followed(t, n.s, newRecorder(), r)
		soon(t, "catching up", n.s.CaughtUp)
		fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: keys[200], Action: wrap.Action{Err: errIO}})
		r.set(func() { r.fail = nil })
		late := n.message(10)
		time.Sleep(5 * time.Minute)
		if b := r.state(); !errors.Is(b.Err, errIO) || !strings.Contains(b.Err.Error(), keys[200]) || b.Batches != 50 {
			t.Errorf("told %+v", b)
		}
		hole := func() {
			t.Helper()
			r.set(func() {
				if len(r.gaps) != 1 {
					t.Errorf("holes: %s", r.gaps)
				}
				r.gaps = nil
			})
		}
		hole()
		r.want(t, append([]string{late}, ids[30:200]...)...)
		fault.Clear()
		time.Sleep(2 * time.Minute)
		if r.state() != (spool.Behind{}) {
			t.Errorf("told %+v", r.state())
		}
		hole()
		r.want(t, slices.Concat([]string{late, ids[249]}, ids[30:240])...)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestBesideNews: what the first has applied while another fold finds that the rest of a stream was deleted isn't forgotten, though
// there was no room to hand it over.
func TestBesideNews(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		fault, r := wrap.NewFault(mem.New()), newRecorder()
		w, _ := node(t, fault, dir, r)
		soon(t, "abreast", w.s.Abreast)
		fill := func() string { // what is kept in memory, and then one more message
			w.record(slices.Repeat([]spool.Event{{Type: spool.Learned, Address: "me@example.test"}}, 20000)...)
			return w.message(10)
		}
		r.set(func() { r.fail = errDisk })
		a := w.message(10)
		<-r.told
		fill()
		soon(t, "sync", w.s.Sync)
		if err := fault.Delete(t.Context(), keysOf(t, fault, "mail/")[1]); err != nil {
			t.Fatal(err)
		}
		fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: "restante.json", Times: 1, Action: wrap.Action{Delay: time.Second}})
		asked := len(fault.Points())
		r.set(func() { r.fail = nil })
		for !slices.ContainsFunc(fault.Points()[asked:], func(p wrap.Point) bool { return p.Key == "restante.json" }) {
			time.Sleep(10 * time.Millisecond)
		}
		b := fill()
		soon(t, "sync", w.s.Sync)
		soon(t, "abreast", w.s.Abreast)
		if len(r.gaps) != 1 {
			t.Errorf("holes: %s", r.gaps)
		}
		r.gaps = nil
		r.want(t, a, b)
	})
}

// TestBesideModel: whatever becomes of another fold (errors before and after its transaction, panics, waits, its file thrown away,
// ends of Follow at any moment), in the end it has everything once, and at no time did the first wait for it.
func TestBesideModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 7))
		rate := rapid.IntRange(0, 60).Draw(rt, "faults in 100 transactions")
		lives := rapid.IntRange(1, 3).Draw(rt, "lives")
		acts := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 15).Draw(rt, "acts in a life")
		dirs := []string{t.TempDir(), t.TempDir()}
		synctest.Test(t, func(t *testing.T) { besideModel(t, dirs, dice, rate, lives, acts) })
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func besideModel(t *testing.T, dirs []string, dice *rand.Rand, rate, lives int, acts []int) {
	store, first, r := mem.New(), &ram{pos: map[spool.StreamID]spool.Position{}}, newRecorder()
	other, _ := node(t, store, dirs[0])
	var mu sync.Mutex
	below := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	r.luck = func() (before, after error) {
		if below(100) >= rate {
			return nil, nil
		}
		switch below(4) {
		case 0:
			return errDisk, nil
		case 1:
			return nil, errDisk
		case 2:
			time.Sleep(time.Duration(below(300)) * time.Second)
		case 3:
			panic("a message that it doesn't survive")
		}
		return nil, nil
	}
	var ids []string
	for life := range lives + 1 {
		if life == lives { // now all is well
			r.luck, acts = nil, nil
		}
		w := openNode(t, store, dirs[1])
		stop := followed(t, w.s, first, r)
		for _, act := range acts {
			switch act {
			case 0, 1, 2:
				ids = append(ids, w.message(10))
			case 3, 4:
				ids = append(ids, other.message(10))
			case 5, 6:
				w.record(spool.Event{Type: spool.Learned, Address: "me@example.test"})
			case 7:
				time.Sleep(time.Duration(below(40)) * time.Second)
			case 8:
				soon(t, "sync", w.s.Sync)
			case 9:
				time.Sleep(time.Duration(below(40)) * time.Millisecond)
			}
		}
		if life == lives {
			soon(t, "catching up", w.s.CaughtUp)
			soon(t, "sync", w.s.Sync)
			soon(t, "abreast", w.s.Abreast)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if life < lives && below(3) == 0 {
			r.set(r.forget)
		}
	}
	r.want(t, ids...)
	if first.count() != len(ids) || len(r.events) != first.events {
		t.Errorf("%d entries of %d, %d events of %d", first.count(), len(ids), len(r.events), first.events)
	}
}
