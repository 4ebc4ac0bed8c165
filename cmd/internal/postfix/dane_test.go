package postfix

import (
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"restante/dns"
	"restante/dns/dnstest"
	"restante/relay/smtpc"
	"restante/spool/need"
)

// TestDANE: a Postfix primary is known by the TLSA record that an admin makes with openssl, and by no other.
func TestDANE(t *testing.T) {
	t.Parallel()
	need.This(t, Missing())
	need.Program(t, "openssl")
	cert := certificate(t)
	p, err := Start(t.Context(), Options{Listen: need.Addr(t), Main: map[string]string{"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(p.Listen)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "openssl x509 -in "+cert+" -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r").Output()
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ := strings.Cut(string(out), " ")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(record string) (smtpc.Offers, error) {
		names := dnstest.New(t, "mail.example.test. A 127.0.0.1\n_"+port+"._tcp.mail.example.test. TLSA "+record+"\n")
		names.Sign("example.test")
		r, err := dns.New(dns.Options{Servers: []string{"127.0.0.1"}, Exchange: names.Exchange})
		if err != nil {
			t.Fatal(err)
		}
		c, err := (&smtpc.Dialer{Hostname: "mx2.example.test", Resolver: r.Lasting(), DANE: r}).Dial(t.Context(), smtpc.Target{Host: "mail.example.test", Port: n})
		if err != nil {
			return smtpc.Offers{}, err
		}
		defer c.Quit()
		return c.Offers(), nil
	}
	if o, err := dial("3 1 1 " + key); err != nil || o.Verified != smtpc.VerifiedDANE {
		t.Errorf("%s, %v", o.Protection(), err)
	}
	if _, err := dial("3 1 1 " + strings.Repeat("ab", 32)); !errors.Is(err, smtpc.ErrDANE) || !strings.Contains(err.Error(), key) {
		t.Errorf("another record: %v", err)
	}
}
