package config

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestBorderOfADomain(t *testing.T) {
	c, err := parse("r.toml", []byte(`
hostname = "mx2.example.com"
[[domain]]
name = "a.example"
primary = ["mx"]
[domain.border]
dmarc_reject = "ignore"
forwarders = []
[[domain]]
name = "b.example"
primary = ["mx"]
[border]
spf_fail = "reject"
forwarders = ["192.0.2.7", "2001:db8::1/48"]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := borderDefaults()
	want.SPFFail = "reject"
	want.Forwarders = []string{"192.0.2.7", "2001:db8::1/48"}
	want.ForwarderNets = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/48")}
	if !reflect.DeepEqual(c.Domains[1].Border, want) {
		t.Errorf("b.example: %+v", c.Domains[1].Border)
	}
	want.DMARCReject = "ignore"
	want.Forwarders, want.ForwarderNets = []string{}, nil
	if !reflect.DeepEqual(c.Domains[0].Border, want) {
		t.Errorf("a.example: %+v", c.Domains[0].Border)
	}
}
