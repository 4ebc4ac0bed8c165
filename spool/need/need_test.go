package need

import (
	"net"
	"net/netip"
	"testing"
)

// TestAddr: no address is given twice, none can be a connection's own, and each can be listened at.
func TestAddr(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		addr := Addr(t)
		if port := netip.MustParseAddrPort(addr).Port(); seen[addr] || port < firstPort || port >= endPort {
			t.Fatal(addr)
		}
		seen[addr] = true
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if lock, err := net.ListenPacket("udp", addr); err == nil {
			lock.Close()
			t.Fatal("no lock at", addr)
		}
	}
}
