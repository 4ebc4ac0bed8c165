package config

import (
	"net/netip"
	"slices"
	"strings"
)

// origin checks who the primary is never told of.
func (d *decoder) origin(key string, dom *Domain) {
	dom.TrustedNets = nil
	for _, text := range dom.Trusted {
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if a := p.Addr(); err == nil && a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		if err != nil {
			d.bad(key+".trusted", `write addresses or networks: trusted = ["192.0.2.0/24", "2001:db8::/48"]`, "%q is no network", text)
			continue
		}
		dom.TrustedNets = append(dom.TrustedNets, p.Masked())
	}
	slices.SortFunc(dom.TrustedNets, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
}
