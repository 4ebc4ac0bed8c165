package s3_test

import (
	"errors"
	"strings"
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/s3test"
)

func TestConformance(t *testing.T) {
	server := s3test.Start(t)
	blobtest.Run(t, func(t *testing.T) blob.Store { return server.Open(t) })
}

// TestKeepAlive: with this option versitygw takes the body of a PUT that it refused for the next request on the connection, which must
// therefore not be used again.
func TestKeepAlive(t *testing.T) {
	s := s3test.Start(t, "--keep-alive").Open(t)
	blobtest.Put(t, s, "a", "first", absent)
	for range 50 {
		if _, err := s.Put(t.Context(), "a", strings.NewReader("second"), absent); !errors.Is(err, blob.ErrPrecondition) {
			t.Fatal(err)
		}
		if got, _ := blobtest.Read(t, s, "a", blob.Range{}); got != "first" {
			t.Fatalf("%q", got)
		}
	}
}
