package replay

import (
	"os"
	"testing"

	"restante/spool/need"
)

func TestMain(m *testing.M) {
	// The tests wait for backoffs and leases rather than for the processor.
	need.AtOnce(4)
	os.Exit(m.Run())
}
