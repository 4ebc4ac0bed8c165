// Package need is for tests that stand on a program of the machine. Only tests use it, and what they start programs with. It
// lies beneath everything, since tests of every folder need it.
package need

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
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

// Addr is Free for a test.
func Addr(t testing.TB) string {
	t.Helper()
	addr, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// The ports that Free chooses from lie beneath those that a system gives to connections and to listeners of port 0 (Linux from
// 32768, others from 49152).
const firstPort, endPort = 10_000, 32_768

var free struct {
	sync.Mutex
	held []net.PacketConn
}

// Free is a host:port of 127.0.0.1 where nobody listens, for programs that can't say which port they took, and for servers that come
// later. Nobody else is given it while this process lives: the UDP port of the same number is its lock.
func Free() (string, error) {
	free.Lock()
	defer free.Unlock()
	var errs error
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(endPort-firstPort)))
		lock, err := net.ListenPacket("udp", addr)
		if err != nil {
			errs = err
			continue
		}
		free.held = append(free.held, lock)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			errs = err
			continue
		}
		return addr, l.Close()
	}
	return "", fmt.Errorf("no port of 127.0.0.1 from %d to %d is free: %w", firstPort, endPort-1, errs)
}

// AtOnce lets n tests of a package run side by side, since they wait for other things than the processor. TestMain calls it.
func AtOnce(n int) {
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}
