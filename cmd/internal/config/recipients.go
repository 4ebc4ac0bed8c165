package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"restante/relay/policy/rcpt"
	"restante/relay/policy/rcpt/source"
)

// LDAP is a directory that a domain's recipients are read from. There is none while URL is empty.
type LDAP struct {
	URL          []string `toml:"url"`
	TLS          string   `toml:"tls" enum:"starttls,none"`
	TLSCA        string   `toml:"tls_ca" check:"path"`
	BindDN       string   `toml:"bind_dn"`
	Password     Secret   `toml:"password"`
	PasswordFile string   `toml:"password_file" check:"path"`
	Base         string   `toml:"base"`
	Filter       string   `toml:"filter"`
	Attributes   []string `toml:"attributes"`
	Interval     Duration `toml:"interval" min:"1m" max:"7d"`
}

// On says whether there is a directory.
func (l *LDAP) On() bool { return len(l.URL) > 0 }

// The values of keys that are on or off.
const (
	on  = "on"
	off = "off"
)

// maxSubAddress bounds sub_address in octets: characters, not words.
const maxSubAddress = 8

func recipientDefaults(d *Domain) {
	d.RecipientsFormat, d.UnknownRecipients, d.RecipientsMaxAge = source.Auto, rcpt.UnknownDefer, dur(rcpt.DefaultMaxAge)
	d.SubAddress, d.CatchAll, d.CallAhead = "+", off, on
	d.LDAP = LDAP{TLS: source.StartTLS, Filter: "any", Interval: dur(source.LDAPEvery)}
}

// SyncedRecipients are the names of the lists that are read again and again.
func (d *Domain) SyncedRecipients() []string {
	var list []string
	if d.RecipientsFile != "" {
		list = append(list, rcpt.SourceFile)
	}
	if d.LDAP.On() {
		list = append(list, rcpt.SourceLDAP)
	}
	return list
}

// TakesAny says that any address of the domain exists.
func (d *Domain) TakesAny() bool {
	return d.CatchAll == on || len(d.Recipients) == 1 && d.Recipients[0] == "@"
}

// AsksAhead says that the primary is asked for recipients.
func (d *Domain) AsksAhead() bool { return d.CallAhead == on }

// fillAlias gives a domain that is another's alias the other's primary, with all that is about speaking to it, unless it has
// one of its own.
func (c *Config) fillAlias(i int) {
	d := &c.Domains[i]
	if d.AliasOf == "" || len(d.Primary) > 0 {
		return
	}
	for j := range c.Domains {
		of := &c.Domains[j]
		if i == j || !strings.EqualFold(strings.TrimSuffix(of.Name, "."), strings.TrimSuffix(d.AliasOf, ".")) {
			continue
		}
		d.Primary = of.Primary
		set := func(key string) bool { _, ok := c.lines[fmt.Sprintf("domain[%d].%s", i, key)]; return ok }
		if !set("tls") && !set("tls_ca") && !set("tls_fingerprints") && !set("tls_name") {
			d.TLS, d.TLSCA, d.TLSFingerprints, d.TLSName = of.TLS, of.TLSCA, of.TLSFingerprints, of.TLSName
		}
		if !set("origin") {
			d.Origin = of.Origin
		}
		if d.Submission.Host == "" {
			d.Submission = of.Submission
		}
	}
}

// recipientKeys checks what says which recipients a domain has.
func (d *decoder) recipientKeys(c *Config, key string, dom *Domain) {
	d.recipients(key, dom)
	d.aliasOf(c, key, dom)
	d.ldap(key+".ldap", &dom.LDAP)
	if len(dom.SubAddress) > maxSubAddress {
		d.bad(key+".sub_address", `write the characters that part a name from its tag: "+", "-", "+-", or "" for none`, "%q is longer than %d octets", dom.SubAddress, maxSubAddress)
	} else if i := strings.IndexFunc(dom.SubAddress, func(r rune) bool {
		return r > '~' || r <= ' ' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '@' || r == '"' || r == '\\'
	}); i >= 0 {
		d.bad(key+".sub_address", `write the characters that part a name from its tag: "+", "-", "+-", or "" for none`, "%q parts no names", dom.SubAddress[i:i+1])
	}
	if dom.RecipientsFile == "" && dom.RecipientsFormat != source.Auto {
		d.bad(key+".recipients_format", "write recipients_file too, or leave it out", "there is no file to read")
	}
}

// aliasOf checks that a domain's alias is one, and that it says nothing about recipients itself.
func (d *decoder) aliasOf(c *Config, key string, dom *Domain) {
	if dom.AliasOf == "" {
		return
	}
	name, err := ParseDomain(dom.AliasOf)
	if err != nil {
		d.bad(key+".alias_of", `write the name of another [[domain]], for example alias_of = "example.com"`, "%v", err)
		return
	}
	dom.AliasOf = name
	var of *Domain
	for i := range c.Domains {
		if n, err := ParseDomain(c.Domains[i].Name); err == nil && n == name {
			of = &c.Domains[i]
		}
	}
	switch {
	case name == dom.Name:
		d.bad(key+".alias_of", "name another domain, or leave it out", "it names the domain itself")
	case of == nil:
		d.bad(key+".alias_of", fmt.Sprintf("write a [[domain]] for %s, or leave alias_of out", name), "there is no domain %s here", name)
	case of.AliasOf != "":
		d.bad(key+".alias_of", fmt.Sprintf("write alias_of = %q", of.AliasOf), "%s is an alias itself", name)
	case dom.RecipientsFile != "" || dom.LDAP.On():
		d.bad(key+".alias_of", fmt.Sprintf("read the list in the [[domain]] of %s; addresses of this domain alone can stand in recipients", name), "its recipients are those of %s, and a list of its own is named too", name)
	}
}

func (d *decoder) ldap(key string, l *LDAP) {
	if !l.On() {
		if l.BindDN != "" || l.Password != "" || l.PasswordFile != "" || l.Base != "" || l.TLSCA != "" {
			d.bad(key+".url", `write the server, for example url = ["ldaps://dc1.example.com"]`, "there is no server to ask")
		}
		return
	}
	for _, text := range l.URL {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" && u.Scheme != "ldapi" || u.Host == "" && u.Scheme != "ldapi":
			d.bad(key+".url", `write for example "ldaps://dc1.example.com", "ldap://dc1.example.com:389" or "ldapi:///run/slapd/ldapi"`, "%q is no such address", text)
		case u.User != nil || u.RawQuery != "" || u.Scheme != "ldapi" && strings.Trim(u.Path, "/") != "":
			d.bad(key+".url", "write the server alone; base, filter and bind_dn are keys of their own", "%q says more than a server", text)
		case l.TLS == source.NoTLS && u.Scheme == "ldap" && l.BindDN != "" && !loopback(u.Hostname()):
			d.bad(key+".tls", `write "starttls", or a url with ldaps://`, "a password is never sent without TLS")
		}
	}
	switch {
	case l.BindDN == "" && (l.Password != "" || l.PasswordFile != ""):
		d.bad(key+".bind_dn", "write whose password it is, or leave the password out", "is missing")
	case l.Password != "" && l.PasswordFile != "":
		d.bad(key+".password_file", "keep one of the two", "stands beside password")
	case l.BindDN != "" && l.Password == "" && l.PasswordFile == "":
		d.bad(key+".password", "write it, or password_file; or leave bind_dn out to ask anonymously", "is missing")
	}
	if err := source.CheckFilter(l.Filter); err != nil {
		d.bad(key+".filter", fmt.Sprintf("write one of %s, or a filter in parentheses", quoted(source.ReadyFilters())), "%v", err)
	}
	d.mustExist(key+".tls_ca", l.TLSCA, "write the path of a file with PEM certificates")
	d.mustExist(key+".password_file", l.PasswordFile, "write the path of a file that holds the password alone")
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (c *Config) recipientWarnings() []string {
	var w []string
	for i := range c.Domains {
		d := &c.Domains[i]
		if len(d.Recipients) == 0 && len(d.SyncedRecipients()) == 0 && !d.TakesAny() && d.AliasOf == "" {
			w = append(w, fmt.Sprintf(`no list of recipients is named for %s: until `+"`restante recipient import`"+` has brought one, any address is taken while its primary is down; name a list, or write recipients = ["@"] if that is meant`, d.Name))
		}
		if d.RecipientsFile != "" {
			if _, err := os.Stat(d.RecipientsFile); err != nil {
				w = append(w, fmt.Sprintf("the recipients of %s can't be read: %v; write the file, or mend recipients_file", d.Name, err))
			}
		}
		if d.RecipientsMaxAge.Std() < time.Duration(d.LDAP.Interval)*2 && d.LDAP.On() {
			w = append(w, fmt.Sprintf("recipients_max_age of %s is less than two intervals of its LDAP: the list is too old as soon as one sync fails; write a greater one", d.Name))
		}
	}
	return w
}
