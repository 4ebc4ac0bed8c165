package dns

import (
	"testing"

	"restante/dns/dnstest"
)

func TestLookupAlias(t *testing.T) {
	s := dnstest.New(t, "a.example. CNAME b.example.\nb.example. A 192.0.2.1\n")
	r, err := New(Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.LookupAlias(t.Context(), "a.example"); err != nil || got != "b.example." {
		t.Error(got, err)
	}
	for _, name := range []string{"b.example", "c.example"} {
		if got, err := r.LookupAlias(t.Context(), name); !IsNotFound(err) {
			t.Error(name, got, err)
		}
	}
	if got, err := r.LookupHost(t.Context(), "a.example"); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	s.Fail("d.example", dnstest.Servfail)
	if got, err := r.LookupAlias(t.Context(), "d.example"); err == nil || IsNotFound(err) {
		t.Error(got, err)
	}
}
