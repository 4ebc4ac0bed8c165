package replay

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	// The tests wait for backoffs and leases rather than for the processor.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
