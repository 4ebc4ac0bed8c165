// Package roomtest gives tests a small disk, and fills it.
package roomtest

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"restante/spool/room"
)

// Free is what is left on the disk of a folder, in octets.
func Free(t *testing.T, dir string) int64 {
	t.Helper()
	left, _, err := room.Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// Fill leaves so many octets free on the disk of a folder, or none, until the function that it returns is called.
func Fill(t *testing.T, dir string, leave int64) (clear func()) {
	t.Helper()
	f, err := os.CreateTemp(dir, ".filler")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := []byte(strings.Repeat("filler\n\n", 8<<10))
	for err == nil && Free(t, dir) > leave {
		_, err = f.Write(b[:min(int64(len(b)), Free(t, dir)-leave)])
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(f.Name()); err != nil {
			t.Error(err)
		}
	}
}
