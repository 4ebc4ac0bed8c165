package dns

import (
	"net/netip"
	"testing"
)

func TestPublic(t *testing.T) {
	for text, want := range map[string][2]bool{ // public, internal
		"192.0.2.1": {true, false}, "2001:db8::1": {true, false}, "::ffff:192.0.2.1": {true, false}, "100.63.255.255": {true, false}, "100.128.0.1": {true, false},
		"100.64.0.1": {false, false}, "::ffff:100.127.0.1": {false, false},
		"127.0.0.1": {false, true}, "::1": {false, true}, "10.1.2.3": {false, true}, "192.168.0.1": {false, true}, "::ffff:172.16.0.1": {false, true}, "fd00::1": {false, true},
		"169.254.0.1": {false, true}, "fe80::1%eth0": {false, true}, "0.0.0.0": {false, true}, "::": {false, true}, "224.0.0.1": {false, true},
	} {
		a := netip.MustParseAddr(text)
		if got := [2]bool{Public(a), Internal(a)}; got != want {
			t.Errorf("%s: %v, not %v", text, got, want)
		}
	}
	if Public(netip.Addr{}) || !Internal(netip.Addr{}) {
		t.Error("no address at all is that of a stranger")
	}
}
