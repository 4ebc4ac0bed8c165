package dns

import (
	"context"
	"net/netip"

	"github.com/miekg/dns"
)

// LookupIPv4 returns the A records of a name from DNS alone, without a question for AAAA: what lists of addresses answer
// with (RFC 5782 2.1).
func (r *Resolver) LookupIPv4(ctx context.Context, name string) ([]netip.Addr, error) {
	a, err := r.lookup(ctx, name, dns.TypeA, false)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, rr := range a.records {
		if x, ok := rr.(*dns.A); ok {
			if ip, ok := netip.AddrFromSlice(x.A.To4()); ok {
				out = append(out, ip)
			}
		}
	}
	if len(out) == 0 {
		return nil, notFound(name, ErrNoRecord)
	}
	return out, nil
}
