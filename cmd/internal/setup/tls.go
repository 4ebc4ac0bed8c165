package setup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"restante/dns"
)

// expiresSoon is how long before its end a certificate is worth a look.
const expiresSoon = 14 * 24 * time.Hour

// certs is the certificate that senders see: from the running node, else from its file.
func (s *run) certs(ctx context.Context) ([]*x509.Certificate, error) {
	if s.node.Running {
		for _, listen := range s.node.Listen {
			if address, ok := here(listen); ok {
				if g, err := s.greet(ctx, address, s.node.Hostname, false); err == nil && g.certs != nil {
					return g.certs, nil
				}
			}
		}
	}
	if s.node.Cert == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.node.Cert)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// here is where this machine reaches an address that it listens on.
func here(listen string) (string, bool) {
	a, err := netip.ParseAddrPort(listen)
	if err != nil {
		return "", false
	}
	ip := a.Addr()
	if ip.IsUnspecified() && ip.Is4() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	} else if ip.IsUnspecified() {
		ip = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(ip, a.Port()).String(), true
}

// verify says why a certificate isn't good for a name, as senders with MTA-STS see it; nil when it is.
func (s *run) verify(certs []*x509.Certificate, name string) error {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{DNSName: name, Roots: s.Roots, Intermediates: between, CurrentTime: s.Now()})
	return err
}

// certificate: what senders see on port 25.
func (s *run) certificate(context.Context) []Row {
	row := Row{Check: "certificate", Result: OK}
	certs, err := s.served()
	switch {
	case err != nil:
		row.Result, row.Found, row.Mend = Note, "can't be read: "+brief(err), "run this as root or as the user that restante runs as"
	case len(certs) == 0:
		row.Result, row.Found = Note, "there is none yet; it is there once the node runs"
	default:
		s.judge(&row, certs)
	}
	return []Row{row}
}

func (s *run) judge(row *Row, certs []*x509.Certificate) {
	c := certs[0]
	until := c.NotAfter.UTC().Format(time.DateOnly)
	err := s.verify(certs, s.node.Hostname)
	switch {
	case s.Now().After(c.NotAfter):
		row.Result, row.Found, row.Mend = Warn, "it ended on "+until, "renew it; senders with MTA-STS or DANE refuse it"
	case err != nil && bytes.Equal(c.RawIssuer, c.RawSubject):
		row.Result, row.Found = Note, "self-signed: senders encrypt to it without verifying, as they do to most backup MXs"
		row.Mend = `a verified one comes with [webmail] tls = "acme", or with [smtp] tls_cert and tls_key`
	case err != nil:
		row.Result, row.Found = Warn, "senders that verify will refuse it: "+brief(err)
		row.Mend = "have it made for " + s.node.Hostname + ", its chain behind it"
	case c.NotAfter.Sub(s.Now()) < expiresSoon:
		row.Result, row.Found, row.Mend = Warn, "it ends on "+until, "renew it"
	default:
		row.Found = fmt.Sprintf("%s, by %s, until %s", s.node.Hostname, printable(issuer(c)), until)
	}
}

func issuer(c *x509.Certificate) string {
	if len(c.Issuer.Organization) > 0 {
		return c.Issuer.Organization[0]
	}
	return c.Issuer.CommonName
}

// tlsaName is where the TLSA records of a host's port 25 are (RFC 7672 2.2.3).
func tlsaName(host string) string { return "_25._tcp." + host }

// ourTLSA is the record of a certificate: its key (RFC 7672 3.1.1 recommends 3 1 1).
func ourTLSA(host string, c *x509.Certificate) Record {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return Record{Name: tlsaName(host), Type: "TLSA", Value: "3 1 1 " + hex.EncodeToString(sum[:])}
}

// tlsa: our TLSA records fit the certificate, and there are some where the primaries have them.
func (s *run) tlsa(ctx context.Context) []Row {
	row := Row{Check: "TLSA", Result: OK}
	list, secure, err := s.DNS.LookupTLSA(ctx, tlsaName(s.node.Hostname))
	if err != nil && !dns.IsNotFound(err) {
		return []Row{unanswered("", row.Check, err)}
	}
	certs, _ := s.served() // certificate reports the error
	var publish []Record
	if len(certs) > 0 {
		publish = []Record{ourTLSA(s.node.Hostname, certs[0])}
	}
	if len(list) == 0 {
		s.noTLSA(ctx, &row, publish)
		return []Row{row}
	}
	usable := slices.DeleteFunc(list, func(t dns.TLSA) bool { return t.Usage != 2 && t.Usage != 3 })
	switch {
	case len(certs) == 0:
		row.Result, row.Found, row.Mend = Note, "published, but there is no certificate to compare it with", "start the node, then look again"
	case len(usable) == 0:
		row.Result, row.Found, row.Mend = Warn, "published, but of no use for mail: senders look at usages 2 and 3 alone (RFC 7672 3.1.3)", "publish this one"
		row.Records = publish
	case !slices.ContainsFunc(usable, func(t dns.TLSA) bool { return fits(t, certs) }):
		row.Result, row.Found = Fail, "published, but none fits the certificate: senders that verify will not deliver here"
		row.Mend, row.Records = "publish this one, and take the others away a day later", publish
	case !secure:
		row.Result, row.Found = Note, "it fits the certificate; the resolver can't tell whether the zone is signed, without DNSSEC it counts for nothing"
		row.Mend = "compare: delv " + tlsaName(s.node.Hostname) + " TLSA"
	default:
		row.Found = "fits the certificate, signed by DNSSEC"
	}
	return []Row{row}
}

// noTLSA: whoever can redirect connections could bring mail to us that DANE would have kept from the others.
func (s *run) noTLSA(ctx context.Context, row *Row, publish []Record) {
	unsigned := ""
	for _, d := range s.node.Domains {
		e, err := s.exchangers(ctx, d.Name)
		if err != nil {
			continue
		}
		for _, m := range e.others {
			got, secure, err := s.DNS.LookupTLSA(ctx, tlsaName(trim(m.Host)))
			if err != nil || len(got) == 0 {
				continue
			}
			if !secure {
				unsigned = trim(m.Host)
				continue
			}
			row.Result, row.Found = Warn, fmt.Sprintf("none, while %s has one: who blocks the way there can have mail sent here unverified", trim(m.Host))
			row.Mend, row.Records = "publish ours too, in a zone signed by DNSSEC; where the certificate is yours to renew, keep its key or publish the next one before", publish
			return
		}
	}
	if unsigned != "" {
		row.Result, row.Found = Note, fmt.Sprintf("none, while %s has one; the resolver doesn't say that it is signed by DNSSEC, without which it counts for nothing", unsigned)
		row.Mend, row.Records = "if its zone is signed (delv "+tlsaName(unsigned)+" TLSA), publish ours too", publish
		return
	}
	row.Found = "none, and none of the other mail servers has one"
	if len(publish) > 0 {
		row.Mend = "where our zone is signed by DNSSEC it may have one: " + publish[0].String()
	}
}

// fits reports that a certificate of the chain is the one that a record names (RFC 6698 2.1). Usage 3 is about the first alone.
func fits(t dns.TLSA, certs []*x509.Certificate) bool {
	if t.Usage == 3 {
		certs = certs[:1]
	}
	return slices.ContainsFunc(certs, func(c *x509.Certificate) bool {
		data := c.Raw
		if t.Selector == 1 {
			data = c.RawSubjectPublicKeyInfo
		}
		switch t.Matching {
		case 1:
			sum := sha256.Sum256(data)
			data = sum[:]
		case 2:
			sum := sha512.Sum512(data)
			data = sum[:]
		}
		return t.Selector <= 1 && t.Matching <= 2 && len(t.Data) > 0 && bytes.Equal(data, t.Data)
	})
}

// caaNames are what CAs call themselves in CAA records, by the host of their ACME directory.
var caaNames = map[string]string{
	"acme-v02.api.letsencrypt.org":         "letsencrypt.org",
	"acme-staging-v02.api.letsencrypt.org": "letsencrypt.org",
	"acme.zerossl.com":                     "sectigo.com",
	"dv.acme-v02.api.pki.goog":             "pki.goog",
	"api.buypass.com":                      "buypass.com",
	"acme.ssl.com":                         "ssl.com",
}

// caa: the CA that makes our certificates may.
func (s *run) caa(ctx context.Context) []Row {
	if s.node.Webmail == nil || s.node.Webmail.TLS != "acme" {
		return nil
	}
	var rows []Row
	names := s.node.Webmail.Hostnames
	if !slices.Contains(names, s.node.Hostname) { // the certificate on port 25
		names = append(slices.Clip(names), s.node.Hostname)
	}
	for _, host := range names {
		rows = append(rows, s.caaOf(ctx, host))
	}
	return rows
}

func (s *run) caaOf(ctx context.Context, host string) Row {
	row := Row{Check: "CAA", Result: OK}
	list, at, err := s.DNS.LookupCAA(ctx, host)
	if err != nil { // a CA takes that for a no (RFC 8659 3)
		row = unanswered("", row.Check, err)
		row.Result = Fail
		return row
	}
	ca := s.node.Webmail.ACMECA
	if u, err := url.Parse(ca); err == nil {
		ca = u.Hostname()
	}
	name := caaNames[ca]
	may, named := false, false
	for _, c := range list {
		if c.Tag != "issue" {
			if c.Critical && c.Tag != "issuewild" && c.Tag != "iodef" && c.Tag != "issuemail" && c.Tag != "issuevmc" {
				row.Result, row.Found, row.Mend = Fail, fmt.Sprintf("%s has a critical record %q, which no CA may pass over", at, printable(c.Tag)), "take it away"
				return row
			}
			continue
		}
		named = true
		domain, params, _ := strings.Cut(c.Value, ";")
		if name != "" && strings.EqualFold(strings.TrimSpace(domain), name) {
			may = true
			if p := strings.TrimSpace(params); p != "" {
				row.Result = Note
				row.Mend = "see that these let us in: " + printable(p)
			}
		}
	}
	switch {
	case !named:
		row.Found = "any CA may make a certificate for " + host
	case may:
		row.Found = fmt.Sprintf("%s may make a certificate for %s, says %s", name, host, at)
	case name == "":
		row.Result, row.Found = Note, fmt.Sprintf("%s says which CAs may make a certificate for %s; what %s calls itself there isn't known here", at, host, ca)
		row.Mend = "look: dig CAA " + at
	default:
		row.Result, row.Found, row.Mend = Fail, fmt.Sprintf("%s may not make a certificate for %s, says %s", name, host, at), "allow it"
		row.Records = []Record{{Name: at, Type: "CAA", Value: `0 issue "` + name + `"`}}
	}
	return row
}
