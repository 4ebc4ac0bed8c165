package local_test

import (
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/local"
)

// open opens a store in a folder of its own.
func open(t *testing.T) blob.Store {
	s, err := local.Open(t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) { blobtest.Run(t, open) }
