package config

import (
	"fmt"
	"net/netip"
	"reflect"
)

// Border is what follows from something that speaks against a message (package policy): reject, quarantine, mark or
// ignore. In a [[domain]] what is empty is that of [border].
type Border struct {
	SPFFail         string `toml:"spf_fail" enum:"reject,quarantine,mark,ignore"`
	DMARCReject     string `toml:"dmarc_reject" enum:"reject,quarantine,mark,ignore"`
	DMARCQuarantine string `toml:"dmarc_quarantine" enum:"reject,quarantine,mark,ignore"`
	DMARCIndirect   string `toml:"dmarc_indirect" enum:"reject,quarantine,mark,ignore"`
	FromUnclear     string `toml:"from_unclear" enum:"reject,quarantine,mark,ignore"`
	DNSError        string `toml:"dns_error" enum:"reject,mark,ignore"`
	DNSBLListed     string `toml:"dnsbl_listed" enum:"reject,quarantine,mark,ignore"`
	// Forwarders are clients for whose mail nothing of this follows.
	Forwarders []string `toml:"forwarders"`

	// ForwarderNets is Forwarders, parsed.
	ForwarderNets []netip.Prefix `toml:"-"`
}

// borderDefaults are those of policy.DefaultDomain: a test of package app compares the two.
func borderDefaults() Border {
	return Border{SPFFail: "mark", DMARCReject: "reject", DMARCQuarantine: "mark", DMARCIndirect: "mark", FromUnclear: "mark", DNSError: "mark", DNSBLListed: "reject"}
}

// fill gives a domain the defaults for what it doesn't say itself.
func (b *Border) fill(from Border) {
	own, all := reflect.ValueOf(b).Elem(), reflect.ValueOf(from)
	for i := range own.NumField() {
		if own.Field(i).IsZero() {
			own.Field(i).Set(all.Field(i))
		}
	}
}

// border reads the forwarders of all domains, and of those that have their own.
func (d *decoder) border(c *Config) {
	read := func(key string, b *Border) {
		b.ForwarderNets = d.networks(key, `forwarders = ["192.0.2.7", "2001:db8::/48"]`, b.Forwarders)
		for _, p := range b.ForwarderNets {
			if p.Bits() == 0 {
				d.bad(key, "name the forwarders alone, or write ignore for what nothing is to follow from", "%q is everybody", p)
			}
		}
	}
	read("border.forwarders", &c.Border)
	for i := range c.Domains {
		key := fmt.Sprintf("domain[%d].border.forwarders", i)
		if _, own := c.lines[key]; own {
			read(key, &c.Domains[i].Border)
		} else {
			c.Domains[i].Border.ForwarderNets = c.Border.ForwarderNets
		}
	}
}
