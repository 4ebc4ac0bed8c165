package s3_test

import (
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/s3test"
)

func TestConformance(t *testing.T) {
	t.Run("plain", func(t *testing.T) { conform(t) })
	// versitygw then takes the body of a PUT that it refused for the next request.
	t.Run("keep-alive", func(t *testing.T) { conform(t, "--keep-alive") })
}

func conform(t *testing.T, args ...string) {
	server := s3test.Start(t, args...)
	blobtest.Run(t, func(t *testing.T) blob.Store { return server.Open(t) })
}
