// Package need is for tests that stand on a program of the machine. Only tests use it, and what they start programs with.
package need

import (
	"os"
	"testing"
)

// This skips the test when err says that something is missing, or fails it where RESTANTE_TEST_REQUIRE=1 asks for everything.
func This(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("RESTANTE_TEST_REQUIRE") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
