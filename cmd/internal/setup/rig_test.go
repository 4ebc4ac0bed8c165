package setup

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"restante/dns"
	"restante/dns/dnstest"
)

const us = "mx2.example.net"

// rig is a world of its own: DNS from a zone, and addresses behind which servers on this machine stand.
type rig struct {
	World
	t    *testing.T
	dns  *dnstest.Server
	ca   *authority
	node Node

	mu   sync.Mutex
	at   map[string]string // "192.0.2.1:25" to where it really is; "refused"; what isn't here is silent
	seen []string          // addresses that were dialled
}

// good is the zone of a domain for which all is well.
const good = `
2.0.0.127.zen.spamhaus.org. A 127.0.0.2
mx2.example.net.            A     192.0.2.25
mx2.example.net.            AAAA  2001:db8::25
mx2.example.net.            TXT   "v=spf1 a -all"
25.2.0.192.in-addr.arpa.    PTR   mx2.example.net.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mx2.example.net.
example.com.                MX    10 mail.example.com.
example.com.                MX    20 mx2.example.net.
example.com.                TXT   "v=spf1 mx -all"
_dmarc.example.com.         TXT   "v=DMARC1; p=reject"
mail.example.com.           A     192.0.2.1
`

func newRig(t *testing.T, zone string) *rig {
	t.Helper()
	r := &rig{t: t, dns: dnstest.New(t, zone), ca: newAuthority(t), at: map[string]string{}}
	resolver, err := dns.New(dns.Options{Servers: []string{"192.0.2.53"}, Exchange: r.dns.Exchange, Fresh: true, TrustAD: true, Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.World = World{
		DNS: resolver, Dial: r.dial, Roots: r.ca.pool, Now: time.Now,
		Addrs:  []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8::25")},
		Synced: func() (bool, error) { return true, nil },
		Space:  func(string) (int64, int64, error) { return 80e9, 270e9, nil },
	}
	r.node = Node{
		Hostname: us, Listen: []string{"127.0.0.1:2525"}, Running: true, DataDir: t.TempDir(), MinFree: 1 << 30,
		Store: Store{URL: "file:///spool", State: "ok"},
		Domains: []Domain{{
			Name: "example.com", Primaries: []Primary{{Host: "mail.example.com", Port: 25}}, KeysKnown: true,
			Recipients: Recipients{Known: 412, Complete: true},
			Keys:       []Key{{Name: "s1._domainkey.example.com", Record: "v=DKIM1; k=rsa; p=AAAA", Signs: true, Published: "yes"}},
		}},
	}
	own := r.smtp(t, us+" ESMTP Restante", r.ca.issue(t, us, time.Now().Add(90*24*time.Hour)))
	for _, a := range []string{"127.0.0.1:2525", "192.0.2.25:25", "[2001:db8::25]:25"} {
		r.at[a] = own
	}
	r.at["192.0.2.1:25"] = r.smtp(t, "mail.example.com ESMTP Postfix", r.ca.issue(t, "mail.example.com", time.Now().Add(90*24*time.Hour)))
	return r
}

func (r *rig) dial(ctx context.Context, _, address string) (net.Conn, error) {
	r.mu.Lock()
	to, ok := r.at[address]
	r.seen = append(r.seen, address)
	r.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	}
	if to == "refused" {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", to)
}

// rows runs all checks and gives those of one name.
func (r *rig) rows(t *testing.T, check string) []Row {
	t.Helper()
	var list []Row
	for _, row := range r.report(t).Rows {
		if row.Check == check {
			list = append(list, row)
		}
	}
	return list
}

func (r *rig) report(t *testing.T) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return Run(ctx, r.World, r.node)
}

// smtp is a mail server that greets with the text; without a certificate it has no TLS.
func (r *rig) smtp(t *testing.T, banner string, cert *tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { converse(nc, banner, cert) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// converse greets; a banner that begins with a digit has its own code.
func converse(nc net.Conn, banner string, cert *tls.Certificate) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // then the test takes longer
	if banner[0] < '0' || banner[0] > '9' {
		banner = "220 " + banner
	}
	fmt.Fprintf(nc, "%s\r\n", banner)
	in := bufio.NewScanner(nc)
	for in.Scan() {
		switch word, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); {
		case word == "EHLO" && cert != nil:
			fmt.Fprint(nc, "250-hello\r\n250-STARTTLS\r\n250 SIZE 1000\r\n")
		case word == "EHLO":
			fmt.Fprint(nc, "250-hello\r\n250 SIZE 1000\r\n")
		case word == "STARTTLS":
			fmt.Fprint(nc, "220 go\r\n")
			if tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}).Handshake() != nil {
				return
			}
			return
		default:
			fmt.Fprint(nc, "221 bye\r\n")
			return
		}
	}
}

// web is an https server with a certificate of that name.
func (r *rig) web(t *testing.T, name string, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*r.ca.issue(t, name, time.Now().Add(90*24*time.Hour))}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// authority is a CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Test CA"}}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(1000 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return &authority{c, key, pool}
}

// issue makes a certificate; one for "self ..." signs itself.
func (a *authority) issue(t *testing.T, name string, until time.Time) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name, self := strings.CutPrefix(name, "self ")
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until}
	parent, signer := a.cert, a.key
	if self {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
