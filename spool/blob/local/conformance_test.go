package local

import (
	"os"
	"testing"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
)

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return conforming(t, Options{}) })
}

// conforming opens a store in a folder of its own. A Put that was given up may still be ending when its test has, so the
// folder is removed as soon as that can be done.
func conforming(t *testing.T, o Options) blob.Store {
	dir, err := os.MkdirTemp("", "restante-local-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for try := 0; ; try++ {
			if err := os.RemoveAll(dir); err == nil {
				return
			} else if try == 1000 {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	return s
}

func TestConformanceWithReserve(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return conforming(t, Options{Reserve: withReserve}) })
}
