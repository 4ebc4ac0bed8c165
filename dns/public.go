package dns

import "net/netip"

// carriers is what carriers and hosters put their customers in (RFC 6598): nobody outside can reach it, but
// strangers share it.
var carriers = netip.MustParsePrefix("100.64.0.0/10")

// Public reports an address that can be reached from anywhere. Others belong in no record and on no list.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	return !Internal(a) && !carriers.Contains(a)
}

// Internal reports an address that no stranger comes from: loopback, link-local or of a private network (RFC 1918,
// RFC 4193), or none at all. Carriers' addresses are neither Public nor Internal: nobody may be trusted for having one.
func Internal(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsGlobalUnicast() || a.IsPrivate()
}
