package config

import (
	"strings"
	"testing"
)

// TestAliasOf: a domain that is another's alias is spoken to as the other is, but for what it says itself.
func TestAliasOf(t *testing.T) {
	c, err := parse("x", []byte(`
hostname = "mx2.example.com"
[[domain]]
name = "Example.NET"
alias_of = "example.com"
[[domain]]
name = "example.com"
primary = ["mail.example.com:26", "192.0.2.1"]
tls = "required"
tls_name = "mail"
origin = "xclient"
[[domain]]
name = "example.org"
alias_of = "EXAMPLE.com."
tls = "none"
recipients = ["only@example.org"]
[[domain]]
name = "example.info"
alias_of = "example.com"
primary = ["other.example.com"]
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"example.net": "mail.example.com:26 required mail xclient", "example.org": "mail.example.com:26 none  xclient", "example.info": "other.example.com:25 opportunistic  xforward",
	} {
		d, _ := c.Domain(name)
		if got := strings.Join([]string{d.Primaries[0].Address(), d.TLS, d.TLSName, d.Origin}, " "); got != want || d.AliasOf != "example.com" {
			t.Errorf("%s: %s, alias of %s", name, got, d.AliasOf)
		}
	}
}

// TestRecipientKeys: what says nothing is taken as the sample says, and lists add up.
func TestRecipientKeys(t *testing.T) {
	c, err := parse("x", []byte(`
hostname = "mx2.example.com"
[[domain]]
name = "example.com"
primary = ["mail.example.com"]
recipients = ["info@example.com"]
recipients_file = "/nonexistent/recipients"
recipients_max_age = "1h"
[domain.ldap]
url = "ldap://127.0.0.1"
tls = "none"
bind_dn = "cn=reader"
password = "secret"
interval = "1h"
`))
	if err != nil {
		t.Fatal(err)
	}
	d := c.Domains[0]
	if got := strings.Join(d.SyncedRecipients(), " "); got != "file ldap" || d.TakesAny() || !d.AsksAhead() || d.SubAddress != "+" || d.UnknownRecipients != "defer" {
		t.Errorf("%s, %+v", got, d)
	}
	w := strings.Join(c.Warnings(), "\n")
	for _, want := range []string{"the recipients of example.com can't be read: stat /nonexistent/recipients", "less than two intervals"} {
		if !strings.Contains(w, want) {
			t.Errorf("no %q in\n%s", want, w)
		}
	}
	if strings.Contains(w, "no list of recipients") {
		t.Error(w)
	}
	c.Domains[0].Recipients, c.Domains[0].RecipientsFile, c.Domains[0].LDAP.URL = nil, "", nil
	if w := strings.Join(c.Warnings(), "\n"); !strings.Contains(w, "no list of recipients is named for example.com") {
		t.Error(w)
	}
}
