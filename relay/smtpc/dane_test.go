package smtpc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/dns"
	"restante/dns/dnstest"
	"restante/relay/sink"
	"restante/spool/need"
)

// issued is a certificate with its key, and what issued it.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate for names; none: a CA. by nil: it issues itself.
func issue(t *testing.T, by *issued, valid time.Duration, names ...string) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(valid), BasicConstraintsValid: true, IsCA: len(names) == 0}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

// record is the text of a TLSA record for a certificate.
func record(usage, selector, matching int, c *issued) string {
	data := c.Raw
	if selector == selectKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("%d %d %d %x", usage, selector, matching, data)
}

// daneServer is a server whose certificates can be changed.
type daneServer struct {
	*sink.Server
	port  string
	chain []*issued
	sni   string
}

func startDANE(t *testing.T) *daneServer {
	t.Helper()
	s := &daneServer{}
	s.Server = startSink(t, sink.Options{TLS: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		s.sni = h.ServerName
		out := &tls.Certificate{PrivateKey: s.chain[0].key}
		for _, c := range s.chain {
			out.Certificate = append(out.Certificate, c.Raw)
		}
		return out, nil
	}}})
	var err error
	if _, s.port, err = net.SplitHostPort(s.Addr()); err != nil {
		t.Fatal(err)
	}
	return s
}

// dialer asks a resolver that knows the server as mx.signed.test, with these TLSA records.
func (s *daneServer) dialer(t *testing.T, records ...string) (*Dialer, *dnstest.Server) {
	t.Helper()
	zone := "plain.test. MX 10 mx.signed.test.\nsigned.test. MX 10 mx.signed.test.\nmx.signed.test. A 127.0.0.1\nmx.plain.test. A 127.0.0.1\n"
	for _, r := range records {
		zone += fmt.Sprintf("_%[1]s._tcp.mx.signed.test. TLSA %[2]s\n_%[1]s._tcp.mx.plain.test. TLSA %[2]s\n", s.port, r)
	}
	names := dnstest.New(t, zone)
	names.Sign("signed.test")
	r, err := dns.New(dns.Options{Servers: []string{"127.0.0.1:53"}, Exchange: names.Exchange})
	if err != nil {
		t.Fatal(err)
	}
	return &Dialer{Hostname: "mx2.test", Resolver: r.Lasting(), DANE: r}, names
}

func (s *daneServer) target(host string) Target {
	tg := target(s.Addr())
	tg.Host, tg.Name = host, ""
	return tg
}

// says is how a connection to a server was verified, or why there is none.
func says(c *Conn, err error) string {
	var e *Error
	switch {
	case errors.Is(err, ErrDANE):
		return "no match"
	case errors.Is(err, dns.ErrNoTLSA):
		return "no records"
	case errors.Is(err, dns.ErrNoDNSSEC):
		return "no resolver"
	case errors.As(err, &e):
		return "failed at " + string(e.Stage)
	case err != nil:
		return err.Error()
	}
	defer c.Close()
	o := c.Offers()
	if o.TLS == "" {
		return "plain"
	}
	if o.Verified == "" {
		return "unverified"
	}
	return o.Verified
}

// daneCase is a server with its records, and how it is verified: VerifiedDANE, "no match", or "unverified".
type daneCase struct {
	name    string
	chain   []*issued
	records []string
	want    string
}

// daneCases are servers that all are to be mx.signed.test.
func daneCases(t *testing.T) []daneCase {
	const day = 24 * time.Hour
	ca, other := issue(t, nil, day), issue(t, nil, day)
	middle := issue(t, ca, day)
	leaf := issue(t, middle, day, "mx.signed.test")
	odd := issue(t, nil, -day, "elsewhere.test") // of another name, expired, its own issuer
	lone := issue(t, nil, day, "mx.signed.test")
	expired := issue(t, ca, -day, "mx.signed.test")
	elsewhere := issue(t, ca, day, "elsewhere.test")
	domain := issue(t, ca, day, "signed.test")
	full := []*issued{leaf, middle, ca}
	return []daneCase{
		{"key", full, []string{record(3, 1, 1, leaf)}, VerifiedDANE},
		{"capitals", full, []string{strings.ToUpper(record(3, 1, 1, leaf))}, VerifiedDANE},
		{"certificate", full, []string{record(3, 0, 1, leaf)}, VerifiedDANE},
		{"SHA-512", full, []string{record(3, 1, 2, leaf)}, VerifiedDANE},
		{"the whole certificate", full, []string{record(3, 0, 0, leaf)}, VerifiedDANE},
		{"the whole key", full, []string{record(3, 1, 0, leaf)}, VerifiedDANE},
		{"name and dates don't count", []*issued{odd}, []string{record(3, 1, 1, odd)}, VerifiedDANE},
		{"another key", full, []string{record(3, 1, 1, other)}, "no match"},
		{"the issuer isn't the certificate", full, []string{record(3, 1, 1, ca)}, "no match"},
		{"two keys", full, []string{record(3, 1, 1, other), record(3, 1, 1, leaf)}, VerifiedDANE},
		{"the strongest digest counts", full, []string{record(3, 1, 2, other), record(3, 1, 1, leaf)}, "no match"},
		{"of each kind", full, []string{record(3, 0, 2, other), record(3, 1, 1, leaf)}, VerifiedDANE},

		{"issuer", full, []string{record(2, 0, 1, ca)}, VerifiedDANE},
		{"issuer's key", full, []string{record(2, 1, 2, ca)}, VerifiedDANE},
		{"one in between", []*issued{leaf, middle}, []string{record(2, 1, 1, middle)}, VerifiedDANE},
		{"issuer that isn't sent", []*issued{leaf, middle}, []string{record(2, 0, 1, ca)}, "no match"},
		{"issuer in the record", []*issued{leaf, middle}, []string{record(2, 0, 0, ca)}, VerifiedDANE},
		{"issuer that did not issue it", []*issued{odd, ca}, []string{record(2, 0, 1, ca)}, "no match"},
		{"the certificate isn't its issuer", []*issued{lone}, []string{record(2, 0, 1, lone)}, "no match"},
		{"expired", []*issued{expired, ca}, []string{record(2, 0, 1, ca)}, "no match"},
		{"another name", []*issued{elsewhere, ca}, []string{record(2, 0, 1, ca)}, "no match"},
		{"the domain's name, no MX", []*issued{domain, ca}, []string{record(2, 0, 1, ca)}, "no match"},

		{"PKIX alone", full, []string{record(1, 1, 1, leaf), record(0, 1, 1, ca)}, "unverified"},
		{"PKIX beside", full, []string{record(1, 1, 1, leaf), record(3, 1, 1, leaf)}, VerifiedDANE},
		{"unknown kinds", full, []string{record(3, 1, 3, leaf), record(3, 2, 1, leaf), record(9, 1, 1, leaf)}, "unverified"},
		{"cut short", full, []string{"3 1 1 aabb", "3 0 0 30", "2 1 0 30"}, "unverified"},
		{"none", full, nil, "unverified"},
	}
}

func TestDANE(t *testing.T) {
	s := startDANE(t)
	for _, tt := range daneCases(t) {
		s.chain = tt.chain
		d, _ := s.dialer(t, tt.records...)
		if got := says(d.Dial(t.Context(), s.target("mx.signed.test"))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if len(tt.records) > 0 && s.sni != "mx.signed.test" {
			t.Errorf("%s: asked for %q", tt.name, s.sni)
		}
		if got := says(d.Dial(t.Context(), s.target("mx.plain.test"))); got != "unverified" {
			t.Errorf("%s: records that aren't signed: %s", tt.name, got)
		}
		must := s.target("mx.signed.test")
		must.TLS.Mode = TLSDANE
		want := map[string]string{"unverified": "failed at tlsa"}[tt.want]
		if want == "" {
			want = tt.want
		}
		if tt.records == nil {
			want = "no records"
		}
		if got := says(d.Dial(t.Context(), must)); got != want {
			t.Errorf("%s, dane: %s, want %s", tt.name, got, want)
		}
	}

	ca := issue(t, nil, time.Hour)
	domain, leaf := issue(t, ca, time.Hour, "signed.test"), issue(t, ca, time.Hour, "mx.signed.test")
	full := []*issued{leaf, ca}
	s.chain = []*issued{domain, ca}
	d, _ := s.dialer(t, record(2, 0, 1, ca))
	tg := s.target("mx.signed.test")
	tg.Domain = "signed.test"
	if got := says(d.Dial(t.Context(), tg)); got != VerifiedDANE {
		t.Errorf("the name of the domain whose MX it is: %s", got)
	}
	s.chain, tg.Domain = full, "plain.test"
	d, _ = s.dialer(t, record(3, 1, 1, leaf))
	c, err := d.Dial(t.Context(), tg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if o := c.Offers(); !o.Misled || !strings.HasSuffix(o.Protection(), "verified by dane for a name from MX records that aren't signed") {
		t.Errorf("found by MX records that aren't signed: %s", o.Protection())
	}
	tg.TLS.Mode = TLSDANE
	if _, err := d.Dial(t.Context(), tg); !errors.Is(err, dns.ErrInsecureMX) {
		t.Errorf("found by MX records that aren't signed, dane: %v", err)
	}
}

// TestAgreesWithOpenSSL asks another implementation of RFC 7671 about the same servers and records.
func TestAgreesWithOpenSSL(t *testing.T) {
	need.Program(t, "openssl")
	s := startDANE(t)
	for _, tt := range daneCases(t) {
		if tt.want == "unverified" {
			continue // the rules of RFC 7672 for SMTP, of which it knows nothing
		}
		s.chain = tt.chain
		args := []string{"s_client", "-starttls", "smtp", "-connect", s.Addr(), "-brief", "-verify_return_error", "-dane_ee_no_namechecks", "-dane_tlsa_domain", "mx.signed.test"}
		for _, r := range tt.records {
			args = append(args, "-dane_tlsa_rrdata", r)
		}
		out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
		if got := err == nil; got != (tt.want == VerifiedDANE) {
			t.Errorf("%s: we say %s, openssl: %v\n%s", tt.name, tt.want, err, out)
		}
	}
}

// Nothing goes out in plain, or to anybody, where records say who the server is.
func TestDANEHasNoWayRound(t *testing.T) {
	leaf := issue(t, nil, time.Hour, "mx.signed.test")
	s := startDANE(t)
	s.chain = []*issued{leaf}
	right := record(3, 1, 1, leaf)
	tg := s.target("mx.signed.test")

	d, names := s.dialer(t, right)
	names.Fail("_"+s.port+"._tcp.mx.signed.test", dnstest.Servfail)
	_, err := d.Dial(t.Context(), tg)
	var de *net.DNSError
	if got := says(nil, err); got != "failed at tlsa" || errors.As(err, &de) {
		t.Errorf("records that can't be known: %v", err)
	}

	d, _ = s.dialer(t, right)
	s.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageTLS, Drop: sink.DropBefore, Count: 1}}})
	if got := says(d.Dial(t.Context(), tg)); got != "failed at tls" {
		t.Errorf("handshake cut: %s", got)
	}
	if got := says(d.Dial(t.Context(), tg)); got != VerifiedDANE {
		t.Errorf("after that: %s", got)
	}
	s.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageStartTLS, Reply: "454 4.7.0 no"}}})
	if got := says(d.Dial(t.Context(), tg)); got != "failed at starttls" {
		t.Errorf("STARTTLS refused: %s", got)
	}
	s.SetFaults(sink.Faults{})
	s.SetOffers(plain())
	for _, records := range []string{right, record(1, 1, 1, leaf)} {
		d, _ = s.dialer(t, records)
		if got := says(d.Dial(t.Context(), tg)); got != "failed at starttls" {
			t.Errorf("STARTTLS not offered, %s: %s", records, got)
		}
	}
	s.SetOffers(sink.DefaultOffers())
	tg.TLS.Mode = TLSDANE
	d.DANE = nil
	if got := says(d.Dial(t.Context(), tg)); got != "no resolver" {
		t.Errorf("nobody to ask: %s", got)
	}
	// A server that is reached by its address is known by its name.
	d, _ = s.dialer(t, right)
	byAddress := s.target("127.0.0.1")
	byAddress.TLS = TLSPolicy{Mode: TLSDANE, ServerName: "mx.signed.test"}
	if got := says(d.Dial(t.Context(), byAddress)); got != VerifiedDANE {
		t.Errorf("by address: %s", got)
	}
}

// A message with REQUIRETLS goes to a server that was verified and offers it, and to no other (RFC 8689 4.2.1).
func TestRequireTLSStaysInside(t *testing.T) {
	leaf := issue(t, nil, time.Hour, "mx.signed.test")
	s := startDANE(t)
	s.chain = []*issued{leaf}
	offering := sink.DefaultOffers()
	offering.RequireTLS = true
	for _, tt := range []struct {
		name   string
		offers sink.Offers
		host   string
		want   string
	}{
		{"verified", offering, "mx.signed.test", ""},
		{"unverified", offering, "mx.plain.test", "has a certificate that nothing vouches for"},
		{"misled", offering, "mx.signed.test/plain.test", "was found by MX records that aren't signed"},
		{"not offered", sink.DefaultOffers(), "mx.signed.test", "doesn't offer REQUIRETLS"},
		{"in plain", plain(), "mx.plain.test", "was reached in plain"},
	} {
		s.SetOffers(tt.offers)
		d, _ := s.dialer(t, record(3, 1, 1, leaf))
		host, domain, _ := strings.Cut(tt.host, "/")
		tg := s.target(host)
		tg.Domain = domain
		c, err := d.Dial(t.Context(), tg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.Offers().KeepsTLS(); got != (tt.want == "") {
			t.Errorf("%s: keeps TLS: %v (%s)", tt.name, got, c.Offers().Protection())
		}
		before := len(s.Messages())
		r, err := c.Mail(t.Context(), Mail{RequireTLS: true})
		if err != nil {
			t.Fatal(err)
		}
		step := fmt.Sprint(r, " ", errors.Is(r.Cause, ErrUnsupported))
		c.Reset(t.Context()) // what follows would show that it doesn't work
		var got string
		body := "TLS-Required: No\r\n\r\nx\r\n" // REQUIRETLS goes before it (RFC 8689 4.1)
		next := []*Transaction{{Mail: Mail{RequireTLS: true}, Rcpts: []Rcpt{{Address: "c@d.test"}}, Size: int64(len(body)), Body: func() (io.Reader, error) { return strings.NewReader(body), nil }}}
		err = c.Run(t.Context(), func() *Transaction {
			if len(next) == 0 {
				return nil
			}
			n := next[0]
			next = nil
			return n
		}, nil, func(_ *Transaction, res *Result) error {
			got = fmt.Sprint(res.Mail, " ", errors.Is(res.Mail.Cause, ErrUnsupported))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		sent := s.Messages()[before:]
		switch {
		case tt.want == "":
			if len(sent) != 1 || strings.Join(sent[0].MailParams, " ") != fmt.Sprintf("SIZE=%d REQUIRETLS", len(body)) || !strings.HasPrefix(step, "250") {
				t.Errorf("%s: %s, %+v", tt.name, step, sent)
			}
		case len(sent) != 0 || got != step || !strings.HasPrefix(got, "550 5.7.30 ") || !strings.Contains(got, tt.want) || !strings.HasSuffix(got, " true"):
			t.Errorf("%s: %s; %s; %d sent", tt.name, step, got, len(sent))
		}
	}
}

// What the configuration says about a certificate counts, whatever DNS says; and it is told how it was verified.
func TestVerifiedBy(t *testing.T) {
	ca := issue(t, nil, time.Hour)
	leaf := issue(t, ca, time.Hour, "mx.signed.test")
	s := startDANE(t)
	s.chain = []*issued{leaf}
	d, _ := s.dialer(t, record(3, 1, 1, ca)) // not its key
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	_, key := Fingerprints(leaf.Certificate)
	for _, tt := range []struct {
		p                  TLSPolicy
		domain, want, said string
	}{
		{TLSPolicy{Mode: TLSRequired, RootCAs: pool}, "", VerifiedCA, "verified by CA"},
		{TLSPolicy{Mode: TLSRequired, RootCAs: pool}, "signed.test", VerifiedCA, "by CA for a name from MX records that aren't signed"}, // nobody has asked
		{TLSPolicy{Mode: TLSRequired, Fingerprints: []string{fmt.Sprintf("%x", key)}}, "signed.test", VerifiedPin, "verified by fingerprint"},
		{TLSPolicy{Mode: TLSNone}, "", "", "in plain"},
	} {
		tg := s.target("mx.signed.test")
		tg.TLS, tg.Domain = tt.p, tt.domain
		c, err := d.Dial(t.Context(), tg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if o := c.Offers(); o.Verified != tt.want || !strings.HasSuffix(o.Protection(), tt.said) {
			t.Errorf("%s: %q, %s", tt.p.Mode, o.Verified, o.Protection())
		}
	}
}

// Whatever stands in DNS: nothing breaks, and no record but the right one vouches for a certificate.
func FuzzTLSA(f *testing.F) {
	cert, err := sink.SelfSigned("mx.signed.test")
	if err != nil {
		f.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		f.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	f.Add(uint8(3), uint8(1), uint8(1), sum[:])
	f.Add(uint8(2), uint8(0), uint8(0), leaf.Raw)
	f.Add(uint8(3), uint8(0), uint8(0), leaf.Raw)
	f.Add(uint8(2), uint8(1), uint8(0), []byte{0x30})
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := dns.TLSA{Usage: usage, Selector: selector, Matching: matching, Data: data}
		d := tlsa{DANE: dns.DANE{Base: "mx.signed.test", Names: []string{"mx.signed.test"}, Records: []dns.TLSA{r}}, usable: usable([]dns.TLSA{r})}
		err := d.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
		right := slices.ContainsFunc([][]byte{sum[:], leaf.Raw, leaf.RawSubjectPublicKeyInfo}, func(b []byte) bool { return string(b) == string(data) })
		if err == nil && !right && matching != matchSHA512 {
			t.Errorf("%d %d %d %x vouches for it", usage, selector, matching, data)
		}
		if d.unusable() && err == nil {
			t.Error("a record of no use vouches for it")
		}
	})
}
