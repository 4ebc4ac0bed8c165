// Package blobtest is the conformance suite that every blob.Store must pass, so that disk, memory and S3 can't drift apart.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/spool/blob"
)

// Run runs the suite. open returns a store with nothing in it, and registers its end with t.Cleanup; it
// is called once for each test.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, blob.Store)
	}{
		{"PutGet", testPutGet},
		{"Ranges", testRanges},
		{"Absent", testAbsent},
		{"Match", testMatch},
		{"RefusedPuts", testRefusedPuts},
		{"RefusedReads", testRefusedReads},
		{"ShortBody", testShortBody},
		{"Delete", testDelete},
		{"ListOrder", testListOrder},
		{"ListAfter", testListAfter},
		{"ListMany", testListMany},
		{"ListStops", testListStops},
		{"Prefixes", testPrefixes},
		{"Cancel", testCancel},
		{"CancelWhilePutting", testCancelWhilePutting},
		{"Big", testBig},
		{"RaceAbsent", testRaceAbsent},
		{"RaceMatch", testRaceMatch},
		{"RaceDelete", testRaceDelete},
		{"Prove", testProve},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var absent = blob.Cond{Absent: true}

// Put writes octets and fails the test if that fails.
func Put(t testing.TB, s blob.Store, key, text string, cond blob.Cond) string {
	t.Helper()
	etag, err := s.Put(t.Context(), key, strings.NewReader(text), cond)
	if err != nil {
		t.Fatal(err)
	}
	if etag == "" || strings.Contains(etag, `"`) {
		t.Fatalf("put %s: ETag %q", key, etag)
	}
	return etag
}

// Read returns the octets in the range and fails the test if that fails.
func Read(t testing.TB, s blob.Store, key string, r blob.Range) (string, blob.Info) {
	t.Helper()
	rd, info, err := s.Get(t.Context(), key, r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rd)
	if cerr := rd.Close(); err != nil || cerr != nil {
		t.Fatalf("get %s: read %v, close %v", key, err, cerr)
	}
	return string(b), info
}

// Keys lists and fails the test if that fails.
func Keys(t testing.TB, s blob.Store, prefix, after string) []string {
	t.Helper()
	var keys []string
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func wantErr(t testing.TB, what string, err error, wants ...error) {
	t.Helper()
	for _, want := range wants {
		if !errors.Is(err, want) {
			t.Fatalf("%s: error %v, want %v", what, err, want)
		}
	}
}

func wantKeys(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func testPutGet(t *testing.T, s blob.Store) {
	random := make([]byte, 200_001)
	rand.NewChaCha8([32]byte{}).Read(random)
	for name, text := range map[string]string{
		"empty": "", "one": "\x00", "lines": "a\r\nb\n\r.\r\n", "random": string(random),
	} {
		key := "get/" + name
		etag := Put(t, s, key, text, absent)
		got, info := Read(t, s, key, blob.Range{})
		if got != text {
			t.Fatalf("%s: wrote %d octets, read %d others", name, len(text), len(got))
		}
		if age := time.Since(info.Modified); info.Key != key || info.Size != int64(len(text)) || info.ETag != etag || age > time.Hour || age < -time.Hour {
			t.Fatalf("%s: info %+v, ETag of put %q", name, info, etag)
		}
		for listed, err := range s.List(t.Context(), key, "") {
			if err != nil || listed.ETag != etag || listed.Size != info.Size || listed.Key != key {
				t.Fatalf("%s: list gave %+v, %v", name, listed, err)
			}
		}
	}
	_, _, err := s.Get(t.Context(), "get/none", blob.Range{})
	wantErr(t, "get of nothing", err, blob.ErrNotExist)
	_, _, err = s.Get(t.Context(), "get/none/beneath", blob.Range{Offset: -3})
	wantErr(t, "ranged get of nothing", err, blob.ErrNotExist)
	_, _, err = s.Get(t.Context(), "get", blob.Range{})
	wantErr(t, "get of a folder", err, blob.ErrNotExist)
}

func testRanges(t *testing.T, s blob.Store) {
	const text = "0123456789"
	Put(t, s, "r/ten", text, absent)
	Put(t, s, "r/empty", "", absent)
	for _, c := range []struct {
		r    blob.Range
		want string
	}{
		{blob.Range{}, text},
		{blob.Range{Length: 1}, "0"},
		{blob.Range{Length: 10}, text},
		{blob.Range{Length: 100}, text},
		{blob.Range{Offset: 3}, "3456789"},
		{blob.Range{Offset: 3, Length: 2}, "34"},
		{blob.Range{Offset: 9, Length: 1}, "9"},
		{blob.Range{Offset: 9}, "9"},
		{blob.Range{Offset: 8, Length: 1 << 40}, "89"},
		{blob.Range{Offset: -1}, "9"},
		{blob.Range{Offset: -4}, "6789"},
		{blob.Range{Offset: -10}, text},
		{blob.Range{Offset: -100}, text},
	} {
		got, info := Read(t, s, "r/ten", c.r)
		if got != c.want || info.Size != 10 {
			t.Errorf("%+v: got %q of %d, want %q of 10", c.r, got, info.Size, c.want)
		}
	}
	for key, ranges := range map[string][]blob.Range{
		"r/ten":   {{Offset: 10}, {Offset: 10, Length: 1}, {Offset: 11}, {Offset: 1 << 40, Length: 5}},
		"r/empty": {{Offset: 1}, {Length: 1}, {Offset: -1}},
	} {
		for _, r := range ranges {
			rd, _, err := s.Get(t.Context(), key, r)
			if err == nil {
				rd.Close()
			}
			wantErr(t, fmt.Sprintf("%s %+v", key, r), err, blob.ErrRange)
		}
	}
}

// refused expects a put whose precondition fails, with an answer or, as a server may refuse a request and hang up before it
// has read the body, only when asked again.
func refused(t *testing.T, s blob.Store, what, key, text string, cond blob.Cond) {
	t.Helper()
	if won, err := settle(t, s, key, text, cond); won || err != nil {
		t.Fatalf("%s: %v, want %v", what, err, blob.ErrPrecondition)
	}
}

func testAbsent(t *testing.T, s blob.Store) {
	etag := Put(t, s, "a/key", "first", absent)
	for _, text := range []string{"first", "second", ""} {
		refused(t, s, "second put", "a/key", text, absent)
	}
	if got, info := Read(t, s, "a/key", blob.Range{}); got != "first" || info.ETag != etag {
		t.Fatalf("after refused puts: %q %q, was %q", got, info.ETag, etag)
	}
}

func testMatch(t *testing.T, s blob.Store) {
	e1 := Put(t, s, "lease/x.json", "one", absent)
	e2 := Put(t, s, "lease/x.json", "two", blob.Cond{Match: e1})
	e3 := Put(t, s, "lease/x.json", "three", blob.Cond{Match: e2})
	if e1 == e2 || e2 == e3 || e1 == e3 {
		t.Fatalf("ETags %q %q %q of different objects are the same", e1, e2, e3)
	}
	for _, stale := range []string{e1, e2, "nonsense"} {
		refused(t, s, "put with stale ETag "+stale, "lease/x.json", "bad", blob.Cond{Match: stale})
	}
	if got, info := Read(t, s, "lease/x.json", blob.Range{}); got != "three" || info.ETag != e3 {
		t.Fatalf("after refused puts: %q %q, want %q", got, info.ETag, e3)
	}
	refused(t, s, "put with an ETag where nothing is", "lease/none.json", "bad", blob.Cond{Match: e3})
	wantKeys(t, "keys", Keys(t, s, "", ""), "lease/x.json")
}

// BadKeys are refused by every store.
var BadKeys = []string{
	"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.b", ".hidden", "ä", "a b", "a\x00b", "a\nb", `a\b`, "a:b", "a*", "a/%2e",
	strings.Repeat("x", blob.MaxSegment+1), strings.Repeat("x/", blob.MaxKey/2) + "yz",
}

func testRefusedPuts(t *testing.T, s blob.Store) {
	for _, key := range BadKeys {
		_, err := s.Put(t.Context(), key, strings.NewReader("x"), absent)
		wantErr(t, fmt.Sprintf("put %q", key), err, blob.ErrInvalid, blob.ErrNotWritten)
	}
	for _, cond := range []blob.Cond{{}, {Absent: true, Match: "x"}} {
		_, err := s.Put(t.Context(), "k", strings.NewReader("x"), cond)
		wantErr(t, fmt.Sprintf("put %+v", cond), err, blob.ErrInvalid, blob.ErrNotWritten)
	}
	long := strings.Repeat(strings.Repeat("x", blob.MaxSegment)+"/", 2) + strings.Repeat("y", blob.MaxKey-2*blob.MaxSegment-2)
	Put(t, s, long, "the longest key", absent)
	wantKeys(t, "keys", Keys(t, s, "", ""), long)
}

func testRefusedReads(t *testing.T, s blob.Store) {
	Put(t, s, "k", "text", absent)
	for _, key := range BadKeys {
		_, _, err := s.Get(t.Context(), key, blob.Range{})
		wantErr(t, fmt.Sprintf("get %q", key), err, blob.ErrInvalid)
		wantErr(t, fmt.Sprintf("delete %q", key), s.Delete(t.Context(), key), blob.ErrInvalid)
	}
	for _, r := range []blob.Range{{Length: -1}, {Offset: -2, Length: 1}} {
		_, _, err := s.Get(t.Context(), "k", r)
		wantErr(t, fmt.Sprintf("get %+v", r), err, blob.ErrInvalid)
	}
	for _, p := range []string{"/", "a b", "../x\x00"} {
		for _, err := range s.List(t.Context(), p, "") {
			wantErr(t, fmt.Sprintf("list %q", p), err, blob.ErrInvalid)
		}
		for _, err := range s.List(t.Context(), "", p) {
			wantErr(t, fmt.Sprintf("list after %q", p), err, blob.ErrInvalid)
		}
	}
	for _, p := range []string{"a", "/", "a b/"} {
		calls := 0
		for _, err := range s.Prefixes(t.Context(), p) {
			calls++
			wantErr(t, fmt.Sprintf("prefixes of %q", p), err, blob.ErrInvalid)
		}
		if calls != 1 {
			t.Errorf("prefixes of %q: %d results, want 1 error", p, calls)
		}
	}
}

// shortBody says that it has more octets than it has.
type shortBody struct{ *strings.Reader }

func (b shortBody) Size() int64 { return b.Reader.Size() + 7 }

func testShortBody(t *testing.T, s blob.Store) {
	_, err := s.Put(t.Context(), "short", shortBody{strings.NewReader("abc")}, absent)
	wantErr(t, "put of a short body", err, blob.ErrNotWritten)
	wantKeys(t, "keys", Keys(t, s, "", ""))
}

func testDelete(t *testing.T, s blob.Store) {
	Put(t, s, "d/a/1", "x", absent)
	Put(t, s, "d/a/2", "x", absent)
	Put(t, s, "d/b/1", "x", absent)
	for range 2 { // deleting what is not there is no error
		for _, key := range []string{"d/a/1", "d/none", "none/at/all", "d/a/1/beneath", "d/a"} {
			if err := s.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantKeys(t, "keys", Keys(t, s, "", ""), "d/a/2", "d/b/1")
	_, _, err := s.Get(t.Context(), "d/a/1", blob.Range{})
	wantErr(t, "get of deleted", err, blob.ErrNotExist)
	if err := s.Delete(t.Context(), "d/a/2"); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "prefixes", segments(t, s, "d/"), "b")
	Put(t, s, "d/a/1", "again", absent)
	if got, _ := Read(t, s, "d/a/1", blob.Range{}); got != "again" {
		t.Fatalf("put after delete: %q", got)
	}
}

func testCancel(t *testing.T, s blob.Store) {
	Put(t, s, "c/there", "x", absent)
	reason := errors.New("enough")
	for name, ctx := range map[string]context.Context{
		"canceled": canceled(t, nil),
		"caused":   canceled(t, reason),
	} {
		want := context.Canceled
		if name == "caused" {
			want = reason
		}
		_, err := s.Put(ctx, "c/new", strings.NewReader("x"), absent)
		wantErr(t, name+" put", err, want, blob.ErrNotWritten)
		_, _, err = s.Get(ctx, "c/there", blob.Range{})
		wantErr(t, name+" get", err, want)
		wantErr(t, name+" delete", s.Delete(ctx, "c/there"), want)
		lists, prefixes := 0, 0
		for _, err := range s.List(ctx, "c/", "") {
			lists++
			wantErr(t, name+" list", err, want)
		}
		for _, err := range s.Prefixes(ctx, "") {
			prefixes++
			wantErr(t, name+" prefixes", err, want)
		}
		if lists != 1 || prefixes != 1 {
			t.Errorf("%s: list gave %d and prefixes %d results, want one error each", name, lists, prefixes)
		}
	}
	wantKeys(t, "keys", Keys(t, s, "", ""), "c/there")
}

func canceled(t *testing.T, cause error) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}

// gatedBody waits before it gives its second half.
type gatedBody struct {
	*bytes.Reader
	half chan struct{}
	gate chan struct{}
}

func (b *gatedBody) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > b.Size()/2 {
		select {
		case b.half <- struct{}{}:
		default:
		}
		<-b.gate
	}
	return b.Reader.ReadAt(p, at)
}

func testCancelWhilePutting(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := &gatedBody{bytes.NewReader(make([]byte, 1<<20)), make(chan struct{}, 1), make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(ctx, "w/key", body, absent)
		done <- err
	}()
	<-body.half
	cancel()
	close(body.gate)
	if err := <-done; err != nil {
		wantErr(t, "put", err, context.Canceled)
		return
	}
	if got, _ := Read(t, s, "w/key", blob.Range{}); len(got) != 1<<20 {
		t.Fatalf("put returned nil and left %d octets", len(got))
	}
}

func testBig(t *testing.T, s blob.Store) {
	data := make([]byte, 40<<20+13)
	rand.NewChaCha8([32]byte{1}).Read(data)
	if _, err := s.Put(t.Context(), "big/one.eml.zst", bytes.NewReader(data), absent); err != nil {
		t.Fatal(err)
	}
	rd, info, err := s.Get(t.Context(), "big/one.eml.zst", blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	h := sha256.New()
	if _, err := io.Copy(h, rd); err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(data); info.Size != int64(len(data)) || !bytes.Equal(h.Sum(nil), want[:]) {
		t.Fatalf("read back other octets (%d, wrote %d)", info.Size, len(data))
	}
	at := int64(33 << 20)
	if got, _ := Read(t, s, "big/one.eml.zst", blob.Range{Offset: at, Length: 70_000}); got != string(data[at:at+70_000]) {
		t.Fatal("range differs")
	}
	if got, _ := Read(t, s, "big/one.eml.zst", blob.Range{Offset: -32}); got != string(data[len(data)-32:]) {
		t.Fatal("tail differs")
	}
}

func testProve(t *testing.T, s blob.Store) {
	if err := blob.Prove(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, "left behind", Keys(t, s, "", ""))
}
