package config

import "reflect"

// Border is what follows from something that speaks against a message (package policy): reject, quarantine, mark or
// ignore. In a [[domain]] what is empty is that of [border].
type Border struct {
	SPFFail         string `toml:"spf_fail" enum:"reject,quarantine,mark,ignore"`
	DMARCReject     string `toml:"dmarc_reject" enum:"reject,quarantine,mark,ignore"`
	DMARCQuarantine string `toml:"dmarc_quarantine" enum:"reject,quarantine,mark,ignore"`
	DNSError        string `toml:"dns_error" enum:"reject,mark,ignore"`
	DNSBLListed     string `toml:"dnsbl_listed" enum:"reject,quarantine,mark,ignore"`
}

// borderDefaults are those of policy.DefaultDomain: a test of package app compares the two.
func borderDefaults() Border {
	return Border{SPFFail: "mark", DMARCReject: "reject", DMARCQuarantine: "mark", DNSError: "mark", DNSBLListed: "reject"}
}

// fill gives a domain the defaults for what it doesn't say itself.
func (b *Border) fill(from Border) {
	own, all := reflect.ValueOf(b).Elem(), reflect.ValueOf(from)
	for i := range own.NumField() {
		if own.Field(i).String() == "" {
			own.Field(i).Set(all.Field(i))
		}
	}
}
