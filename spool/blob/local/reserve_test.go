package local

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/room"
	"restante/spool/room/roomtest"
)

var withReserve = []string{"lease/", "ledger/"}

// tight is a disk whose last octets are in the reserve of its store: writing fails until some of it was given back.
type tight struct {
	on  bool
	had int64
	dir string
}

func (d *tight) step(op Op, path string, do func() error) error {
	if fi, err := os.Stat(filepath.Join(d.dir, reserveName)); d.on && (op == PutWrite || op == ReserveGrow) && err == nil && fi.Size() >= d.had {
		return &os.PathError{Op: string(op), Path: path, Err: syscall.ENOSPC}
	}
	return do()
}

// TestReserve: on a full disk the keys that have the reserve can be put, others can't, and it is whole again when there is room.
func TestReserve(t *testing.T) {
	d := &tight{dir: t.TempDir()}
	s, err := Open(d.dir, Options{Reserve: withReserve, Step: d.step})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	whole := reserveNow(t, s)
	if whole <= 0 || s.reserve.Lacks() != 0 {
		t.Fatalf("the reserve is of %d octets, and lacks %d", whole, s.reserve.Lacks())
	}
	d.on, d.had = true, whole
	if _, err := s.Put(t.Context(), "mail/a", strings.NewReader("text"), absent); !errors.Is(err, blob.ErrNoSpace) || !errors.Is(err, blob.ErrNotWritten) {
		t.Errorf("mail: %v", err)
	}
	if got := reserveNow(t, s); got != whole {
		t.Errorf("mail left %d octets of the reserve's %d", got, whole)
	}
	if _, err := s.Put(t.Context(), "lease/a", strings.NewReader("text"), absent); err != nil {
		t.Errorf("lease: %v", err)
	}
	if got := reserveNow(t, s); got >= whole || got < whole-2*room.Block || s.reserve.Lacks() != whole-got {
		t.Errorf("a lease left %d octets of the reserve's %d, counted as lacking %d", got, whole, s.reserve.Lacks())
	}
	d.on = false
	if _, _, err := s.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := reserveNow(t, s); got != whole || s.reserve.Lacks() != 0 {
		t.Errorf("with room again the reserve is of %d octets, was %d", got, whole)
	}
}

func reserveNow(t *testing.T, s *Store) int64 {
	t.Helper()
	fi, err := os.Stat(s.reservePath())
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

// TestReserveOfFullDisk is the same with a disk that is really full.
func TestReserveOfFullDisk(t *testing.T) {
	dir := t.TempDir()
	roomtest.Disk(t, dir, 16)
	s, err := Open(dir, Options{Reserve: withReserve})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	clear := roomtest.Fill(t, dir, 0)
	whole := reserveNow(t, s)
	mail := func(n int) error {
		_, err := s.Put(t.Context(), "mail/"+strconv.Itoa(n), strings.NewReader(strings.Repeat("x", 5000)), absent)
		return err
	}
	etag := blobtest.Put(t, s, "lease/a", "0", absent)
	for n := range 60 {
		if err := mail(n); !errors.Is(err, blob.ErrNoSpace) {
			t.Fatalf("mail %d: %v", n, err)
		}
		blobtest.Put(t, s, "ledger/"+strconv.Itoa(n), strings.Repeat("x", 5000), absent)
		etag = blobtest.Put(t, s, "lease/a", strconv.Itoa(n), blob.Cond{Match: etag})
	}
	if left, _, err := s.Free(t.Context()); err != nil || left != 0 {
		t.Errorf("%d octets are said to be left, %v", left, err)
	}
	if got := reserveNow(t, s); got <= 0 || got >= whole {
		t.Errorf("%d octets are left of the reserve's %d", got, whole)
	}
	// A process that follows opens it, full as it is.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clear2 := roomtest.Fill(t, dir, 0)
	if s, err = Open(dir, Options{Reserve: withReserve}); err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, s, "ledger/b", "text", absent)
	clear()
	clear2()
	if err := mail(0); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if got := reserveNow(t, s); got < whole {
		t.Errorf("with room again the reserve is of %d octets, was %d", got, whole)
	}
}
