package config

import "testing"

func TestBorderOfADomain(t *testing.T) {
	c, err := parse("r.toml", []byte(`
hostname = "mx2.example.com"
[[domain]]
name = "a.example"
primary = ["mx"]
[domain.border]
dmarc_reject = "ignore"
[[domain]]
name = "b.example"
primary = ["mx"]
[border]
spf_fail = "reject"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := borderDefaults()
	want.SPFFail = "reject"
	if c.Domains[1].Border != want {
		t.Errorf("b.example: %+v", c.Domains[1].Border)
	}
	want.DMARCReject = "ignore"
	if c.Domains[0].Border != want {
		t.Errorf("a.example: %+v", c.Domains[0].Border)
	}
}
