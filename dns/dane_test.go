package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"restante/dns/dnstest"
)

const daneZone = `
signed.test.               MX 10 mx.signed.test.
mx.signed.test.            A 192.0.2.1
_25._tcp.mx.signed.test.   TLSA 3 1 1 AABBCCDDEEFF00112233445566778899aabbccddeeff00112233445566778899
_2525._tcp.mx.signed.test. TLSA 2 0 2 00
bare.signed.test.          A 192.0.2.3
gone.signed.test.          A 192.0.2.4
alias.signed.test.         CNAME mx.signed.test.
own.signed.test.           CNAME bare.signed.test.
_25._tcp.own.signed.test.  TLSA 3 1 1 01
out.signed.test.           CNAME mx.plain.test.
_25._tcp.out.signed.test.  TLSA 3 1 1 02
_25._tcp.lone.signed.test. TLSA 3 1 1 03
plain.test.                MX 10 mx.signed.test.
mx.plain.test.             A 192.0.2.2
_25._tcp.mx.plain.test.    TLSA 3 1 1 04
in.plain.test.             CNAME mx.signed.test.
`

// signed is a resolver that may be believed, on a server that has verified signed.test.
func signed(t *testing.T, o Options) (*Resolver, *dnstest.Server) {
	t.Helper()
	s := dnstest.New(t, daneZone)
	s.Sign("signed.test")
	o.Servers, o.Exchange, o.TrustAD = []string{"192.0.2.53"}, s.Exchange, true
	return resolver(t, o), s
}

func TestDANE(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 inhosts.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, s := signed(t, Options{HostsFile: hosts})
	s.Fail("_25._tcp.gone.signed.test", dnstest.Servfail)
	s.Fail("inhosts.test", dnstest.Servfail)
	s.Fail("_25._tcp.mx.plain.test", dnstest.Servfail)
	for _, tt := range []struct {
		s    Server
		want string
	}{
		{Server{Host: "mx.signed.test"}, "mx.signed.test: 3 1 1 aabbcc"},
		{Server{Host: "MX.Signed.Test."}, "mx.signed.test: 3 1 1 aabbcc"},
		{Server{Host: "mx.signed.test", Port: 2525}, "mx.signed.test: 2 0 2 00"},
		{Server{Host: "mx.signed.test", Domain: "Signed.test."}, "mx.signed.test signed.test: 3 1 1 aabbcc"},
		{Server{Host: "mx.signed.test", Domain: "plain.test"}, "mx.signed.test: 3 1 1 aabbcc, by chance"}, // anybody could have named it, but it is what it is
		{Server{Host: "mx.signed.test", Domain: "plain.test", Must: true}, "insecure MX"},
		{Server{Host: "mx.signed.test", Domain: "nomx.signed.test", Must: true}, "mx.signed.test: 3 1 1 aabbcc"}, // the implicit MX
		{Server{Host: "bare.signed.test"}, "none"},
		{Server{Host: "bare.signed.test", Must: true}, "no records"},
		{Server{Host: "gone.signed.test"}, "failed"},
		{Server{Host: "alias.signed.test"}, "mx.signed.test alias.signed.test: 3 1 1 aabbcc"}, // the name behind an alias
		{Server{Host: "own.signed.test"}, "own.signed.test: 3 1 1 01"},                        // then the alias
		{Server{Host: "out.signed.test"}, "out.signed.test: 3 1 1 02"},                        // a signed alias of a name that isn't
		{Server{Host: "in.plain.test"}, "none"},                                               // an alias that isn't signed
		{Server{Host: "mx.plain.test"}, "none"},                                               // isn't asked for any: the server would fail
		{Server{Host: "lone.signed.test", Must: true}, "lone.signed.test: 3 1 1 03"},
		{Server{Host: "lone.signed.test"}, "none"},
		{Server{Host: "inhosts.test"}, "none"},
		{Server{Host: "192.0.2.1"}, "none"},
		{Server{Host: "192.0.2.1", Must: true}, "no records"},
		{Server{Host: "single"}, "none"},
	} {
		if tt.s.Port == 0 {
			tt.s.Port = 25
		}
		if got := said(r.DANE(t.Context(), tt.s)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.s, got, tt.want)
		}
	}
}

func said(d DANE, err error) string {
	switch {
	case errors.Is(err, ErrNoTLSA):
		return "no records"
	case errors.Is(err, ErrInsecureMX):
		return "insecure MX"
	case errors.Is(err, ErrNoDNSSEC):
		return "no resolver"
	case err != nil:
		return "failed"
	case len(d.Records) == 0:
		return "none"
	}
	out := strings.Join(d.Names, " ") + ":"
	for _, r := range d.Records {
		out += fmt.Sprintf(" %d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data[:min(3, len(r.Data))])
	}
	if !d.Guided {
		out += ", by chance"
	}
	return out
}

// What an unverified answer says binds nobody, and who isn't believed isn't asked.
func TestWhoIsBelieved(t *testing.T) {
	for _, tt := range []struct {
		server string
		o      Options
		want   string
	}{
		{"127.0.0.1:53", Options{}, "mx.signed.test: 3 1 1 aabbcc"},
		{"127.8.0.1:5353", Options{}, "mx.signed.test: 3 1 1 aabbcc"},
		{"[::1]:53", Options{}, "mx.signed.test: 3 1 1 aabbcc"},
		{"127.0.0.11:53", Options{}, "no resolver"}, // a container's, which hands on what others say
		{"192.0.2.53:53", Options{}, "no resolver"},
		{"192.0.2.53:53", Options{TrustAD: true}, "mx.signed.test: 3 1 1 aabbcc"},
	} {
		s := dnstest.New(t, daneZone)
		s.Sign(".")
		var asked atomic.Bool
		tt.o.Servers = []string{tt.server}
		tt.o.Exchange = func(ctx context.Context, q *mdns.Msg, server string) (*mdns.Msg, error) {
			if q.AuthenticatedData {
				asked.Store(true)
			}
			a, err := s.Exchange(ctx, q, server)
			if a != nil {
				a.AuthenticatedData = true // whoever stands between
			}
			return a, err
		}
		r := resolver(t, tt.o)
		if got := said(r.DANE(t.Context(), Server{Host: "mx.signed.test", Port: 25, Must: true})); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.server, got, tt.want)
		}
		believed := tt.want != "no resolver"
		if r.Secure() != believed || asked.Load() != believed {
			t.Errorf("%s: secure %v, asked for the bit %v, want %v", tt.server, r.Secure(), asked.Load(), believed)
		}
		if _, secure, err := r.LookupTLSA(t.Context(), "_25._tcp.mx.signed.test"); secure != believed || err != nil {
			t.Errorf("%s: secure %v, %v", tt.server, secure, err)
		}
	}
	for text, want := range map[string]bool{
		"nameserver 192.0.2.1\noptions edns0 trust-ad\n": true,
		"options ndots:2\noptions trust-ad":              true,
		"# options trust-ad\nnameserver ::1\n":           false,
		"search trust-ad\n":                              false,
	} {
		if trustAD(text) != want {
			t.Errorf("%q: trusted %v", text, !want)
		}
	}
}

// That a server has no TLSA records outlives the failure of DNS, as its address does; that they can't be known does not.
func TestNoTLSAOutlivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := signed(t, Options{})
		ask := func(host string) string { return said(r.DANE(t.Context(), Server{Host: host, Port: 25})) }
		if got := ask("bare.signed.test") + ", " + ask("mx.signed.test"); got != "none, mx.signed.test: 3 1 1 aabbcc" {
			t.Fatal(got)
		}
		s.Fail("", dnstest.Servfail)
		time.Sleep(time.Hour)
		if got := ask("bare.signed.test") + ", " + ask("mx.signed.test"); got != "none, mx.signed.test: 3 1 1 aabbcc" {
			t.Error("an hour later: " + got)
		}
		if got := ask("gone.signed.test"); got != "failed" {
			t.Error("what was never known: " + got)
		}
		s.Fail("", dnstest.None)
		s.Set(t, "mx.signed.test. A 192.0.2.1\nbare.signed.test. A 192.0.2.3\n_25._tcp.bare.signed.test. TLSA 3 1 1 05")
		time.Sleep(time.Hour)
		if got := ask("bare.signed.test") + ", " + ask("mx.signed.test"); got != "bare.signed.test: 3 1 1 05, none" {
			t.Error("changed: " + got)
		}
	})
}

func TestLookupTLSA(t *testing.T) {
	s := dnstest.Start(t, daneZone)
	s.Sign("signed.test")
	r := resolver(t, Options{Servers: []string{s.Addr()}, Timeout: 200 * time.Millisecond})
	for name, want := range map[string]string{
		"_25._tcp.mx.signed.test": "1 true <nil>", "_25._tcp.mx.plain.test": "1 false <nil>",
		"_25._tcp.none.signed.test": "0 true no such domain", "_25._tcp.none.test": "0 false no such domain",
	} {
		records, secure, err := r.LookupTLSA(t.Context(), name)
		why := err
		if e := new(net.DNSError); errors.As(err, &e) {
			why = e.Unwrap()
		}
		if got := fmt.Sprint(len(records), secure, why); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestLookupCAA(t *testing.T) {
	s := dnstest.New(t, `
caa.test.          CAA 0 issue "letsencrypt.org; validationmethods=http-01"
caa.test.          CAA 128 IssueWild ";"
own.caa.test.      CAA 0 issue "other.test"
broken.caa.test.   A 192.0.2.1
alias.none.test.   CNAME own.caa.test.
mx.none.test.      A 192.0.2.1
`)
	s.Fail("broken.caa.test", dnstest.Servfail)
	r := resolver(t, Options{Servers: []string{"192.0.2.53"}, Exchange: s.Exchange})
	for name, want := range map[string]string{
		"caa.test":          `caa.test [{false issue letsencrypt.org; validationmethods=http-01} {true issuewild ;}]`,
		"a.b.caa.test.":     `caa.test [{false issue letsencrypt.org; validationmethods=http-01} {true issuewild ;}]`,
		"x.own.caa.test":    `own.caa.test [{false issue other.test}]`,
		"alias.none.test":   `alias.none.test [{false issue other.test}]`,
		"mx.none.test":      ` []`,
		"a.broken.caa.test": `failed at broken.caa.test`,
	} {
		records, at, err := r.LookupCAA(t.Context(), name)
		got := fmt.Sprint(at, " ", records)
		if err != nil {
			got = "failed at " + at
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
