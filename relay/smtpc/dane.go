package smtpc

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"restante/dns"
)

// Fields of TLSA records (RFC 6698 2.1, by the names of RFC 7218).
const (
	usageTA = 2 // DANE-TA: an issuer of the certificate
	usageEE = 3 // DANE-EE: the certificate itself

	selectCert = 0
	selectKey  = 1

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// maxTLSA is how many records of a server are looked at.
const maxTLSA = 50

// ErrDANE says that a certificate isn't what the server's TLSA records say.
var ErrDANE = errors.New("the certificate isn't the one that the server's TLSA records name (DANE)")

// tlsa is what DNS says of a server's certificate; no records: nothing.
type tlsa struct {
	dns.DANE
	usable []dns.TLSA
}

func (t tlsa) exist() bool { return len(t.Records) > 0 }

// unusable reports records that all are of kinds that can't be used with SMTP: RFC 7672 2.2 then asks for TLS without verification.
func (t tlsa) unusable() bool { return len(t.usable) == 0 }

// records asks DNS what it says of the server's certificate.
func (d *Dialer) records(ctx context.Context, t Target, deadline time.Time) (tlsa, error) {
	must := t.TLS.Mode == TLSDANE
	if !must && t.TLS.Mode != "" && t.TLS.Mode != TLSOpportunistic {
		return tlsa{}, nil // the configuration says what counts
	}
	if !must && net.ParseIP(t.host()) != nil {
		return tlsa{}, nil // an address has no records; and where DNS is away, package health says when it must have some
	}
	host := cmp.Or(t.TLS.ServerName, t.host())
	if d.DANE == nil {
		if must {
			return tlsa{}, &Error{Stage: StageTLSA, Host: t.label(), Err: dns.ErrNoDNSSEC}
		}
		return tlsa{}, nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	found, err := d.DANE.DANE(ctx, dns.Server{Host: host, Port: cmp.Or(t.Port, 25), Domain: t.Domain, Must: must})
	if err != nil {
		// Not wrapped: a name whose TLSA records can't be had isn't one that can't be resolved, and no other way round may be sought for it.
		return tlsa{}, &Error{Stage: StageTLSA, Host: t.label(), Err: unresolvable{err}}
	}
	out := tlsa{DANE: found, usable: usable(found.Records)}
	if must && out.unusable() {
		return out, &Error{Stage: StageTLSA, Host: t.label(), Err: fmt.Errorf("none of the TLSA records of %s can be used with SMTP (RFC 7672 3.1): publish 3 1 1 or 2 1 1", found.Base)}
	}
	return out, nil
}

// unresolvable hides the *net.DNSError in an error from errors.As, not from errors.Is.
type unresolvable struct{ err error }

// Error says what can't be known.
func (u unresolvable) Error() string {
	return u.err.Error() + " (mail waits, as what DNS says of its certificate can't be known; tls = \"required\" with tls_fingerprints does without)"
}

// Is compares with the errors of package dns.
func (u unresolvable) Is(target error) bool { return errors.Is(u.err, target) }

// usable are the records that can be used with SMTP: DANE-TA and DANE-EE (RFC 7672 3.1.3) of known kinds. Of digests only the strongest of
// one usage and selector count (RFC 7671 9).
func usable(records []dns.TLSA) []dns.TLSA {
	var out []dns.TLSA
	strongest := map[[2]uint8]uint8{}
	for _, r := range records[:min(len(records), maxTLSA)] {
		ok := (r.Usage == usageTA || r.Usage == usageEE) && (r.Selector == selectCert || r.Selector == selectKey)
		switch r.Matching {
		case matchFull:
			ok = ok && parses(r)
		case matchSHA256:
			ok = ok && len(r.Data) == sha256.Size
		case matchSHA512:
			ok = ok && len(r.Data) == sha512.Size
		default:
			ok = false
		}
		if ok {
			out = append(out, r)
			kind := [2]uint8{r.Usage, r.Selector}
			strongest[kind] = max(strongest[kind], r.Matching)
		}
	}
	return slices.DeleteFunc(out, func(r dns.TLSA) bool {
		return r.Matching != matchFull && r.Matching < strongest[[2]uint8{r.Usage, r.Selector}]
	})
}

// parses reports that the octets of a whole certificate or key are one.
func parses(r dns.TLSA) bool {
	var err error
	if r.Selector == selectKey {
		_, err = x509.ParsePKIXPublicKey(r.Data)
	} else {
		_, err = x509.ParseCertificate(r.Data)
	}
	return err == nil
}

// matches compares a certificate with a record.
func matches(r dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}

// verify compares the server's certificates with the records. DANE-EE: the first is the one, whatever name and dates it
// carries (RFC 7672 3.1.1). DANE-TA: it was issued by the one named, holds now, and is for one of the names (3.1.2, 3.2).
func (t tlsa) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	anchors, others := x509.NewCertPool(), x509.NewCertPool()
	var anchored bool
	for _, c := range cs.PeerCertificates[1:] {
		others.AddCert(c)
	}
	for _, r := range t.usable {
		if r.Usage == usageEE {
			if matches(r, leaf) {
				return nil
			}
			continue
		}
		for _, c := range append(slices.Clip(cs.PeerCertificates[1:]), whole(r)...) {
			if matches(r, c) {
				anchors.AddCert(c)
				anchored = true
			}
		}
	}
	if !anchored {
		_, key := Fingerprints(leaf)
		return fmt.Errorf("%w; if this key is the server's, publish TLSA 3 1 1 %x", ErrDANE, key)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: anchors, Intermediates: others}); err != nil {
		return fmt.Errorf("%w: %w", ErrDANE, err)
	}
	for _, name := range t.Names {
		if leaf.VerifyHostname(name) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: it was issued by the right CA, but for none of %s", ErrDANE, strings.Join(t.Names, ", "))
}

// whole is the certificate that a record holds itself: a server needn't send that (RFC 7671 5.2.2).
func whole(r dns.TLSA) []*x509.Certificate {
	if r.Matching != matchFull || r.Selector != selectCert {
		return nil
	}
	c, err := x509.ParseCertificate(r.Data)
	if err != nil {
		return nil
	}
	return []*x509.Certificate{c}
}
