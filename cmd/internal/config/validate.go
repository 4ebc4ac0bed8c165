package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// fill sets what follows from other values.
func (c *Config) fill() {
	if c.Hostname == "" {
		c.Hostname, _ = os.Hostname() // an empty one is reported by validate
	}
	c.Hostname = strings.TrimSuffix(strings.ToLower(c.Hostname), ".")
	if abs, err := filepath.Abs(c.DataDir); err == nil && c.DataDir != "" {
		c.DataDir = abs
	}
	if c.Store.URL == "" {
		c.Store.URL = "file://" + filepath.Join(c.DataDir, "spool")
	}
	if c.Admin.Socket == "" {
		c.Admin.Socket = filepath.Join(c.DataDir, "admin.sock")
	}
	c.fillWebmail()
	for i := range c.Domains {
		c.fillAlias(i)
		c.Domains[i].Border.fill(c.Border)
		r := &c.Domains[i].Retention
		if r.Delivered == unset {
			r.Delivered = c.Retention.Delivered
		}
		if r.Parked == unset {
			r.Parked = c.Retention.Parked
		}
		if r.Pending == unset {
			r.Pending = c.Retention.Pending
		}
	}
}

// validate checks what no single value shows.
func (d *decoder) validate(c *Config) {
	if _, err := ParseHost(c.Hostname); err != nil {
		d.bad("hostname", `write the name that this machine has in DNS, for example hostname = "mx2.example.com"`, "%v", err)
	}
	if c.DataDir == "" {
		d.bad("data_dir", `write a folder, for example data_dir = "/var/lib/restante"`, "is empty")
	}
	d.smtp(c)
	d.abuse(c)
	d.store(c)
	if len(c.Admin.Socket) > 100 {
		d.bad("admin.socket", "write a shorter path, for example /run/restante/admin.sock", "the path of a unix socket has at most 100 octets, this one has %d", len(c.Admin.Socket))
	}
	if c.Replay.RetryMin > c.Replay.RetryMax {
		d.bad("replay.retry_min", "write a smaller one, or a greater retry_max", "%s is more than retry_max, %s", c.Replay.RetryMin, c.Replay.RetryMax)
	}
	if c.Sending.RetryMin > c.Sending.RetryMax {
		d.bad("sending.retry_min", "write a smaller one, or a greater retry_max", "%s is more than retry_max, %s", c.Sending.RetryMin, c.Sending.RetryMax)
	}
	d.webhook("notify.url", c.Notify.URL)
	d.webhook("notify.heartbeat_url", c.Notify.HeartbeatURL)
	if len(c.Notify.Command) > 0 && c.Notify.Command[0] == "" {
		d.bad("notify.command", `write the program and its arguments: command = ["/usr/local/bin/page", "--urgent"]`, "has an empty program")
	}
	d.border(c)
	d.webmail(c)
	d.filters(c)
	if len(c.Domains) == 0 {
		where := ""
		if len(c.Files) > 0 {
			where = c.Files[0]
		}
		d.problems = append(d.problems, Problem{File: where, Key: "domain", Text: "there is no domain", missing: true,
			Mend: `write a [[domain]] with name = "example.com" and primary = ["mail.example.com:25"], or give --domain and --primary`})
	}
	seen := map[string]int{}
	for i := range c.Domains {
		d.domain(c, i, seen)
	}
}

func (d *decoder) smtp(c *Config) {
	if len(c.SMTP.Listen) == 0 {
		d.bad("smtp.listen", `write at least one, for example listen = ["0.0.0.0:25"]`, "is empty")
	}
	if (c.SMTP.TLSCert == "") != (c.SMTP.TLSKey == "") {
		key := "smtp.tls_cert"
		if c.SMTP.TLSCert == "" {
			key = "smtp.tls_key"
		}
		d.bad(key, "write both tls_cert and tls_key, or neither for a self-signed certificate", "is alone")
	} else {
		d.mustExist("smtp.tls_cert", c.SMTP.TLSCert, "write the path of the certificate, or leave out tls_cert and tls_key for a self-signed one")
		d.mustExist("smtp.tls_key", c.SMTP.TLSKey, "write the path of the certificate's key, or leave out tls_cert and tls_key for a self-signed one")
	}
	if _, set := c.lines["smtp.max_sessions_per_address"]; !set { // only a default: follow
		c.SMTP.MaxSessionsPerAddress = min(c.SMTP.MaxSessionsPerAddress, c.SMTP.MaxSessions)
	}
	if c.SMTP.MaxSessionsPerAddress > c.SMTP.MaxSessions {
		d.bad("smtp.max_sessions_per_address", "write a smaller one, or a greater max_sessions", "%d is more than max_sessions, %d", c.SMTP.MaxSessionsPerAddress, c.SMTP.MaxSessions)
	}
}

func (d *decoder) store(c *Config) {
	u, err := url.Parse(c.Store.URL)
	mend := `write "file:///var/lib/restante/spool" or "s3://bucket/prefix?region=eu-central-1"`
	switch {
	case err != nil:
		d.bad("store.url", mend, "%q is no URL", c.Store.URL)
	case u.Scheme == "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			d.bad("store.url", fmt.Sprintf("write three slashes and the whole path: %q", "file:///"+strings.TrimLeft(u.Host+u.Path, "/")), "%q has no whole path", c.Store.URL)
		}
	case u.Scheme == "s3":
		if u.Host == "" {
			d.bad("store.url", mend, "%q names no bucket", c.Store.URL)
		}
		if u.User != nil {
			d.bad("store.url", "keep them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file: ?credentials_file=/etc/restante/aws", "credentials don't belong into the URL")
		}
		for _, key := range []string{"credentials_file", "ca_file"} {
			if file := u.Query().Get(key); file != "" && !filepath.IsAbs(file) {
				d.bad("store.url", "write the whole path, as always in a URL", "%s has no whole path", key)
			}
		}
	case u.Scheme == "mem":
	default:
		d.bad("store.url", mend, "there is no store %q", c.Store.URL)
	}
}

func (d *decoder) webhook(key string, s Secret) {
	if s == "" {
		return
	}
	u, err := url.Parse(s.Reveal())
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		d.bad(key, `write for example "https://hooks.example.net/abc"`, "is no http or https address")
	}
}

func (d *decoder) domain(c *Config, i int, seen map[string]int) {
	dom := &c.Domains[i]
	key := fmt.Sprintf("domain[%d]", i)
	name, err := ParseDomain(dom.Name)
	if err != nil {
		d.bad(key+".name", `write for example name = "example.com"`, "%v", err)
	}
	if name != "" {
		if j, twice := seen[name]; twice {
			at := d.lines.of(fmt.Sprintf("domain[%d].name", j))
			d.bad(key+".name", "keep one of the two", "%s is there already (%s:%d)", name, at.file, at.line)
		}
		seen[name] = i
		dom.Name = name
	}
	if len(dom.Primary) == 0 {
		form := `write primary = ["mail.%s:25"], or ["mx"] to take it from DNS`
		if len(c.Files) == 0 {
			form = "write --primary mail.%s:25, or --primary mx to take it from DNS"
		}
		d.bad(key+".primary", fmt.Sprintf(form, orExample(name)), "there is no primary for %s", orExample(name))
	}
	dom.Primaries = nil
	for _, text := range dom.Primary {
		p, err := ParsePrimary(text)
		if err != nil {
			d.bad(key+".primary", `write "mail.example.com", "192.0.2.1:25", "[2001:db8::1]:25" or "mx"`, "%v", err)
			continue
		}
		if c.listensAt(p) {
			d.bad(key+".primary", "write the mail server that this machine stands behind", "%s is this machine itself, mail would go round in a circle", text)
		}
		dom.Primaries = append(dom.Primaries, p)
	}
	if slices.ContainsFunc(dom.Primaries, func(p Primary) bool { return p.MX }) && len(dom.Primaries) > 1 {
		d.bad(key+".primary", `write either "mx" alone or the hosts`, `"mx" stands beside other primaries`)
	}
	if err == nil { // the name of a domain that isn't one tells nothing about addresses
		d.recipientKeys(c, key, dom)
	}
	d.primaryTLS(key, dom)
	d.origin(key, dom)
	d.learned(key, dom)
	d.submission(key+".submission", &dom.Submission)
}

// mustExist checks that a file is there. One that only this user may not look at is no problem: the service may be another's.
func (d *decoder) mustExist(key, path, mend string) {
	if path == "" {
		return
	}
	if _, err := os.Stat(path); err != nil && !errors.Is(err, fs.ErrPermission) {
		d.bad(key, mend, "%v", err)
	}
}

// listensAt reports that a primary is where we take mail, as far as the configuration shows it.
func (c *Config) listensAt(p Primary) bool {
	if p.MX {
		return false
	}
	addr, err := netip.ParseAddr(p.Host)
	return slices.ContainsFunc(c.SMTP.Listen, func(listen string) bool {
		host, port, cut := net.SplitHostPort(listen)
		if cut != nil || port != strconv.Itoa(p.Port) {
			return false
		}
		at, bad := netip.ParseAddr(host)
		switch {
		case err != nil: // a name
			return strings.EqualFold(strings.TrimSuffix(p.Host, "."), c.Hostname)
		case host == "" || bad == nil && at.IsUnspecified():
			return addr.IsLoopback()
		default:
			return bad == nil && at == addr
		}
	})
}

func (d *decoder) recipients(key string, dom *Domain) {
	for _, r := range dom.Recipients {
		local, domain, ok := cutLast(r)
		switch {
		case r == "@":
			if len(dom.Recipients) > 1 {
				d.bad(key+".recipients", `write ["@"] alone for any address, or only the addresses`, `"@" stands beside addresses`)
				return
			}
		case !ok || local == "":
			d.bad(key+".recipients", fmt.Sprintf(`write %q, or "@" for any address`, strings.Trim(r, "@")+"@"+orExample(dom.Name)), "%q is no address", r)
		default:
			if got, err := ParseDomain(domain); err != nil || got != dom.Name {
				d.bad(key+".recipients", fmt.Sprintf("move it to the [[domain]] of %s, or write %q", domain, local+"@"+orExample(dom.Name)), "%q is in another domain", r)
			}
		}
	}
}

func cutLast(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return "", "", false
	}
	return address[:i], address[i+1:], true
}

func orExample(name string) string {
	if name == "" {
		return "example.com"
	}
	return name
}

// ParseDomain returns a mail domain in the form in which domains are compared: lower case, A-labels.
func ParseDomain(s string) (string, error) {
	if strings.Contains(s, "@") {
		return "", fmt.Errorf("%q is an address, not a domain", s)
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(strings.TrimSpace(s), "."))
	if err != nil {
		return "", fmt.Errorf("%q is no domain", s)
	}
	name, err := ParseHost(ascii)
	if err != nil {
		return "", fmt.Errorf("%q is no domain", s)
	}
	return name, nil
}

// Warnings are things that work but are worth a second look, each with what to do.
func (c *Config) Warnings() []string {
	var w []string
	if !strings.Contains(c.Hostname, ".") {
		w = append(w, fmt.Sprintf(`hostname %q has no dot, many mail servers refuse such a greeting; write hostname = "mx2.example.com"`, c.Hostname))
	}
	for i := range c.Domains {
		d := &c.Domains[i]
		if d.WhenUp == "spool" && d.Replay == "manual" {
			w = append(w, fmt.Sprintf("%s keeps all mail and hands nothing over by itself; `restante replay start --domain %s` does, or write replay = \"auto\"", d.Name, d.Name))
		}
	}
	if cmd := c.Notify.Command; len(cmd) > 0 {
		if _, err := exec.LookPath(cmd[0]); err != nil {
			w = append(w, fmt.Sprintf("nobody will be notified, notify.command can't be run: %v; write the whole path of a program, and try it with `restante notify test`", err))
		}
	}
	w = append(w, c.recipientWarnings()...)
	w = append(w, c.webmailWarnings()...)
	w = append(w, c.tlsWarnings()...)
	w = append(w, c.readableWarnings()...)
	if strings.HasPrefix(c.Store.URL, "mem:") {
		w = append(w, "store.url is memory: what is kept is lost when the process ends; write a file:// or s3:// URL")
	}
	return w
}

// readableWarnings names files with passwords that everybody on the machine can read.
func (c *Config) readableWarnings() []string {
	has := c.Smarthost.Password != "" || slices.ContainsFunc(c.Domains, func(d Domain) bool { return d.Submission.Password != "" || d.LDAP.Password != "" })
	if !has {
		return nil
	}
	var w []string
	for _, name := range c.Files {
		if i, err := os.Stat(name); err == nil && i.Mode().Perm()&0o004 != 0 {
			w = append(w, fmt.Sprintf("everybody on this machine can read %s and the passwords in it: chmod 640, and chgrp it to the group that restante runs as", name))
		}
	}
	return w
}
