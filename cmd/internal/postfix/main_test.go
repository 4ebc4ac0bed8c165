package postfix

import (
	"os"
	"testing"

	"restante/spool/need"
)

func TestMain(m *testing.M) {
	// The tests wait for Postfix rather than for the processor.
	need.AtOnce(4)
	os.Exit(m.Run())
}
