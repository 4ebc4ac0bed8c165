package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
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

const trace = "Received: by mx2.example.test\r\n"

// world is one process: a spool, its index, and the goroutine that follows.
type world struct {
	t    *testing.T
	s    *spool.Spool
	x    *index.Index
	path string
	stop func() error // ends Follow and returns its error
	text map[string]string
	err  error

	grace time.Duration  // that Close has
	also  []spool.Beside // fed beside the index
}

func start(t *testing.T, store blob.Store, dir string, also ...spool.Beside) *world {
	t.Helper()
	s, err := spool.Open(t.Context(), spool.Options{Store: store, DataDir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Limits: spool.Limits{MinFree: -1, InlineMax: 20000, LeaseTerm: 2 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, s: s, text: map[string]string{}, grace: 5 * time.Second, also: also, path: filepath.Join(dir, "index.db")}
	w.openIndex()
	w.follow()
	t.Cleanup(w.end)
	return w
}

func (w *world) openIndex() {
	w.t.Helper()
	x, err := index.Open(w.path, index.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.x = x
}

func (w *world) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.s.Follow(ctx, w.x, w.also...) }()
	w.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(20 * time.Second):
			return errors.New("Follow does not end")
		}
	}
}

// end stops all; twice is harmless.
func (w *world) end() {
	if w.s == nil {
		return
	}
	w.err = w.stop()
	ctx, cancel := context.WithTimeout(context.Background(), w.grace)
	defer cancel()
	_ = w.s.Close(ctx) // a crashed store can't be closed in order
	if err := w.x.Close(); err != nil {
		w.t.Error(err)
	}
	w.s = nil
}

func (w *world) sync() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.s.Sync(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// abreast waits for the folds beside the index.
func (w *world) abreast() {
	w.t.Helper()
	w.sync()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.s.Abreast(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// message keeps one message of some octets and returns its id.
func (w *world) message(size int, rcpts ...string) string {
	w.t.Helper()
	id, err := w.tryMessage(size, rcpts...)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) tryMessage(size int, rcpts ...string) (string, error) {
	if len(rcpts) == 0 {
		rcpts = []string{"me@example.test"}
	}
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now().UTC(), From: "you@elsewhere.test", Summary: spool.Summary{Subject: "hello"}}
	for _, r := range rcpts {
		e.Rcpts = append(e.Rcpts, spool.Recipient{Address: r, Domain: r[strings.IndexByte(r, '@')+1:]})
	}
	text := fmt.Sprintf("Subject: %s\r\n\r\n", e.ID) + strings.Repeat("0123456789\r\n", size/12)
	body := spool.NewBody("", 1<<20)
	if _, err := io.WriteString(body, text); err != nil {
		return "", err
	}
	if err := w.s.Append(w.t.Context(), e, []byte(trace), body); err != nil {
		return "", err
	}
	w.text[e.ID] = trace + text
	return e.ID, body.Close()
}

func (w *world) record(evs ...spool.Event) {
	w.t.Helper()
	if err := w.s.Record(w.t.Context(), evs...); err != nil {
		w.t.Fatal(err)
	}
}

// readable fetches an entry and compares its octets.
func (w *world) fetch(id string) error {
	v, err := w.x.Entry(w.t.Context(), id)
	if err != nil {
		return err
	}
	_, body, err := w.s.Fetch(w.t.Context(), id, v.Location)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(body.Reader())
	if err != nil {
		return err
	}
	if string(got) != w.text[id] {
		return fmt.Errorf("%s came back with %d octets, %d were kept", id, len(got), len(w.text[id]))
	}
	return body.Close()
}

// until waits for something that comes with a change of the index.
func (w *world) until(done func() bool) {
	w.t.Helper()
	late := time.After(10 * time.Second)
	for {
		changed := w.x.Changed()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-late:
			w.t.Fatal("it does not come")
		}
	}
}

type picture struct {
	Pairs   []spool.Pair
	Outages []index.Outage
	Sum     index.Summary
}

func (w *world) picture() picture {
	w.t.Helper()
	ps, _, err := w.x.List(w.t.Context(), index.Filter{Limit: 10000})
	if err != nil {
		w.t.Fatal(err)
	}
	os, err := w.x.Outages(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	sum, err := w.x.Summary(w.t.Context(), "example.test")
	if err != nil {
		w.t.Fatal(err)
	}
	return picture{ps, os, sum}
}

func (w *world) states() map[string]spool.PairState {
	m := map[string]spool.PairState{}
	for _, p := range w.picture().Pairs {
		m[fmt.Sprintf("%s/%d", p.Entry, p.Rcpt)] = p.State
	}
	return m
}

func clone(t *testing.T, src blob.Store) blob.Store {
	t.Helper()
	dst := mem.New()
	if _, err := blob.Copy(t.Context(), dst, src, blob.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return dst
}

func delivered(id string) spool.Event {
	return spool.Event{Type: spool.Delivered, Entry: id, Reply: "250 ok", Host: "primary"}
}

// TestFollowAndFetch: what is kept is seen, comes back octet for octet, and a deleted index comes back the same.
func TestFollowAndFetch(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := start(t, store, dir)
	var ids []string
	for i := range 20 {
		ids = append(ids, w.message(i*3000)) // some of them big
	}
	w.record(spool.Event{Type: spool.OutageOpened, Domain: "example.test", Outage: "o1"}, delivered(ids[0]), delivered(ids[3]),
		spool.Event{Type: spool.Parked, Entry: ids[1], Reply: "550 no"})
	if err := w.s.Settle(delivered(ids[2])); err != nil {
		t.Fatal(err)
	}
	w.message(10, "a@example.test", "b@other.test")
	w.sync()
	w.until(func() bool { return w.picture().Sum.Counts.Delivered == 3 })
	for _, id := range ids {
		if err := w.fetch(id); err != nil {
			t.Error(err)
		}
	}
	before := w.picture()
	if len(before.Pairs) != 22 || before.Sum.Counts.Delivered != 3 || before.Sum.Counts.Parked != 1 || before.Sum.Counts.Pending != 17 {
		t.Fatalf("%+v", before.Sum)
	}
	text := w.text
	w.end()
	if err := index.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w = start(t, store, dir)
	w.text = text
	w.sync()
	if d := cmp.Diff(before, w.picture()); d != "" {
		t.Errorf("another index came back:\n%s", d)
	}
	if err := w.fetch(ids[19]); err != nil {
		t.Error(err)
	}
	check(t, store, spool.CheckOptions{})
}

// check runs fsck and fails on findings of other kinds than those named, beside streams with a living writer.
func check(t *testing.T, store blob.Store, o spool.CheckOptions, kinds ...string) *spool.CheckReport {
	t.Helper()
	rep, err := spool.Check(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rep.Findings {
		if f.Kind != spool.FoundUnsealed && !slices.Contains(kinds, f.Kind) {
			t.Errorf("fsck: %+v", f)
		}
	}
	return rep
}

// TestTwoNodes: each node sees what the other keeps and does, and seals nothing of it.
func TestTwoNodes(t *testing.T) {
	store := mem.New()
	a, b := start(t, store, t.TempDir()), start(t, store, t.TempDir())
	id := a.message(100)
	b.sync()
	if err := b.s.Record(t.Context(), delivered(id)); err != nil {
		t.Fatal(err)
	}
	a.sync()
	if s := a.states()[id+"/0"]; s != spool.StateDelivered {
		t.Errorf("a sees %q", s)
	}
	id2 := a.message(100)
	b.sync()
	if s := b.states()[id2+"/0"]; s != spool.StatePending {
		t.Errorf("b sees %q", s)
	}
	b.text = a.text
	if err := b.fetch(id2); err != nil {
		t.Error(err)
	}
}

// TestLatePartner: a fold that stands still doesn't block the writers, and gets everything from the store later.
func TestLatePartner(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := start(t, store, dir)
	w.message(10)
	w.sync()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		w.message(10)
	}
	w.follow()
	w.sync()
	if n := len(w.picture().Pairs); n != 51 {
		t.Errorf("%d pairs, want 51", n)
	}
}

// TestDeadStreamsAreSealed: what a killed process left is read and sealed by the next one.
func TestDeadStreamsAreSealed(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	fault := wrap.NewFault(store)
	w := start(t, fault, dir)
	id := w.message(10)
	w.record(spool.Event{Type: spool.ReplayPaused, Domain: "example.test"})
	fault.Crash()
	w.grace = 30 * time.Millisecond
	text := w.text
	w.end()
	w = start(t, store, dir)
	w.text = text
	w.sync()
	if err := w.fetch(id); err != nil {
		t.Error(err)
	}
	if _, ok, err := w.x.Paused(t.Context(), "example.test"); !ok || err != nil {
		t.Error("the flag is gone", err)
	}
	w.end()
	rep, err := spool.Check(t.Context(), store, spool.CheckOptions{})
	if err != nil || len(rep.Findings) > 0 {
		t.Errorf("%v %+v", err, rep.Findings)
	}
}

// TestYesterdaysBucket: a bucket restored from a backup is noticed, replay is paused before anything
// looks pending, deliveries that only the index knew stay known.
func TestYesterdaysBucket(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := start(t, store, dir)
	id, lost := w.message(10), ""
	w.sync()
	yesterday := clone(t, store)
	w.record(delivered(id))
	lost = w.message(10)
	w.sync()
	text := w.text
	w.end()

	w = start(t, yesterday, dir)
	w.text = text
	w.sync()
	if ev, ok, err := w.x.Paused(t.Context(), "example.test"); err != nil || !ok || !strings.Contains(ev.Reason, "restored") {
		t.Errorf("replay is not paused: %+v %v", ev, err)
	}
	if s := w.states(); s[id+"/0"] != spool.StateDelivered {
		t.Errorf("what was delivered is %q", s[id+"/0"])
	}
	if _, ok := w.states()[lost+"/0"]; ok {
		t.Error("an entry shows that the store has lost")
	}
	if err := w.fetch(id); err != nil {
		t.Error(err)
	}
	w.message(10)
	w.end()
	w = start(t, yesterday, dir) // and the next start is an ordinary one
	w.sync()
	if n := len(w.picture().Pairs); n != 2 {
		t.Errorf("%d pairs, want 2: %+v", n, w.picture().Pairs)
	}
}

// TestForeign: an index of one cluster is not folded on with the store of another.
func TestForeign(t *testing.T) {
	w := start(t, mem.New(), t.TempDir())
	w.message(10)
	w.sync()
	w.end()
	other := start(t, mem.New(), t.TempDir())
	other.message(10)
	other.sync()
	if err := other.stop(); err != nil {
		t.Fatal(err)
	}
	if err := other.x.Close(); err != nil {
		t.Fatal(err)
	}
	other.path = w.path
	other.openIndex()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := other.s.Follow(ctx, other.x); !errors.Is(err, spool.ErrForeign) {
		t.Errorf("got %v", err)
	}
}

// TestStoreDownAtStart: Follow waits for the store and goes on by itself.
func TestStoreDownAtStart(t *testing.T) {
	t.Parallel()
	store, dir := mem.New(), t.TempDir()
	w := start(t, store, dir)
	w.message(10)
	w.end()
	fault := wrap.NewFault(store)
	fault.SetDown(wrap.ErrDown)
	w = start(t, fault, dir)
	fault.SetDown(nil)
	w.sync()
	if n := len(w.picture().Pairs); n != 1 {
		t.Errorf("%d pairs", n)
	}
}

// TestExport writes what was kept in each format.
func TestExport(t *testing.T) {
	store := mem.New()
	w := start(t, store, t.TempDir())
	small, big := w.message(100), w.message(30000)
	w.end()
	var mbox bytes.Buffer
	rep, err := spool.Export(t.Context(), store, spool.ExportOptions{Format: "mbox", Writer: &mbox})
	if err != nil || rep.Messages != 2 || rep.Failed != 0 {
		t.Fatalf("%+v %v", rep, err)
	}
	if n := strings.Count(mbox.String(), "\nFrom you@elsewhere.test "); n != 1 || strings.Contains(mbox.String(), "\r") {
		t.Errorf("mbox of %d octets", mbox.Len())
	}
	for _, format := range []string{"eml", "maildir"} {
		dir := t.TempDir()
		if _, err := spool.Export(t.Context(), store, spool.ExportOptions{Format: format, Dir: dir}); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{small, big} {
			pattern := filepath.Join(dir, id+".eml")
			if format == "maildir" {
				pattern = filepath.Join(dir, "new", "*"+id+"*")
			}
			if got := readGlob(t, pattern); got != w.text[id] {
				t.Errorf("%s: %s has %d octets, want %d", format, id, len(got), len(w.text[id]))
			}
		}
	}
}

// TestOneGetPerBatch: fetching the entries of a batch in a row, also by several at once, reads it once.
func TestOneGetPerBatch(t *testing.T) {
	count := wrap.Count(mem.New())
	w := start(t, count, t.TempDir())
	ids := w.oneBatch(30)
	w.sync()
	batches := map[uint64]bool{}
	for _, p := range w.picture().Pairs {
		batches[p.Location.Seq] = true
	}
	before := count.Bill()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			for range 3 {
				if err := w.fetch(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// the vigil may have asked once
	if gets := count.Bill().Sub(before).Gets; gets > int64(len(batches))+1 {
		t.Errorf("%d GETs for %d batches", gets, len(batches))
	}
}
