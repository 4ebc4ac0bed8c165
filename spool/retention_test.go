package spool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
	"restante/spool/index"
)

// atOnce are terms that are over at once; pending stays.
func atOnce(string) spool.Terms { return spool.Terms{Delivered: 1, Parked: 1} }

// retain runs retention until it finds nothing to do.
func (w *world) retain(terms func(string) spool.Terms) error {
	for range 10 {
		w.sync()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		rep, err := w.s.Retain(ctx, w.x, terms)
		cancel()
		if err != nil || rep == (spool.RetainReport{}) {
			return err
		}
	}
	return errors.New("retention finds no end")
}

// past is a spool with one batch for each kind of end, as text by name.
type past struct {
	ids  map[string]string
	text map[string]string
	sums index.Outage
}

func makePast(t *testing.T, store blob.Store, dir string) *past {
	t.Helper()
	w := start(t, store, dir)
	p := &past{ids: map[string]string{}, text: w.text}
	w.record(spool.Event{Type: spool.OutageOpened, Domain: "example.test", Outage: "o1"})
	for _, name := range []string{"delivered", "pending", "parked", "removed"} {
		p.ids[name] = w.message(200)
	}
	p.ids["mixed"] = w.message(200, "a@example.test", "b@example.test")
	p.ids["big"] = w.message(30000)
	p.ids["last"] = w.message(200)
	mixed := delivered(p.ids["mixed"])
	w.record(delivered(p.ids["delivered"]), delivered(p.ids["big"]), delivered(p.ids["last"]), mixed,
		spool.Event{Type: spool.Parked, Entry: p.ids["parked"], Reply: "550 no"},
		spool.Event{Type: spool.Removed, Entry: p.ids["removed"], By: "admin"})
	w.sync()
	p.sums = w.outage()
	w.end()
	return p
}

func (w *world) outage() index.Outage {
	w.t.Helper()
	o, err := w.x.Outage(w.t.Context(), "o1")
	if err != nil {
		w.t.Fatal(err)
	}
	o.Heads = nil
	return *o
}

// judge looks at a spool after retention came to its end.
func (p *past) judge(w *world, store blob.Store) {
	w.t.Helper()
	w.text = p.text
	for _, name := range []string{"pending", "mixed"} {
		if err := w.fetch(p.ids[name]); err != nil {
			w.t.Errorf("%s is lost: %v", name, err)
		}
	}
	for _, name := range []string{"delivered", "removed", "big", "parked", "last"} {
		v, err := w.x.Entry(w.t.Context(), p.ids[name])
		if err != nil || v.Entry != nil || len(v.Events) == 0 {
			w.t.Errorf("%s: it is past its term: %+v %v", name, v, err)
		}
	}
	if keys := keysOf(w.t, store, "big/"); len(keys) != 0 {
		w.t.Errorf("left over: %v", keys)
	}
	if keys := keysOf(w.t, store, "mail/"); len(keys) > 2+1+4 { // two batches, seals of the streams that there were
		w.t.Errorf("left over: %v", keys)
	}
	want := p.sums
	want.Counts.Parked, want.Counts.Expired = 0, 1
	if d := cmp.Diff(want, w.outage()); d != "" {
		w.t.Errorf("the outage no longer adds up:\n%s", d)
	}
	check(w.t, store, spool.CheckOptions{})
}

// TestRetention: what is past its term goes, nothing else, and the sums stay; also in an index folded anew.
func TestRetention(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	p := makePast(t, store, dir)
	w := start(t, store, dir)
	if err := w.retain(func(string) spool.Terms { return spool.Terms{Delivered: time.Hour, Parked: time.Hour} }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p.sums, w.outage()); d != "" {
		t.Fatalf("something went before its term:\n%s", d)
	}
	if err := w.retain(atOnce); err != nil {
		t.Fatal(err)
	}
	p.judge(w, store)
	before := w.picture()
	w.end()
	if err := index.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w = start(t, store, dir)
	w.sync()
	p.judge(w, store)
	if d := cmp.Diff(before, w.picture()); d != "" {
		t.Errorf("another index came back:\n%s", d)
	}
}

// crashAll runs do against a copy of a store, crashed at each point in turn, and then judge with the
// next process.
func crashAll(t *testing.T, dir string, clean blob.Store, do func(context.Context, *world) error, judge func(*world, blob.Store)) {
	t.Helper()
	points := crashAt(t, 0, dir, clean, do, judge)
	t.Logf("%d crash points", points)
	for n := 1; n <= points; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			crashAt(t, n, dir, clean, do, judge)
		})
	}
}

// crashAt crashes at the n-th point, 0 for none, and returns how many were passed.
func crashAt(t *testing.T, n int, origin string, clean blob.Store, do func(context.Context, *world) error, judge func(*world, blob.Store)) int {
	t.Helper()
	store, dir := clone(t, clean), t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
		t.Fatal(err)
	}
	fault := wrap.NewFault(store)
	w := start(t, fault, dir)
	w.sync()
	first := len(fault.Points())
	if n > 0 {
		fault.CrashAt(first + n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	go func() {
		select {
		case <-fault.Crashed():
			cancel()
			_ = w.stop() // the process is dead
		case <-ctx.Done():
		}
	}()
	err := do(ctx, w)
	cancel()
	if n == 0 && err != nil {
		t.Fatal(err)
	}
	points := len(fault.Points()) - first
	if n > 0 {
		w.grace = 30 * time.Millisecond
	}
	w.end()
	if err := index.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	next := start(t, store, dir)
	next.sync()
	judge(next, store)
	next.end()
	return points
}

// TestRetentionCrash crashes before and after every store call of a run.
func TestRetentionCrash(t *testing.T) {
	t.Parallel()
	store, dir := mem.New(), t.TempDir()
	p := makePast(t, store, dir)
	once := func(ctx context.Context, w *world) error {
		for range 2 { // what expires in one run goes in the next
			_, err := w.s.Retain(ctx, w.x, atOnce)
			if err = errors.Join(err, w.s.Sync(ctx)); err != nil {
				return err
			}
		}
		return nil
	}
	crashAll(t, dir, store, once, func(w *world, store blob.Store) {
		if err := w.retain(atOnce); err != nil {
			w.t.Fatal(err)
		}
		p.judge(w, store)
	})
}

// oneBatch keeps n messages at once, so that most of them share a batch.
func (w *world) oneBatch(n int) []string {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	for range n {
		done := w.s.Expect()
		wg.Go(func() {
			defer done()
			e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now().UTC(), From: "secret@elsewhere.test",
				Rcpts: []spool.Recipient{{Address: "private@example.test", Domain: "example.test"}}}
			text := "Subject: confidential " + e.ID + "\r\n\r\nx\r\n"
			body := spool.NewBody("", 1<<20)
			_, err := body.Write([]byte(text))
			if err == nil {
				err = w.s.Append(w.t.Context(), e, []byte(trace), body)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				w.t.Error(err)
				return
			}
			ids = append(ids, e.ID)
			w.text[e.ID] = trace + text
		})
	}
	wg.Wait()
	return ids
}

// erasedEverywhere looks for what must be gone, in every object and in the index.
func erasedEverywhere(w *world, store blob.Store, ids []string, text map[string]string, gone ...string) {
	w.t.Helper()
	w.text = text
	w.sync()
	check(w.t, store, spool.CheckOptions{}) // chains still verify
	isGone := map[string]bool{}
	for _, id := range gone {
		isGone[id] = true
	}
	for _, id := range ids {
		err := w.fetch(id)
		if isGone[id] != errors.Is(err, spool.ErrErased) || !isGone[id] && err != nil {
			w.t.Errorf("%s, erased %v: %v", id, isGone[id], err)
		}
		v, err := w.x.Entry(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if hidden := v.Entry.From == "" && v.Entry.Rcpts[0].Address == "" && v.Pairs[0].Address == ""; hidden != isGone[id] || v.Erased != isGone[id] {
			w.t.Errorf("%s, erased %v: %+v", id, isGone[id], v.Entry)
		}
	}
	dir := w.t.TempDir()
	rep, err := spool.Export(w.t.Context(), store, spool.ExportOptions{Format: "eml", Dir: dir, Failed: func(what string, err error) { w.t.Error(what, err) }})
	if err != nil || rep.Erased != len(gone) || rep.Messages != len(ids)-len(gone) {
		w.t.Errorf("%+v %v", rep, err)
	}
}

// TestErase: bodies and addresses of single members go, the others of the batch stay, the chain
// verifies, and a crash at any point is made good.
func TestErase(t *testing.T) {
	t.Parallel()
	store, dir := mem.New(), t.TempDir()
	w := start(t, store, dir)
	ids := w.oneBatch(6)
	big := w.message(30000)
	ids = append(ids, big)
	w.sync()
	if err := w.s.Erase(t.Context(), w.x, "admin", "", "01ARZ3NDEKTSV4RRFFQ69G5FAV"); err == nil || !strings.Contains(err.Error(), "01ARZ3NDEKTSV4RRFFQ69G5FAV") {
		t.Errorf("an unknown id: %v", err)
	}
	text := w.text
	w.end()
	gone := []string{ids[1], ids[4], big}
	erase := func(ctx context.Context, w *world) error {
		return w.s.Erase(ctx, w.x, "admin", "asked to", gone...)
	}
	crashAll(t, dir, store, erase, func(w *world, store blob.Store) {
		v, err := w.x.Entry(w.t.Context(), gone[0])
		if err != nil {
			w.t.Fatal(err)
		}
		if !v.Erased {
			return // the crash came before the event: nothing was promised
		}
		if err := w.retain(func(string) spool.Terms { return spool.Terms{} }); err != nil {
			w.t.Fatal(err)
		}
		erasedEverywhere(w, store, ids, text, gone...)
	})
}
