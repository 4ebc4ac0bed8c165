package source

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"restante/spool"
)

// How LDAP.TLS says that a connection is protected. With an ldaps:// URL it is TLS from the first octet.
const (
	StartTLS = "starttls" // RFC 4511 4.14; also ""
	NoTLS    = "none"
)

// Limits of one fetch.
const (
	// LDAPTime is how long a fetch may take in all.
	LDAPTime = 2 * time.Minute
	// LDAPAnswer is how long one answer may take, connecting included.
	LDAPAnswer = 20 * time.Second
	// LDAPPage is how many entries are asked for at a time (RFC 2696); Active Directory gives 1,000 at most.
	LDAPPage = 500
	// LDAPOctets is how much a server may send.
	LDAPOctets = 256 << 20
)

// LDAP is a directory with the recipients of a domain.
type LDAP struct {
	URLs         []string // ldap://, ldaps:// or ldapi://; tried in this order
	TLS          string   // StartTLS or NoTLS
	CAFile       string   // PEM; "": the system's
	BindDN       string   // "": anonymous
	Password     string
	PasswordFile string   // read at each fetch, instead of Password
	Base         string   // "": the one that the server names
	Filter       string   // a name of ReadyFilters, or a filter of one's own; "": "any"
	Attributes   []string // that hold addresses; none: those of the filter
}

// ready is a filter that can be named.
type ready struct {
	filter     string
	attributes []string
}

// filters are the ready ones. A term with an attribute that a server doesn't know is no error, it fits nothing (RFC 4511 4.5.1.7).
func filters() map[string]ready {
	return map[string]ready{
		// Whatever has an address of mail. Too many addresses do less harm than too few.
		"any": {"(|(proxyAddresses=smtp:*)(mail=*)(mailAlternateAddress=*)(mailLocalAddress=*)(zimbraMailAlias=*))", Attributes()},
		// Exchange keeps each address of people, groups, contacts and folders there; mail may be filled in by hand and exist nowhere.
		"ad":       {"(proxyAddresses=smtp:*)", []string{"proxyAddresses"}},
		"openldap": {"(|(mail=*)(mailAlternateAddress=*)(mailLocalAddress=*))", []string{"mail", "mailAlternateAddress", "mailLocalAddress"}},
		"zimbra": {"(&(|(mail=*)(zimbraMailAlias=*))(!(zimbraAccountStatus=closed)))",
			[]string{"mail", "zimbraMailDeliveryAddress", "zimbraMailAlias", "zimbraMailCatchAllAddress"}},
	}
}

// ReadyFilters are the names that LDAP.Filter may be.
func ReadyFilters() []string {
	names := make([]string, 0, 4)
	for n := range filters() {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// CheckFilter says what is wrong with a filter.
func CheckFilter(filter string) error {
	if _, ok := filters()[filter]; ok || filter == "" {
		return nil
	}
	if !strings.HasPrefix(filter, "(") {
		return fmt.Errorf("there is no ready filter %q", filter)
	}
	if _, err := ldap.CompileFilter(filter); err != nil {
		if e, ok := errors.AsType[*ldap.Error](err); ok {
			err = e.Err // without the number that LDAP has for it
		}
		return fmt.Errorf("%q is no filter: %s", filter, strings.TrimPrefix(err.Error(), "ldap: "))
	}
	return nil
}

// Fetch asks for the recipients of a domain. Whatever keeps the answer from being whole (a limit of the server, a referral in its
// place, a lost connection) is an error: half a list is none.
func (l *LDAP) Fetch(ctx context.Context, domain string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, LDAPTime)
	defer cancel()
	var errs []error
	for _, u := range l.URLs {
		r, err := l.fetch(ctx, u, domain)
		if err == nil {
			return r, nil
		}
		if errors.Is(err, ErrFormat) { // this server has answered
			return r, err
		}
		if ctx.Err() != nil {
			return Result{}, fmt.Errorf("%s: no whole answer within %s: %w", u, spool.ExactSpan(LDAPTime), ctx.Err())
		}
		errs = append(errs, fmt.Errorf("%s: %w", u, err))
	}
	if len(errs) == 0 {
		return Result{}, errors.New("no server is named: write its url")
	}
	return Result{}, errors.Join(errs...)
}

func (l *LDAP) fetch(ctx context.Context, server, domain string) (Result, error) {
	conn, err := l.dial(ctx, server)
	if err != nil {
		return Result{}, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if err := l.bind(conn); err != nil {
		return Result{}, err
	}
	base, err := l.base(conn)
	if err != nil {
		return Result{}, err
	}
	f, attributes := l.asks()
	c := &collector{domain: domain, seen: map[string]int{}}
	c.res.Format = "ldap"
	if err := c.search(conn, base, f, attributes); err != nil {
		return Result{}, err
	}
	switch {
	case c.tooMany:
		return c.res, fmt.Errorf("%w: there are too many addresses under %q; narrow base or filter", ErrFormat, base)
	case len(c.res.Addresses) == 0 && len(c.res.Elsewhere) > 0:
		return c.res, fmt.Errorf("%w: under %q there are only addresses of %s", ErrFormat, base, someDomains(c.res.Elsewhere))
	case len(c.res.Addresses) == 0:
		return c.res, fmt.Errorf("%w: nothing under %q fits %s; mend base or filter, and see what %s may read", ErrFormat, base, f, cmp.Or(l.BindDN, "an anonymous user"))
	}
	return c.res, nil
}

// asks is what is searched for.
func (l *LDAP) asks() (filter string, attributes []string) {
	filter, attributes = l.Filter, l.Attributes
	if r, ok := filters()[cmp.Or(filter, "any")]; ok {
		filter = r.filter
		if len(attributes) == 0 {
			attributes = r.attributes
		}
	}
	if len(attributes) == 0 {
		attributes = Attributes()
	}
	return filter, attributes
}

// dial connects. TLS is verified always.
func (l *LDAP) dial(ctx context.Context, server string) (*ldap.Conn, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	network, address := "tcp", u.Host
	switch port := u.Port(); {
	case u.Scheme == "ldapi":
		network, address = "unix", cmp.Or(u.Path, "/var/run/slapd/ldapi")
	case port == "" && u.Scheme == "ldaps":
		address = net.JoinHostPort(u.Hostname(), "636")
	case port == "":
		address = net.JoinHostPort(u.Hostname(), "389")
	}
	ctx, cancel := context.WithTimeout(ctx, LDAPAnswer)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("mend url, or let this machine reach the server: %w", err)
	}
	tlsConfig := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if l.CAFile != "" {
		if tlsConfig.RootCAs, err = roots(l.CAFile); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
	}
	var nc net.Conn = &bounded{Conn: raw, left: LDAPOctets}
	if u.Scheme == "ldaps" {
		secure := tls.Client(nc, tlsConfig)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("TLS, %s: %w", seeCertificate, err), raw.Close())
		}
		nc = secure
	}
	conn := ldap.NewConn(nc, u.Scheme == "ldaps")
	conn.SetTimeout(LDAPAnswer)
	conn.Start()
	if u.Scheme == "ldap" && l.TLS != NoTLS {
		defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
		if err := conn.StartTLS(tlsConfig); err != nil {
			mend := seeCertificate
			if ldap.IsErrorWithCode(err, ldap.LDAPResultProtocolError) || ldap.IsErrorWithCode(err, ldap.LDAPResultUnavailable) { // RFC 4511 4.14.2
				mend = `the server has none: take ldaps://, or tls = "none" where nobody can listen in`
			}
			return nil, errors.Join(fmt.Errorf("STARTTLS, %s: %w", mend, err), conn.Close())
		}
	}
	return conn, nil
}

const seeCertificate = "name its CA in tls_ca, and the server in url as its certificate does"

func roots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in it", file)
	}
	return pool, nil
}

// bounded ends a connection that brings too much.
type bounded struct {
	net.Conn
	left int64
}

// Read implements net.Conn.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the server sent more than %d MiB", LDAPOctets>>20)
	}
	n, err := b.Conn.Read(p)
	b.left -= int64(n)
	return n, err
}

func (l *LDAP) bind(conn *ldap.Conn) error {
	if l.BindDN == "" {
		return nil
	}
	password := l.Password
	if l.PasswordFile != "" {
		f, err := os.Open(l.PasswordFile)
		if err != nil {
			return err
		}
		defer f.Close()
		raw, err := io.ReadAll(io.LimitReader(f, 4096))
		if err != nil {
			return err
		}
		password = strings.TrimRight(string(raw), "\r\n")
	}
	// RFC 4513 5.1.2: a name without a password would be taken for an anonymous bind, and found right.
	if password == "" {
		return fmt.Errorf("there is no password for %s", l.BindDN)
	}
	switch err := conn.Bind(l.BindDN, password); {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
		return fmt.Errorf("signing in as %s, mend bind_dn or the password: %w", l.BindDN, err)
	case err != nil:
		return fmt.Errorf("signing in as %s: %w", l.BindDN, err)
	}
	return nil
}

// base is where to search: what is configured, or the one place that the server names in its root (RFC 4512 5.1).
func (l *LDAP) base(conn *ldap.Conn) (string, error) {
	if l.Base != "" {
		return l.Base, nil
	}
	res, err := conn.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)",
		[]string{"defaultNamingContext", "namingContexts"}, nil))
	var said *ldap.Error
	if err != nil && (!errors.As(err, &said) || said.ResultCode >= ldap.ErrorNetwork) { // these codes are the library's own: it didn't answer
		return "", fmt.Errorf("asking what it holds: %w", err)
	}
	if err != nil || len(res.Entries) == 0 {
		return "", fmt.Errorf("it doesn't say what it holds, write base: %w", cmp.Or(err, errors.New("no root entry")))
	}
	if base := res.Entries[0].GetAttributeValue("defaultNamingContext"); base != "" { // Active Directory
		return base, nil
	}
	names := res.Entries[0].GetAttributeValues("namingContexts")
	if len(names) != 1 || names[0] == "" {
		return "", fmt.Errorf("it holds %q: write one of them as base", names)
	}
	return names[0], nil
}

// search takes in all that fits, a page at a time.
func (c *collector) search(conn *ldap.Conn, base, filter string, attributes []string) error {
	page := ldap.NewControlPaging(LDAPPage)
	req := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter,
		append([]string{"objectClass"}, attributes...), []ldap.Control{page})
	for !c.tooMany {
		res, err := conn.Search(req)
		if err != nil {
			return searchError(err)
		}
		for _, e := range res.Entries {
			c.line++
			if err := c.entry(e, attributes); err != nil {
				return err
			}
		}
		// References to other servers (res.Referrals) aren't followed: what they hold is another directory.
		next, ok := ldap.FindControl(res.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return nil
		}
		page.SetCookie(next.Cookie)
	}
	return nil
}

// searchError says what to do about an answer that isn't whole.
func searchError(err error) error {
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded), ldap.IsErrorWithCode(err, ldap.LDAPResultAdminLimitExceeded), ldap.IsErrorWithCode(err, ldap.LDAPResultTimeLimitExceeded):
		return fmt.Errorf("the server gives only a part of the list: raise its limit for this user, or narrow base or filter: %w", err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return fmt.Errorf("mend base: there is no such place, or this user may not see it: %w", err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultReferral):
		return fmt.Errorf("the server doesn't hold that base, it refers to another: name that one: %w", err)
	}
	return err
}

// entry takes in the addresses of one entry.
func (c *collector) entry(e *ldap.Entry, attributes []string) error {
	kind := ""
	for _, class := range e.GetEqualFoldAttributeValues("objectClass") {
		if k := kindOf(class); k == "group" || kind == "" {
			kind = k
		}
	}
	for _, a := range e.Attributes {
		name, option, _ := strings.Cut(a.Name, ";")
		if !slices.ContainsFunc(attributes, func(s string) bool { return strings.EqualFold(s, name) }) {
			continue
		}
		if strings.HasPrefix(strings.ToLower(option), "range=") && !strings.HasSuffix(option, "*") {
			return fmt.Errorf("%s has more values of %s than the server gives at once", e.DN, name)
		}
		for _, v := range a.Values {
			address, k, ok := typed(v)
			if !ok {
				continue
			}
			switch name = strings.ToLower(name); {
			case name == catchAllAttribute:
				c.catchAll(address)
				continue
			case k == "" && aliasAttribute(name):
				k = "alias"
			}
			c.add(address, kindFor(kind, k))
		}
	}
	return nil
}
