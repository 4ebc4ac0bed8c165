package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestCertificatesAreNamedOnce: what one of [smtp] and [webmail] says serves the other.
func TestCertificatesAreNamedOnce(t *testing.T) {
	for _, tt := range []struct {
		hostname, smtp, web, tls string
		listen                   []string
		want                     string // for SMTP, for the webmail, from the CA
	}{
		{"mx2.example.com", "", "", "acme", []string{":443"}, "- - mail.example.com,mx2.example.com"},
		{"mail.example.com", "", "", "acme", []string{":443"}, "- - mail.example.com"},
		{"mx2.example.com", "s.pem", "", "acme", []string{":443"}, "s.pem s.pem mail.example.com"}, // the webmail doesn't look at files then
		{"192.0.2.1", "", "", "acme", []string{":443"}, "- - mail.example.com"},
		{"mx2", "", "", "acme", []string{":443"}, "- - mail.example.com"},
		{"mx2.example.com", "s.pem", "", "files", []string{":443"}, "s.pem s.pem mail.example.com"},
		{"mx2.example.com", "", "w.pem", "files", []string{":443"}, "w.pem w.pem mail.example.com,mx2.example.com"},
		{"mx2.example.com", "s.pem", "w.pem", "files", []string{":443"}, "s.pem w.pem mail.example.com"},
		{"mx2.example.com", "", "w.pem", "files", nil, "- w.pem mail.example.com,mx2.example.com"}, // there is no webmail
	} {
		c := Defaults()
		c.Hostname, c.SMTP.TLSCert, c.SMTP.TLSKey = tt.hostname, tt.smtp, tt.smtp
		c.Webmail.Listen, c.Webmail.TLS, c.Webmail.TLSCert, c.Webmail.TLSKey, c.Webmail.Hostnames = tt.listen, tt.tls, tt.web, tt.web, []string{"mail.example.com"}
		smtp, key := c.SMTPCert()
		web, _ := c.WebmailCert()
		or := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		if got := fmt.Sprint(or(smtp), " ", or(web), " ", strings.Join(c.ACMENames(), ",")); got != tt.want || key != smtp {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// TestDANENeedsAResolver: a domain that goes by DANE alone is warned of where nobody could say what DNSSEC says.
func TestDANENeedsAResolver(t *testing.T) {
	for _, tt := range []struct {
		tls, server, trust string
		warned             bool
	}{
		{"dane", "192.0.2.53", "off", true}, {"dane", "192.0.2.53", "on", false}, {"dane", "127.0.0.1", "off", false}, {"opportunistic", "192.0.2.53", "off", false},
	} {
		c := Defaults()
		c.DNS.Servers, c.DNS.TrustAD = []string{tt.server}, tt.trust
		c.Domains = []Domain{{Name: "example.com", TLS: tt.tls}}
		if got := c.tlsWarnings(); (len(got) == 1) != tt.warned {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
