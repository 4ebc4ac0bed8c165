package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Errors of Resolver.DANE when the records must be found, for errors.Is.
var (
	ErrNoDNSSEC   = errors.New("no resolver that verifies DNSSEC can be believed: run one on this machine (unbound), or set [dns] trust_ad where nobody can stand between it and here")
	ErrInsecureMX = errors.New("the domain's MX records aren't signed, so anybody could name another server: sign its zone (DNSSEC), or name the server in primary")
	ErrNoTLSA     = errors.New("the server has no TLSA records that are signed (DNSSEC): publish them, see `restante setup`")
)

// Server is what Resolver.DANE is asked about.
type Server struct {
	Host   string // as it was configured or found in MX records
	Port   int
	Domain string // whose MX records named the host; "" when the host was configured
	Must   bool   // there has to be an answer: mail goes by DANE alone
}

// DANE is what DNS says of a server's certificate (RFC 7672).
type DANE struct {
	Base    string   // the name that the records are for, and that the server is asked for (SNI)
	Names   []string // that a certificate of a DANE-TA record may carry, Base first (RFC 7672 3.2.2)
	Records []TLSA   // verified; empty: the server has none
	Guided  bool     // it is the right server too: the configuration names it, or MX records that are signed
}

// DANE finds the TLSA records that count for a server (RFC 7672 2.2). Without Must, a server whose name isn't signed has none, and isn't
// asked for any: there are name servers that don't answer such questions. An error means that they can't be known
// now: mail then waits, since otherwise whoever keeps the answer from us could have the mail.
//
// Where the host is an alias, the name behind it comes first, if all of that is signed; then the alias itself.
func (r *Resolver) DANE(ctx context.Context, s Server) (DANE, error) {
	found, err := r.dane(ctx, s)
	if err != nil || len(found.Records) > 0 || !s.Must {
		return found, err
	}
	return DANE{}, fmt.Errorf("%s: %w", s.Host, ErrNoTLSA)
}

func (r *Resolver) dane(ctx context.Context, s Server) (DANE, error) {
	host := strings.ToLower(strings.TrimSuffix(s.Host, "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return DANE{}, nil
	}
	if !r.Secure() {
		if s.Must {
			return DANE{}, ErrNoDNSSEC
		}
		return DANE{}, nil
	}
	var more []string
	guided := s.Domain == ""
	if s.Domain != "" {
		mx, err := r.lookup(ctx, s.Domain, dns.TypeMX, true)
		switch {
		case s.Must && err != nil && !IsNotFound(err):
			return DANE{}, err
		case s.Must && !mx.secure:
			return DANE{}, fmt.Errorf("%s: %w", s.Domain, ErrInsecureMX)
		case err == nil && mx.secure:
			more = []string{strings.ToLower(strings.TrimSuffix(s.Domain, "."))}
		}
		guided = mx.secure
	}
	names, err := r.bases(ctx, host, s.Must)
	if err != nil {
		return DANE{}, err
	}
	for _, base := range names {
		records, secure, err := r.LookupTLSA(ctx, fmt.Sprintf("_%d._tcp.%s", s.Port, base))
		if err != nil && !IsNotFound(err) {
			return DANE{}, err
		}
		if secure && len(records) > 0 {
			if base != host && s.Domain == "" {
				more = []string{host} // the next hop itself, before its alias was followed
			}
			return DANE{Base: base, Names: append([]string{base}, more...), Records: records, Guided: guided}, nil
		}
	}
	return DANE{}, nil
}

// bases are the names to ask for TLSA records of a host, best first (RFC 7672 2.2.2, 2.2.3).
func (r *Resolver) bases(ctx context.Context, host string, must bool) ([]string, error) {
	a, err := r.addresses(ctx, host, true)
	switch {
	case must && err != nil:
		return []string{host}, nil // only the records matter: the address may be in the hosts file, or be one that was good last
	case IsNotFound(err), err != nil && len(r.inHosts(host)) > 0: // it has its address from elsewhere
		return nil, nil
	case err != nil:
		return nil, err
	case a.owner == host && (a.secure || must):
		return []string{host}, nil
	case a.owner == host:
		return nil, nil
	case a.secure:
		return []string{a.owner, host}, nil
	}
	alias, err := r.lookup(ctx, host, dns.TypeCNAME, true)
	if err != nil && !IsNotFound(err) {
		return nil, err
	}
	if alias.secure || must {
		return []string{host}, nil
	}
	return nil, nil
}
