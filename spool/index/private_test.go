package index

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPrivate: the index names who wrote to whom; nobody but its owner may read it, one made by an earlier version included.
func TestPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	for range 2 {
		x, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			fi, err := os.Stat(path + suffix)
			if err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", suffix, fi.Mode(), err)
			}
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
