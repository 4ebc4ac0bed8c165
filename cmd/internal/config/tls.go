package config

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"restante/dns"
)

// MinTLS is tls_min as crypto/tls has it.
func (s *SMTP) MinTLS() uint16 {
	return map[string]uint16{"1.0": tls.VersionTLS10, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[s.TLSMin]
}

// Trusts reports that the resolvers are to be believed, wherever they are.
func (d *DNS) Trusts() bool { return d.TrustAD == on }

// SMTPCert are the files of the certificate for SMTP: those of [smtp], else those of the webmail; "" where neither has any.
func (c *Config) SMTPCert() (cert, key string) {
	if c.SMTP.TLSCert == "" && c.Webmail.On() && c.Webmail.TLS == "files" {
		return c.Webmail.TLSCert, c.Webmail.TLSKey
	}
	return c.SMTP.TLSCert, c.SMTP.TLSKey
}

// WebmailCert are the files of the certificate for a webmail with tls = "files": its own, else those of [smtp].
func (c *Config) WebmailCert() (cert, key string) {
	if c.Webmail.TLSCert == "" {
		return c.SMTP.TLSCert, c.SMTP.TLSKey
	}
	return c.Webmail.TLSCert, c.Webmail.TLSKey
}

// ACMENames are the names that the CA is asked for: those of the webmail, and for port 25 the hostname, unless that has files
// of its own or is no name that a CA could know.
func (c *Config) ACMENames() []string {
	if c.SMTP.TLSCert != "" || slices.Contains(c.Webmail.Hostnames, c.Hostname) || !strings.Contains(c.Hostname, ".") {
		return c.Webmail.Hostnames
	}
	if _, err := netip.ParseAddr(c.Hostname); err == nil {
		return c.Webmail.Hostnames
	}
	return append(slices.Clip(c.Webmail.Hostnames), c.Hostname)
}

// primaryTLS checks how a domain's primaries are to be verified.
func (d *decoder) primaryTLS(key string, dom *Domain) {
	pinned := dom.TLSCA != "" || len(dom.TLSFingerprints) > 0
	switch dom.TLS {
	case "none":
		if pinned || dom.TLSName != "" {
			d.bad(key+".tls", `write tls = "required", or leave out tls_ca, tls_fingerprints and tls_name`, "there is no TLS to check")
		}
	case "opportunistic", "dane":
		if pinned {
			d.bad(key+".tls", `write tls = "required", or leave out tls_ca and tls_fingerprints`, "with %q nobody looks at tls_ca and tls_fingerprints", dom.TLS)
		}
	}
	if dom.TLS == "dane" && dom.TLSName == "" {
		for _, p := range dom.Primaries {
			if _, err := netip.ParseAddr(p.Host); err == nil {
				d.bad(key+".tls", `write the host's name in primary, or in tls_name, or tls = "required" with tls_fingerprints`, "%s is an address, and TLSA records belong to names", p.Host)
			}
		}
	}
	d.mustExist(key+".tls_ca", dom.TLSCA, "write the path of a file with PEM certificates")
}

// tlsWarnings names domains that go by DANE where nobody is there to say what DNSSEC says.
func (c *Config) tlsWarnings() []string {
	i := slices.IndexFunc(c.Domains, func(d Domain) bool { return d.TLS == "dane" })
	if i < 0 {
		return nil
	}
	r, err := dns.New(dns.Options{Servers: c.DNS.Servers, TrustAD: c.DNS.Trusts()})
	if err != nil || r.Secure() {
		return nil
	}
	return []string{fmt.Sprintf(`mail for %s will wait: its primary is known by DANE alone, and no resolver that verifies DNSSEC can be believed; run one on this machine (unbound) and write [dns] servers = ["127.0.0.1"], or trust_ad = "on" where nobody can stand between it and here`, c.Domains[i].Name)}
}
