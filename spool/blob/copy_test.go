package blob_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

func same(t *testing.T, a, b blob.Store) {
	t.Helper()
	keys := blobtest.Keys(t, a, "", "")
	if got := blobtest.Keys(t, b, "", ""); strings.Join(got, " ") != strings.Join(keys, " ") {
		t.Fatalf("keys %q, want %q", got, keys)
	}
	for _, key := range keys {
		x, _ := blobtest.Read(t, a, key, blob.Range{})
		if y, _ := blobtest.Read(t, b, key, blob.Range{}); x != y {
			t.Fatalf("%s differs", key)
		}
	}
}

func source(t *testing.T) blob.Store {
	s := mem.New()
	for i := range 30 {
		blobtest.Put(t, s, fmt.Sprintf("mail/s/000/%02d", i), strings.Repeat("x", i*i), absent)
	}
	big := make([]byte, 9<<20) // goes by a file
	rand.NewChaCha8([32]byte{}).Read(big)
	blobtest.Put(t, s, "big/s/one", string(big), absent)
	blobtest.Put(t, s, "lease/x.json", "generation 1", absent)
	blobtest.Put(t, s, "restante.json", "{}", absent)
	return s
}

// TestCopy: broken off at every point, it can be run again and ends the same.
func TestCopy(t *testing.T) {
	src := source(t)
	blobtest.Put(t, src, blob.ProveFolder+"x/first", "not copied", absent)
	dst := mem.New()
	for n := 1; ; n += 7 {
		f := wrap.NewFault(dst)
		f.CrashAt(n)
		_, err := blob.Copy(t.Context(), f, src, blob.CopyOptions{Parallel: 3})
		if err == nil {
			break
		}
		if !errors.Is(err, wrap.ErrCrashed) {
			t.Fatal(err)
		}
	}
	if err := src.Delete(t.Context(), blob.ProveFolder+"x/first"); err != nil {
		t.Fatal(err)
	}
	same(t, src, dst)
	var last blob.CopyProgress
	p, err := blob.Copy(t.Context(), dst, src, blob.CopyOptions{Progress: func(p blob.CopyProgress) { last = p }})
	if err != nil || p != last || p.Objects != 33 || p.Same != 33 || p.Objects != p.TotalObjects || p.Octets != p.TotalOctets {
		t.Errorf("%+v, %+v, %v", p, last, err)
	}
}

// TestCopyDiffers: what dst holds already is never overwritten, unless it may be.
func TestCopyDiffers(t *testing.T) {
	src, dst := source(t), mem.New()
	blobtest.Put(t, dst, "lease/x.json", "generation 9", absent)
	_, err := blob.Copy(t.Context(), dst, src, blob.CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), "lease/x.json") || !strings.Contains(err.Error(), "something else") {
		t.Fatal(err)
	}
	if got, _ := blobtest.Read(t, dst, "lease/x.json", blob.Range{}); got != "generation 9" {
		t.Fatalf("overwrote it with %q", got)
	}
	o := blob.CopyOptions{Replace: func(key string) bool { return strings.HasPrefix(key, "lease/") }}
	if _, err := blob.Copy(t.Context(), dst, src, o); err != nil {
		t.Fatal(err)
	}
	same(t, src, dst)
}

// TestCopyDamaged: an object that comes short is not copied.
func TestCopyDamaged(t *testing.T) {
	src := wrap.NewFault(source(t))
	src.Add(wrap.Rule{Op: "get", When: "after", Prefix: "mail/s/000/29", Action: wrap.Action{Mangle: wrap.Cut}})
	dst := mem.New()
	if _, err := blob.Copy(t.Context(), dst, src, blob.CopyOptions{}); err == nil {
		t.Fatal("a cut object was copied")
	}
	for _, key := range blobtest.Keys(t, dst, "", "") {
		if key == "mail/s/000/29" {
			t.Fatal("a cut object is there")
		}
	}
}

func TestRangeResolve(t *testing.T) {
	for _, c := range []struct {
		r        blob.Range
		size     int64
		from, to int64
		err      error
	}{
		{blob.Range{}, 0, 0, 0, nil},
		{blob.Range{}, 5, 0, 5, nil},
		{blob.Range{Offset: 2, Length: 1 << 62}, 5, 2, 5, nil},
		{blob.Range{Offset: -9}, 5, 0, 5, nil},
		{blob.Range{Offset: -2}, 5, 3, 5, nil},
		{blob.Range{Offset: 5}, 5, 0, 0, blob.ErrRange},
		{blob.Range{Offset: -1}, 0, 0, 0, blob.ErrRange},
		{blob.Range{Length: 1}, 0, 0, 0, blob.ErrRange},
	} {
		from, to, err := c.r.Resolve(c.size)
		if from != c.from || to != c.to || !errors.Is(err, c.err) {
			t.Errorf("%+v of %d: %d, %d, %v", c.r, c.size, from, to, err)
		}
	}
}
