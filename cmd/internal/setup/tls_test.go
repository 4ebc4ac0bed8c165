package setup

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"restante/dns"
	"restante/dns/dnstest"
)

// serve puts another certificate on our port 25.
func serve(name string, left time.Duration) func(*rig) {
	return func(r *rig) { r.at["127.0.0.1:2525"] = r.smtp(r.t, us, r.ca.issue(r.t, name, time.Now().Add(left))) }
}

func TestCertificate(t *testing.T) {
	day := 24 * time.Hour
	for _, o := range []one{
		{name: "good", check: "certificate", result: OK, found: "mx2.example.net, by Test CA, until "},
		{name: "self-signed", change: serve("self "+us, 90*day), check: "certificate", result: Note, found: "self-signed"},
		{name: "another's", change: serve("www.example.net", 90*day), check: "certificate", result: Warn, found: "www.example.net"},
		{name: "ended", change: serve(us, -day), check: "certificate", result: Warn, found: "it ended on"},
		{name: "ends", change: serve(us, 5*day), check: "certificate", result: Warn, found: "it ends on"},
		{name: "none yet", change: func(r *rig) { r.node.Running = false }, check: "certificate", result: Note, found: "none yet"},
		{name: "unreadable", change: func(r *rig) { r.node.Running, r.node.Cert = false, "/nonexistent" }, check: "certificate", result: Note, found: "can't be read"},
		{name: "from its file", change: func(r *rig) {
			r.node.Running, r.node.Cert = false, filepath.Join(r.t.TempDir(), "c.pem")
			der := r.ca.issue(r.t, us, time.Now().Add(90*day)).Certificate[0]
			if err := os.WriteFile(r.node.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
				r.t.Fatal(err)
			}
		}, check: "certificate", result: OK},
	} {
		t.Run(o.name, o.run)
	}
}

func TestTLSA(t *testing.T) {
	const another = "3 1 1 0000000000000000000000000000000000000000000000000000000000000000"
	primary := "_25._tcp.mail.example.com. TLSA " + another + "\n"
	for _, o := range []one{
		{name: "nobody has one", check: "TLSA", result: OK, found: "none", mend: "may have one: _25._tcp.mx2.example.net. TLSA 3 1 1 "},
		{name: "the primary has one", zone: primary, change: func(r *rig) { r.dns.Sign("example.com") }, check: "TLSA", result: Warn, found: "mail.example.com has one", record: "_25._tcp.mx2.example.net. TLSA 3 1 1 "},
		{name: "the primary has one, unsigned", zone: primary, check: "TLSA", result: Note, found: "mail.example.com has one; the resolver", record: "TLSA 3 1 1 "},
		{name: "not ours", zone: "_25._tcp.mx2.example.net. TLSA " + another + "\n", check: "TLSA", result: Fail, record: "TLSA 3 1 1 "},
		{name: "of no use", zone: "_25._tcp.mx2.example.net. TLSA 1 1 1 00\n", check: "TLSA", result: Warn, found: "usages 2 and 3"},
		{name: "no certificate", zone: "_25._tcp.mx2.example.net. TLSA " + another + "\n", change: func(r *rig) { r.node.Running = false }, check: "TLSA", result: Note},
	} {
		t.Run(o.name, o.run)
	}
}

// TestOurTLSAFits: the record that is printed is the one that is then found to fit, signed or not; and every form of one.
func TestOurTLSAFits(t *testing.T) {
	r := newRig(t, good)
	certs, err := (&run{World: r.World, node: r.node}).certs(t.Context())
	if err != nil || len(certs) == 0 {
		t.Fatal(err)
	}
	r.dns.Set(t, good+ourTLSA(us, certs[0]).String()+"\n")
	if rows := r.rows(t, "TLSA"); rows[0].Result != Note || !strings.Contains(rows[0].Found, "fits the certificate; the resolver can't tell") {
		t.Errorf("%+v", rows)
	}
	var other mdns.TLSA // as others compute it
	if err := other.Sign(3, 1, 1, certs[0]); err != nil || ourTLSA(us, certs[0]).Value != "3 1 1 "+other.Certificate {
		t.Error(other.Certificate, err)
	}
	chain := append(certs, r.ca.cert)
	for _, tc := range []struct {
		rec  dns.TLSA
		fits bool
	}{
		{dns.TLSA{Usage: 3, Selector: 0, Matching: 0, Data: chain[0].Raw}, true},
		{dns.TLSA{Usage: 3, Selector: 1, Matching: 0, Data: chain[0].RawSubjectPublicKeyInfo}, true},
		{dns.TLSA{Usage: 2, Selector: 0, Matching: 0, Data: chain[1].Raw}, true},
		{dns.TLSA{Usage: 3, Selector: 0, Matching: 0, Data: chain[1].Raw}, false},
		{dns.TLSA{Usage: 3, Selector: 2, Matching: 0, Data: chain[0].Raw}, false},
		{dns.TLSA{Usage: 3, Selector: 0, Matching: 9, Data: chain[0].Raw}, false},
		{dns.TLSA{Usage: 3, Selector: 0, Matching: 0}, false},
	} {
		if got := fits(tc.rec, chain); got != tc.fits {
			t.Errorf("%d %d %d: %v", tc.rec.Usage, tc.rec.Selector, tc.rec.Matching, got)
		}
	}
}

func TestCAA(t *testing.T) {
	web := func(r *rig) {
		r.node.Webmail = &Webmail{Hostnames: []string{us}, TLS: "acme", ACMECA: "https://acme-v02.api.letsencrypt.org/directory"}
	}
	for _, o := range []one{
		{name: "none", change: web, check: "CAA", result: OK, found: "any CA"},
		{name: "ours", zone: "example.net. CAA 0 issue \"letsencrypt.org\"\n", change: web, check: "CAA", result: OK, found: "says example.net"},
		{name: "another's", zone: "example.net. CAA 0 issue \"digicert.com\"\n", change: web, check: "CAA", result: Fail, record: `example.net. CAA 0 issue "letsencrypt.org"`},
		{name: "nobody's", zone: "mx2.example.net. CAA 0 issue \";\"\n", change: web, check: "CAA", result: Fail},
		{name: "mail only", zone: "example.net. CAA 0 iodef \"mailto:a@example.net\"\n", change: web, check: "CAA", result: OK},
		{name: "with conditions", zone: "example.net. CAA 0 issue \"letsencrypt.org; validationmethods=dns-01\"\n", change: web, check: "CAA", result: Note, mend: "validationmethods=dns-01"},
		{name: "critical", zone: "example.net. CAA 128 tbs \"x\"\n", change: web, check: "CAA", result: Fail, found: "tbs"},
		{name: "a CA of one's own", zone: "example.net. CAA 0 issue \"letsencrypt.org\"\n", change: func(r *rig) { web(r); r.node.Webmail.ACMECA = "https://ca.example.net/acme" },
			check: "CAA", result: Note, found: "ca.example.net"},
		{name: "DNS down", change: func(r *rig) { web(r); r.dns.Fail("example.net", dnstest.Servfail) }, check: "CAA", result: Fail},
	} {
		t.Run(o.name, o.run)
	}
}

func TestMTASTS(t *testing.T) {
	const there = "_mta-sts.example.com. TXT \"v=STSv1; id=20261121\"\nmta-sts.example.com. A 192.0.2.80\n"
	answer := func(kind string, code int, text string) func(*rig) {
		return func(r *rig) {
			r.at["192.0.2.80:443"] = r.web(r.t, "mta-sts.example.com", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Content-Type", kind)
				if code >= 300 && code < 400 {
					w.Header().Set("Location", "/elsewhere")
				}
				w.WriteHeader(code)
				fmt.Fprint(w, text)
			}))
		}
	}
	policy := func(mode, mx string) func(*rig) {
		return answer("text/plain; charset=utf-8", 200, "version: STSv1\r\nmode: "+mode+"\r\nmx: mail.example.com\r\nmx: "+mx+"\r\nmax_age: 86400\r\n")
	}
	both := func(a, b func(*rig)) func(*rig) { return func(r *rig) { a(r); b(r) } }
	for _, o := range []one{
		{name: "none", check: "MTA-STS", result: OK, found: "no policy"},
		{name: "two records", zone: there + "_mta-sts.example.com. TXT \"v=STSv1; id=2\"\n", check: "MTA-STS", result: Warn, found: "2 records"},
		{name: "names us", zone: there, change: policy("enforce", us), check: "MTA-STS", result: OK, found: "(mode: enforce) names mx2.example.net"},
		{name: "names all of the zone", zone: there, change: policy("enforce", "*.example.net"), check: "MTA-STS", result: OK},
		{name: "a star is one label", zone: there, change: policy("enforce", "*.net"), check: "MTA-STS", result: Fail},
		{name: "not us", zone: there, change: policy("enforce", "other.example.com"), check: "MTA-STS", result: Fail, mend: "mx: mx2.example.net\nthen change the id in the record (now 20261121)"},
		{name: "not us, testing", zone: there, change: policy("testing", "other.example.com"), check: "MTA-STS", result: Warn},
		{name: "not us, none", zone: there, change: policy("none", "other.example.com"), check: "MTA-STS", result: OK},
		{name: "our certificate isn't good", zone: there, change: both(policy("enforce", us), serve("self "+us, time.Hour)), check: "MTA-STS", result: Fail, found: "whose certificate senders refuse"},
		{name: "nobody answers", zone: there, check: "MTA-STS", result: Warn, found: "no answer in time"},
		{name: "no name", zone: "_mta-sts.example.com. TXT \"v=STSv1; id=1\"\n", check: "MTA-STS", result: Warn, found: "has no address"},
		{name: "404", zone: there, change: answer("text/plain", 404, "no"), check: "MTA-STS", result: Warn, found: "404"},
		{name: "redirect", zone: there, change: answer("text/plain", 302, ""), check: "MTA-STS", result: Warn, found: "redirects"},
		{name: "a page", zone: there, change: answer("text/html", 200, "<html>"), check: "MTA-STS", result: Warn, found: "text/html"},
		{name: "nonsense", zone: there, change: answer("text/plain", 200, strings.Repeat("x", 100<<10)), check: "MTA-STS", result: Warn, found: "version: STSv1"},
		{name: "no mode", zone: there, change: answer("text/plain", 200, "version: STSv1\n"), check: "MTA-STS", result: Warn, found: "its mode"},
		{name: "a stranger's certificate", zone: there, change: func(r *rig) { policy("enforce", us)(r); r.Roots = x509.NewCertPool() }, check: "MTA-STS", result: Warn, found: "certificate"},
	} {
		t.Run(o.name, o.run)
	}
}
