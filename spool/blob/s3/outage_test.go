package s3_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/s3test"
)

// TestOutage: the server goes away, comes back, and hangs.
func TestOutage(t *testing.T) {
	server := s3test.Start(t)
	s := server.Open(t)
	blobtest.Put(t, s, "a", "before", absent)
	server.Stop()
	if _, err := s.Put(t.Context(), "b", strings.NewReader("x"), absent); !errors.Is(err, blob.ErrNotWritten) {
		t.Errorf("put while it is gone: %v", err)
	}
	if _, _, err := s.Get(t.Context(), "a", blob.Range{}); err == nil || errors.Is(err, blob.ErrNotExist) {
		t.Errorf("get while it is gone: %v", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if got, _ := blobtest.Read(t, s, "a", blob.Range{}); got != "before" {
		t.Errorf("after its return: %q", got)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Put(ctx, "late", strings.NewReader("late"), absent)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, blob.ErrNotWritten) {
		t.Errorf("put while it hangs must have an unknown outcome: %v", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	// Now it may land or not; putting the same octets again settles it.
	_, err = s.Put(t.Context(), "late", strings.NewReader("late"), absent)
	if err != nil && !errors.Is(err, blob.ErrPrecondition) {
		t.Error(err)
	}
	if got, _ := blobtest.Read(t, s, "late", blob.Range{}); got != "late" {
		t.Errorf("settled as %q", got)
	}
}

// TestBill: a call is a request, and proving a store costs what its comment says.
func TestBill(t *testing.T) {
	s := s3test.Start(t).Open(t)
	blobtest.Put(t, s, "a/b", "x", absent)
	blobtest.Read(t, s, "a/b", blob.Range{Length: 1})
	blobtest.Keys(t, s, "", "")
	for range s.Prefixes(t.Context(), "") {
	}
	s.Delete(t.Context(), "a/b")
	if got, want := s.Bill(), (blob.Bill{Puts: 1, Gets: 1, Lists: 2, Deletes: 1}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	before := s.Bill()
	if err := blob.Prove(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Bill().Sub(before), (blob.Bill{Puts: 6, Gets: 5, Lists: 1, Deletes: 2}); got != want {
		t.Errorf("proving: %v, want %v", got, want)
	}
	t.Logf("proving: %v", s.Bill().Sub(before))
}
