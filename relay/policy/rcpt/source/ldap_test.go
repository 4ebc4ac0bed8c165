package source

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"restante/spool/need"
)

// people are entries as OpenLDAP, qmail and Active Directory have them.
func people() string {
	return person("Anna", "mail: anna@example.com", "mailAlternateAddress: a.schmidt@example.com", "mailLocalAddress: anna.schmidt@example.com", "mail: anna@example.net") +
		person("Ben", "proxyAddresses: SMTP:ben@example.com", "proxyAddresses: smtp:b@example.com", "proxyAddresses: X500:/o=First/cn=ben", "mail: ben.typo@example.com") +
		person("Nobody") +
		"dn: cn=Sales,dc=example,dc=com\nobjectClass: groupOfNames\nobjectClass: mailRecipient\ncn: Sales\nmember: cn=Anna,dc=example,dc=com\nmail: sales@example.com\n\n"
}

func TestLDAP(t *testing.T) {
	d := startSlapd(t, people(), "")
	signed := LDAP{URLs: []string{d.plus}, CAFile: d.ca, BindDN: reader, Password: "secret"}
	with := func(f func(*LDAP)) LDAP {
		l := signed
		f(&l)
		return l
	}
	all := "anna@example.com/user a.schmidt@example.com/alias anna.schmidt@example.com/user ben@example.com/user b@example.com/alias ben.typo@example.com/user sales@example.com/group ~1example.net"
	closed := "ldap://" + need.Addr(t)
	for name, x := range map[string]struct {
		ldap LDAP
		want string // words of the result, or of the error
	}{
		"ldaps":             {signed, all},
		"starttls":          {with(func(l *LDAP) { l.URLs = []string{d.plain} }), all},
		"plain":             {with(func(l *LDAP) { l.URLs, l.TLS = []string{d.plain}, NoTLS }), all},
		"second server":     {with(func(l *LDAP) { l.URLs = []string{closed, d.plus} }), all},
		"password in file":  {with(func(l *LDAP) { l.Password, l.PasswordFile = "", d.password }), all},
		"base":              {with(func(l *LDAP) { l.Base = "cn=Sales,dc=example,dc=com" }), "sales@example.com/group"},
		"ad":                {with(func(l *LDAP) { l.Filter = "ad" }), "ben@example.com/user b@example.com/alias"},
		"openldap":          {with(func(l *LDAP) { l.Filter = "openldap" }), "anna@example.com/user a.schmidt@example.com/alias anna.schmidt@example.com/user ben.typo@example.com/user sales@example.com/group ~1example.net"},
		"own filter":        {with(func(l *LDAP) { l.Filter = "(objectClass=groupOfNames)" }), "sales@example.com/group"},
		"own attributes":    {with(func(l *LDAP) { l.Attributes = []string{"MAIL"} }), "anna@example.com/user ben.typo@example.com/user sales@example.com/group ~1example.net"},
		"no CA":             {with(func(l *LDAP) { l.CAFile = "" }), "!name its CA in tls_ca"},
		"no CA by starttls": {with(func(l *LDAP) { l.CAFile, l.URLs = "", []string{d.plain} }), "!STARTTLS, name its CA in tls_ca"},
		"CA that isn't":     {with(func(l *LDAP) { l.CAFile = d.password }), "!has no certificate in it"},
		"wrong name":        {with(func(l *LDAP) { l.URLs = []string{strings.Replace(d.plus, "127.0.0.1", "localhost", 1)} }), "!the server in url as its certificate does"},
		"wrong password":    {with(func(l *LDAP) { l.Password = "wrong" }), "!signing in as " + reader + ", mend bind_dn or the password"},
		"empty password":    {with(func(l *LDAP) { l.Password = "" }), "!there is no password for"},
		"anonymous":         {with(func(l *LDAP) { l.BindDN = "" }), "!see what an anonymous user may read"},
		"empty base":        {with(func(l *LDAP) { l.Base = "cn=none,dc=example,dc=com" }), "!mend base: there is no such place"},
		"nothing fits":      {with(func(l *LDAP) { l.Filter = "(mail=zzz*)" }), "!mend base or filter"},
		"bad filter":        {with(func(l *LDAP) { l.Filter = "(mail=" }), "!Filter Compile Error"},
		"no server":         {with(func(l *LDAP) { l.URLs = []string{closed} }), "!mend url, or let this machine reach the server: "},
		"none named":        {with(func(l *LDAP) { l.URLs = nil }), "!no server is named"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := x.ldap.Fetch(t.Context(), "example.com")
			if want, failed := strings.CutPrefix(x.want, "!"); failed {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, not %s", err, want)
				}
				return
			}
			if got := words(r); err != nil || got != x.want {
				t.Errorf("%v\ngot  %s\nwant %s", err, got, x.want)
			}
		})
	}

	// What ldapsearch prints of the same directory is read alike by import.
	out, err := exec.Command(need.Program(t, "ldapsearch"), "-x", "-LLL", "-H", d.plain, "-D", reader, "-y", passwordAlone(t, d), "-b", "dc=example,dc=com", "(mail=*)", "mail", "objectClass").Output()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Parse(strings.NewReader(string(out)), "", "example.com"); err != nil || words(r) != "anna@example.com/user ben.typo@example.com/user sales@example.com/group ~1example.net" {
		t.Errorf("%s, %v in\n%s", words(r), err, out)
	}
}

// TestLDAPWithoutTLS: a server that has no STARTTLS is said to have none, and what to do.
func TestLDAPWithoutTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		// The answer to the first request: ExtendedResponse, protocolError (RFC 4511 4.12).
		if _, err := conn.Read(make([]byte, 512)); err == nil {
			_, _ = conn.Write([]byte{0x30, 12, 0x02, 1, 1, 0x78, 7, 0x0a, 1, 2, 0x04, 0, 0x04, 0})
		}
	}()
	_, err = (&LDAP{URLs: []string{"ldap://" + l.Addr().String()}}).Fetch(t.Context(), "example.com")
	if err == nil || !strings.Contains(err.Error(), `the server has none: take ldaps://, or tls = "none"`) {
		t.Error(err)
	}
}

// passwordAlone is the password in a file as ldapsearch -y wants it, without an end of line.
func passwordAlone(t *testing.T, d *directory) string {
	t.Helper()
	path := filepath.Join(d.dir, "alone")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLDAPPages: a directory larger than a page comes whole; one that the server cuts short doesn't come at all.
func TestLDAPPages(t *testing.T) {
	var b strings.Builder
	for i := range 3*LDAPPage + 1 {
		name := "user" + strconv.Itoa(i)
		b.WriteString(person(name, "mail: "+name+"@example.com"))
	}
	d := startSlapd(t, b.String(), "sizelimit unlimited")
	l := LDAP{URLs: []string{d.plain}, TLS: NoTLS, BindDN: reader, Password: "secret"}
	if r, err := l.Fetch(t.Context(), "example.com"); err != nil || len(r.Addresses) != 3*LDAPPage+1 {
		t.Error(len(r.Addresses), err)
	}
	for _, limit := range []string{"sizelimit size=unlimited size.prtotal=700", "sizelimit 600"} {
		d := startSlapd(t, b.String(), limit)
		l.URLs = []string{d.plain}
		if r, err := l.Fetch(t.Context(), "example.com"); err == nil || !strings.Contains(err.Error(), "only a part of the list") {
			t.Errorf("%s: %d, %v", limit, len(r.Addresses), err)
		}
	}
}

// TestLDAPHostile: a server that says nothing, or garbage, or without end, is an error in time and never a list.
func TestLDAPHostile(t *testing.T) {
	for name, say := range map[string]func(net.Conn){
		"silence": func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)); <-t.Context().Done() },
		"closes":  func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)) },
		"garbage": func(c net.Conn) { _, _ = c.Write([]byte("220 mail.example.com ESMTP\r\n\x30\x84\xff\xff\xff\xff")) },
		"zeros": func(c net.Conn) {
			for zero := make([]byte, 1<<16); ; {
				if _, err := c.Write(zero); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { defer c.Close(); say(c) }()
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			start := time.Now()
			d := LDAP{URLs: []string{"ldap://" + l.Addr().String()}, TLS: NoTLS}
			if r, err := d.Fetch(ctx, "example.com"); err == nil || strings.Contains(err.Error(), "write base") {
				t.Errorf("%+v, %v: a server that says nothing right doesn't want for a base", r, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Error(took)
			}
		})
	}
}

// TestFilters: the ready filters can be compiled, and each attribute they hold is one.
func TestFilters(t *testing.T) {
	for name, r := range filters() {
		if err := CheckFilter(r.filter); err != nil || CheckFilter(name) != nil || len(r.attributes) == 0 {
			t.Error(name, err)
		}
		for _, a := range r.attributes {
			if !isAttribute(a) {
				t.Errorf("%s: %s is not read from LDIF", name, a)
			}
		}
	}
}

// TestPostmap: what postmap prints of a real table is read as it was meant.
func TestPostmap(t *testing.T) {
	postmap := need.Program(t, "postmap")
	table := "hash:" + filepath.Join(t.TempDir(), "virtual")
	text := "# who is there\nAnna@example.com OK\nsales@example.com anna@example.com,\n ben@example.com\n@example.net anna@example.com\nexample.net anything\n"
	if err := os.WriteFile(strings.TrimPrefix(table, "hash:"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(postmap, table).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(postmap, "-s", table).Output()
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{"example.com": "anna@example.com sales@example.com/alias ~1example.net", "example.net": "@example.net ~2example.com", "": "@example.net anna@example.com sales@example.com/alias"} {
		if r, err := Parse(strings.NewReader(string(out)), "", domain); err != nil || words(r) != want {
			t.Errorf("%s, %v, not %s in\n%s", words(r), err, want, out)
		}
	}
	if r, err := Parse(strings.NewReader("root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000::/home/anna:/bin/sh\n"), "", "example.com"); err != nil || words(r) != "root@example.com/user anna@example.com/user" {
		t.Error(words(r), err)
	}
}
