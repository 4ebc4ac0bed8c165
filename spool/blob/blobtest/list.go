package blobtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"restante/spool/blob"
)

func segments(t testing.TB, s blob.Store, prefix string) []string {
	t.Helper()
	var got []string
	for segment, err := range s.Prefixes(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, segment)
	}
	return got
}

// orderKeys has octets around "/" ("-" and "." sort before it, digits after), in folders and files.
var orderKeys = []string{
	"a-b", "a-b-/x", "a.b/0", "a/0", "a/00", "a/A", "a/Z/1", "a/Z/2", "a/_", "a/a", "a/a-1/q", "a/a.1", "a0", "aa/1", "mail/n-1-2/000/0001.tar.zst",
	"mail/n-1/000/0001.tar.zst", "mail/n-1/000/0002.tar.zst", "mail/n-1/001/0001.tar.zst", "mail/n-1.x/000/0001", "mail/n0/1", "z",
}

func fillOrder(t *testing.T, s blob.Store) []string {
	keys := slices.Clone(orderKeys)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		Put(t, s, key, key, absent)
	}
	slices.Sort(keys)
	return keys
}

func testListOrder(t *testing.T, s blob.Store) {
	wantKeys(t, "empty store", Keys(t, s, "", ""))
	keys := fillOrder(t, s)
	for _, prefix := range []string{"", "a", "a/", "a/a", "a/Z/", "a/Z/1", "a-", "mail/", "mail/n-1", "mail/n-1/", "mail/n-1/000", "none", "none/", "zz"} {
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		wantKeys(t, fmt.Sprintf("list %q", prefix), Keys(t, s, prefix, ""), want...)
	}
}

func testListAfter(t *testing.T, s blob.Store) {
	keys := fillOrder(t, s)
	afters := slices.Concat(keys, []string{"0", "a", "a/Z/", "a/Z/15", "mail/n-1/000/", "mail/n-1/000/00015", "mail/n-1/0000", "zzz"})
	for _, prefix := range []string{"", "a/", "mail/n-1/", "mail/"} {
		for _, after := range afters {
			var want []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			wantKeys(t, fmt.Sprintf("list %q after %q", prefix, after), Keys(t, s, prefix, after), want...)
		}
	}
}

// testListMany goes past the thousand of one LIST request.
func testListMany(t *testing.T, s blob.Store) {
	var want []string
	for i := range 1100 {
		want = append(want, fmt.Sprintf("many/%04d/x", i))
	}
	each(t, 8, len(want), func(i int) error {
		_, err := s.Put(t.Context(), want[i], strings.NewReader("x"), absent)
		return err
	})
	wantKeys(t, "all", Keys(t, s, "many/", ""), want...)
	wantKeys(t, "after the 50th", Keys(t, s, "many/", want[49]), want[50:]...)
	wantKeys(t, "after the 1099th", Keys(t, s, "many/", want[1098]), want[1099])
	if got := segments(t, s, "many/"); len(got) != len(want) || !slices.IsSorted(got) {
		t.Fatalf("prefixes: %d, sorted %t, want %d", len(got), slices.IsSorted(got), len(want))
	}
}

func testListStops(t *testing.T, s blob.Store) {
	fillOrder(t, s)
	for info, err := range s.List(t.Context(), "a/", "") {
		if err != nil || info.Key != "a/0" {
			t.Fatalf("first: %+v, %v", info, err)
		}
		break
	}
	for segment, err := range s.Prefixes(t.Context(), "") {
		if err != nil || segment != "a-b-" {
			t.Fatalf("first: %q, %v", segment, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range s.List(ctx, "", "") { // ends early or at the end, but never hangs, and never without a word
		if n++; n == 1 {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Fatalf("list whose ctx ended on the way ended after %d with %v, want context.Canceled", n, last)
	}
}

func testPrefixes(t *testing.T, s blob.Store) {
	fillOrder(t, s)
	wantKeys(t, "of the root", segments(t, s, ""), "a-b-", "a.b", "a", "aa", "mail")
	wantKeys(t, "of a/", segments(t, s, "a/"), "Z", "a-1")
	wantKeys(t, "of mail/", segments(t, s, "mail/"), "n-1-2", "n-1.x", "n-1", "n0")
	wantKeys(t, "of mail/n-1/", segments(t, s, "mail/n-1/"), "000", "001")
	wantKeys(t, "of a/Z/", segments(t, s, "a/Z/"))
	wantKeys(t, "of nothing", segments(t, s, "none/"))
}

// each calls do for 0 to n-1 with so many at once, and fails the test on the first error.
func each(t *testing.T, workers, n int, do func(i int) error) {
	t.Helper()
	work := make(chan int)
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}
