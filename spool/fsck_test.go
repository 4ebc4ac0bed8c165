package spool_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

func readGlob(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v %v", pattern, files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readObject(t *testing.T, store blob.Store, key string) ([]byte, string) {
	t.Helper()
	rc, info, err := store.Get(t.Context(), key, blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b, info.ETag
}

func replaceObject(t *testing.T, store blob.Store, key string, b []byte) {
	t.Helper()
	_, etag := readObject(t, store, key)
	if _, err := store.Put(t.Context(), key, bytes.NewReader(b), blob.Cond{Match: etag}); err != nil {
		t.Fatal(err)
	}
}

func keysOf(t *testing.T, store blob.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for info, err := range store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// TestDamage flips single octets and cuts objects: fsck names the object each time, all other entries
// stay readable, and what is damaged is never given out.
func TestDamage(t *testing.T) {
	t.Parallel()
	clean := mem.New()
	w := start(t, clean, t.TempDir())
	var ids []string
	for range 6 {
		ids = append(ids, w.message(600))
	}
	ids = append(ids, w.message(30000))
	w.record(delivered(ids[0]))
	w.end()
	text := w.text
	for _, key := range append(append(keysOf(t, clean, "mail/"), keysOf(t, clean, "big/")...), keysOf(t, clean, "ledger/")...) {
		object, _ := readObject(t, clean, key)
		step := max(len(object)/12, 1)
		for at := 0; at < len(object); at += step {
			flipped := bytes.Clone(object)
			flipped[at] ^= 0x21
			damage(t, clean, key, flipped, text)
			damage(t, clean, key, object[:at], text)
		}
	}
}

func damage(t *testing.T, clean blob.Store, key string, object []byte, text map[string]string) {
	t.Helper()
	store := clone(t, clean)
	replaceObject(t, store, key, object)
	rep, err := spool.Check(t.Context(), store, spool.CheckOptions{})
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	named := false
	for _, f := range rep.Findings {
		named = named || f.Key == key
		if f.Kind == spool.FoundDamaged && f.Key != key {
			t.Errorf("%s was damaged, but fsck says %+v", key, f)
		}
	}
	if !named {
		t.Errorf("%s with %d octets: fsck finds nothing: %+v", key, len(object), rep.Findings)
	}
	got := map[string]string{}
	dir := t.TempDir()
	if _, err := spool.Export(t.Context(), store, spool.ExportOptions{Format: "eml", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		id := strings.TrimSuffix(filepath.Base(f), ".eml")
		got[id] = readGlob(t, f)
		if got[id] != text[id] {
			t.Errorf("%s: %s was given out altered", key, id)
		}
	}
	if lost := len(text) - len(got); lost > 1 {
		t.Errorf("%s: one octet cost %d messages", key, lost)
	}
}

// TestFindings plants each thing that fsck looks for.
func TestFindings(t *testing.T) {
	store := mem.New()
	dir := t.TempDir()
	w := start(t, store, dir)
	for range 4 {
		w.message(50)
	}
	big := w.message(30000)
	w.end()
	batches := keysOf(t, store, "mail/")
	stream, _, _ := strings.Cut(strings.TrimPrefix(batches[0], "mail/"), "/")
	put := func(key string, b []byte) {
		t.Helper()
		if _, err := store.Put(t.Context(), key, bytes.NewReader(b), blob.Cond{Absent: true}); err != nil {
			t.Fatal(err)
		}
	}
	last, _ := readObject(t, store, batches[len(batches)-1])
	put(spool.StreamID{Name: stream}.Key(uint64(len(batches))), last)
	put("big/n2-"+spool.NewID()+"/01ARZ3NDEKTSV4RRFFQ69G5FAV.eml.zst", []byte("x"))
	orphan := keysOf(t, store, "big/n2-")[0]
	put("holiday/photo.jpg", []byte("x"))
	put("prove/left", []byte("x")) // by a process that was killed while it proved the store
	if err := store.Delete(t.Context(), batches[1]); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), spool.StreamID{Name: stream}.BigKey(big)); err != nil {
		t.Fatal(err)
	}
	rep, err := spool.Check(t.Context(), aged{store}, spool.CheckOptions{Repair: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		batches[1]: spool.FoundHole,
		spool.StreamID{Name: stream}.Key(uint64(len(batches))): spool.FoundAfterSeal,
		orphan:                                   spool.FoundOrphan,
		spool.StreamID{Name: stream}.BigKey(big): spool.FoundMissing,
		"holiday":                                spool.FoundStrange,
	}
	for _, f := range rep.Findings {
		if strings.HasPrefix(f.Key, "prove") {
			t.Errorf("it is ours: %+v", f)
		}
		if want[f.Key] == f.Kind {
			delete(want, f.Key)
		}
		if f.Kind == spool.FoundOrphan && f.Repaired == "" {
			t.Errorf("not repaired: %+v", f)
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v\nfindings: %+v", want, rep.Findings)
	}
	if rep.OK() {
		t.Error("a store with holes is called sound")
	}
}

// TestRepairLeavesBig: what a batch names that is damaged or missing can't be known, so a repair deletes no big
// object of its stream; nor one whose batch came after the batches were listed, however long the check takes.
func TestRepairLeavesBig(t *testing.T) {
	clean := mem.New()
	w := start(t, clean, t.TempDir())
	w.message(50)
	w.message(30000)
	w.end()
	bigs := keysOf(t, clean, "big/")
	var holder string
	for _, key := range keysOf(t, clean, "mail/") {
		object, _ := readObject(t, clean, key)
		store := clone(t, clean)
		replaceObject(t, store, key, object[:len(object)-1])
		rep, err := spool.Check(t.Context(), aged{store}, spool.CheckOptions{Repair: true})
		if err != nil {
			t.Fatal(err)
		}
		if left := keysOf(t, store, "big/"); len(left) != len(bigs) {
			t.Errorf("%s was damaged, and the repair deleted a message: %+v", key, rep.Findings)
		}
		for _, f := range rep.Findings {
			if f.Kind == spool.FoundOrphan {
				holder = key
			}
		}
	}
	store := clone(t, clean)
	if err := store.Delete(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Check(t.Context(), aged{store}, spool.CheckOptions{Repair: true}); err != nil {
		t.Fatal(err)
	}
	if left := keysOf(t, store, "big/"); len(left) != len(bigs) {
		t.Error("a batch was missing, and the repair deleted a message that it named")
	}
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		key := spool.StreamID{Name: "n2-" + spool.NewID()}.BigKey(spool.NewID())
		if _, err := store.Put(t.Context(), key, strings.NewReader("x"), blob.Cond{Absent: true}); err != nil {
			t.Fatal(err)
		}
		slow := slowPrefixes{store}
		if _, err := spool.Check(t.Context(), slow, spool.CheckOptions{Repair: true}); err != nil {
			t.Fatal(err)
		}
		if len(keysOf(t, store, "big/")) != 1 {
			t.Error("a big object that was new when the check began was deleted")
		}
	})
}

// slowPrefixes is a store that takes hours to list.
type slowPrefixes struct{ blob.Store }

func (s slowPrefixes) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	time.Sleep(3 * time.Hour)
	return s.Store.Prefixes(ctx, prefix)
}

// aged is a store whose objects are a day older.
type aged struct{ blob.Store }

func (a aged) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range a.Store.List(ctx, prefix, after) {
			info.Modified = info.Modified.Add(-24 * time.Hour)
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestRepairSeals: with nobody writing, fsck ends the streams that have no end.
func TestRepairSeals(t *testing.T) {
	store := mem.New()
	w := start(t, store, t.TempDir())
	w.message(50)
	w.record(spool.Event{Type: spool.ReplayPaused, Domain: "example.test"})
	snapshot := clone(t, store) // as a kill would leave it
	rep := check(t, snapshot, spool.CheckOptions{Repair: true, Mine: func(spool.StreamID) bool { return true }})
	if len(rep.Findings) != 2 {
		t.Fatalf("%+v", rep.Findings)
	}
	if rep = check(t, snapshot, spool.CheckOptions{}); len(rep.Findings) != 0 {
		t.Errorf("after the repair: %+v", rep.Findings)
	}
}

// TestBadRead: octets that come garbled once, and are well in the store, cost nothing: neither does the index pass
// them over, nor is a message called damaged.
func TestBadRead(t *testing.T) {
	for _, prefix := range []string{"mail/", "ledger/", "big/"} {
		t.Run(prefix, func(t *testing.T) {
			store := mem.New()
			w := start(t, store, t.TempDir())
			ids := []string{w.message(50), w.message(60), w.message(30000)}
			w.record(delivered(ids[0]))
			w.sync()
			want := w.picture()
			text := w.text
			w.end()
			fault := wrap.NewFault(store)
			fault.Add(wrap.Rule{Op: "get", When: "after", Prefix: prefix, Times: 1, Action: wrap.Action{Mangle: wrap.Garble}})
			w = start(t, fault, t.TempDir())
			w.text = text
			w.sync()
			if got := w.picture(); !reflect.DeepEqual(got.Pairs, want.Pairs) {
				t.Errorf("after a bad read the index has %+v, want %+v", got.Pairs, want.Pairs)
			}
			if prefix == "mail/" {
				fault.Add(wrap.Rule{Op: "get", When: "after", Prefix: prefix, Times: 1, Action: wrap.Action{Mangle: wrap.Garble}})
			}
			for _, id := range ids {
				if err := w.fetch(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
