// Package need is for tests that stand on a program of the machine. Only tests use it, and what they start programs with. It
// lies beneath everything, since tests of every folder need it.
package need

import (
	"flag"
	"net"
	"os"
	"os/exec"
	"strconv"
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

// Program finds a program in PATH or among those of the system, as This does when there is none.
func Program(t testing.TB, name string) (path string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if _, there := os.Stat("/usr/sbin/" + name); there == nil {
			return "/usr/sbin/" + name
		}
	}
	This(t, err)
	return path
}

// Addr is a host:port of 127.0.0.1 that was free just now, for programs that can't say which they took.
func Addr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// AtOnce lets n tests of a package run side by side, since they wait for other things than the processor. TestMain calls it.
func AtOnce(n int) {
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}
