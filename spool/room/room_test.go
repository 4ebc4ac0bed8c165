package room

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The reserve grows to its size, gives parts of it back, and grows again: also after a crash, and after somebody took it away.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reserve")
	r := OpenReserve(path, Steps{})
	check := func(when string, want int64) {
		t.Helper()
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() != want || r.Lacks() != Size-want {
			t.Errorf("%s: it is of %d octets and lacks %d, want %d", when, fi.Size(), r.Lacks(), want)
		}
	}
	check("new", Size)
	if !r.Release(1) {
		t.Error("nothing was released")
	}
	check("after one octet", Size-2*Block)
	r = OpenReserve(path, Steps{})
	check("opened again", Size)
	for r.Release(Block) {
	}
	check("given away", 0)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.Refill()
	check("made anew", Size)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !r.Release(1) || r.Release(1) || r.Lacks() != Size {
		t.Errorf("it was taken away, and lacks %d", r.Lacks())
	}
}

// What fails leaves it shorter, which is counted.
func TestReserveWithoutRoom(t *testing.T) {
	var broken error
	fail := func(_ string, do func() error) error {
		if broken != nil {
			return broken
		}
		return do()
	}
	r := OpenReserve(filepath.Join(t.TempDir(), "reserve"), Steps{Grow: fail, Shrink: fail})
	broken = errors.New("no")
	if r.Release(Block) || r.Lacks() != 0 {
		t.Errorf("it could not be cut, and lacks %d", r.Lacks())
	}
	broken = nil
	r.Release(Block)
	broken = errors.New("no")
	if r.Refill(); r.Lacks() != 2*Block {
		t.Errorf("it could not grow, and lacks %d", r.Lacks())
	}
}
