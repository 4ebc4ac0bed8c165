package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRevealIsReadBackTheSame(t *testing.T) {
	c, err := parse("r.toml", []byte(`
hostname = "mx2.example.com"
[notify]
url = "https://hooks.example.net/secret-hook"
[webmail]
listen = ["0.0.0.0:443"]
[[dnsbl]]
zone = "secretkey.zen.dq.spamhaus.net"
codes = ["127.0.0.2"]
[[dnsbl]]
zone = "bl.example.net"
codes = ["127.0.0.2"]
[smarthost]
host = "smtp.example.net"
user = "relay"
password = "secret-one"
[[domain]]
name = "example.com"
primary = ["mail.example.com:25"]
[domain.submission]
host = "submission.example.com"
user = "relay"
password = "secret-two"
[domain.ldap]
url = ["ldaps://dc1.example.com"]
bind_dn = "cn=reader"
password = "secret-three"
[[domain]]
name = "example.net"
alias_of = "example.com"
[[domain]]
name = "example.org"
primary = ["mx"]
[domain.retention]
parked = "2d"
`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"secret-hook", "secret-one", "secret-two", "secret-three", "secretkey.zen."} {
		if !strings.Contains(text, secret) {
			t.Errorf("%s is missing", secret)
		}
	}
	again, err := parse("r.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(c, again, cmpopts.IgnoreFields(Config{}, "lines"), cmpopts.IgnoreFields(DNSBL{}, "Parsed"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	var shown strings.Builder
	if err := c.Write(&shown); err != nil || strings.Contains(shown.String(), "secret-") || strings.Contains(shown.String(), "secretkey") ||
		!strings.Contains(shown.String(), `zone = "**redacted**.zen.dq.spamhaus.net"`) || !strings.Contains(shown.String(), `zone = "bl.example.net"`) {
		t.Errorf("what is shown has secrets in it: %v\n%s", err, shown.String())
	}
}
