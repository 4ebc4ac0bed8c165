package mem_test

import (
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/mem"
)

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return mem.New() })
}
