package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	maxHosts    = 20 // MX hosts that are used
	maxReverse  = 5  // reverse names that are verified
	maxHostName = 253
	lateBy      = 300 * time.Millisecond // how long addresses of one kind wait for the other kind's
)

// LookupHost returns the addresses of a host, IPv4 first. An address is its own answer; the hosts file comes before DNS.
func (r *Resolver) LookupHost(ctx context.Context, host string) ([]string, error) {
	return r.host(ctx, host, false)
}

// LookupHost is Resolver.LookupHost with lasting answers.
func (l Lasting) LookupHost(ctx context.Context, host string) ([]string, error) {
	return l.r.host(ctx, host, true)
}

func (r *Resolver) host(ctx context.Context, host string, lasting bool) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil
	}
	if a := r.inHosts(strings.TrimSuffix(host, ".")); len(a) > 0 {
		return a, nil
	}
	var err error
	for _, name := range r.candidates(host) {
		var a addresses
		if a, err = r.addresses(ctx, name, lasting); err == nil || !IsNotFound(err) {
			return a.addrs, err
		}
	}
	return nil, err
}

// addresses are those of a host name.
type addresses struct {
	addrs  []string // IPv4 first
	owner  string   // the name that has them, behind all aliases
	secure bool     // all of them, with the aliases, were verified
}

// addresses asks for A and AAAA at once. One that fails, or is much later, doesn't matter if the other has something.
func (r *Resolver) addresses(ctx context.Context, name string, lasting bool) (addresses, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		answer
		err error
	}
	types := [2]uint16{dns.TypeA, dns.TypeAAAA}
	var results [2]chan result
	for i, t := range types {
		results[i] = make(chan result, 1)
		go func() {
			a, err := r.lookup(ctx, name, t, lasting)
			results[i] <- result{a, err}
		}()
	}
	var got [2]result
	var late <-chan time.Time
	a, aaaa := results[0], results[1]
	for a != nil || aaaa != nil {
		select {
		case got[0] = <-a:
			a = nil
		case got[1] = <-aaaa:
			aaaa = nil
		case <-late:
			a, aaaa = nil, nil
		}
		if late == nil && len(got[0].records)+len(got[1].records) > 0 {
			late = time.After(lateBy)
		}
	}
	out := addresses{secure: true}
	for i := range got {
		for _, rr := range got[i].records {
			out.owner, out.secure = got[i].owner, out.secure && got[i].secure
			switch rr := rr.(type) {
			case *dns.A:
				out.addrs = append(out.addrs, rr.A.String())
			case *dns.AAAA:
				out.addrs = append(out.addrs, rr.AAAA.String())
			}
		}
	}
	if len(out.addrs) > 0 {
		return out, nil
	}
	err := notFound(name, ErrNoRecord)
	for i := range got {
		if e := got[i].err; e != nil && !IsNotFound(e) {
			return addresses{}, e
		} else if errors.Is(e, ErrNoDomain) {
			err = notFound(name, ErrNoDomain)
		}
	}
	return addresses{}, err
}

// LookupMX returns the MX records of a domain, sorted by preference, at random within one (RFC 5321 5.1). A null MX (RFC 7505)
// comes back as a host of ".". A domain without any is an error with IsNotFound.
func (r *Resolver) LookupMX(ctx context.Context, domain string) ([]*net.MX, error) {
	return r.mx(ctx, domain, false)
}

// LookupMX is Resolver.LookupMX with lasting answers.
func (l Lasting) LookupMX(ctx context.Context, domain string) ([]*net.MX, error) {
	return l.r.mx(ctx, domain, true)
}

func (r *Resolver) mx(ctx context.Context, domain string, lasting bool) ([]*net.MX, error) {
	a, err := r.lookup(ctx, domain, dns.TypeMX, lasting)
	if err != nil {
		return nil, err
	}
	var out []*net.MX
	for _, rr := range a.records {
		if m, ok := rr.(*dns.MX); ok {
			out = append(out, &net.MX{Host: m.Mx, Pref: m.Preference})
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	slices.SortStableFunc(out, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	return out, nil
}

// LookupAddr returns the names that the owner of an address claims for it, each with a last dot. They aren't
// verified: see VerifiedName.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{UnwrapErr: err, Err: "not an IP address", Name: addr, IsNotFound: true}
	}
	a, err := r.lookup(ctx, name, dns.TypePTR, false)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range a.records {
		if p, ok := rr.(*dns.PTR); ok {
			out = append(out, p.Ptr)
		}
	}
	return out, nil
}

// LookupTXT returns the TXT records of a name, the strings of each put together (RFC 7208 3.3).
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := r.lookup(ctx, name, dns.TypeTXT, false)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range a.records {
		if t, ok := rr.(*dns.TXT); ok {
			out = append(out, unescape(strings.Join(t.Txt, "")))
		}
	}
	if len(out) == 0 {
		return nil, notFound(name, ErrNoRecord)
	}
	return out, nil
}

// unescape turns the presentation form that miekg/dns gives (\DDD, \c; RFC 1035 5.1) back into octets.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		if i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		i++
		out = append(out, s[i])
	}
	return string(out)
}

// LookupIPAddr is LookupHost with parsed addresses, without the hosts file: what senders publish is asked of DNS alone.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	found, err := r.addresses(ctx, host, false)
	if err != nil {
		return nil, err
	}
	var out []net.IPAddr
	for _, a := range found.addrs {
		out = append(out, net.IPAddr{IP: net.ParseIP(a)})
	}
	return out, nil
}

// VerifiedName returns a name of an address that resolves back to it, without a last dot, or "" if it has none (RFC 8601 2.7.3
// "iprev"). At most five claimed names are looked at. An error means that it can't be known now.
func (r *Resolver) VerifiedName(ctx context.Context, ip netip.Addr) (string, error) {
	ip = ip.Unmap().WithZone("")
	names, err := r.LookupAddr(ctx, ip.String())
	if IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var failed error
	for _, n := range names[:min(len(names), maxReverse)] {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		if !hostname(n) {
			continue
		}
		found, err := r.addresses(ctx, n, false)
		if err != nil && !IsNotFound(err) {
			failed = err
		}
		for _, a := range found.addrs {
			if b, err := netip.ParseAddr(a); err == nil && b.Unmap() == ip {
				return n, nil
			}
		}
	}
	return "", failed
}

// hostname reports letters, digits, "-", "_" and dots between them.
func hostname(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			b := label[i]
			if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '-' && b != '_' {
				return false
			}
		}
	}
	return len(s) <= maxHostName
}

// Errors of MXHosts, for errors.Is.
var (
	ErrNullMX = errors.New("the domain says that it takes no mail (null MX, RFC 7505)")
	ErrOnlyUs = errors.New("no MX of the domain is better than ourselves")
)

// MXResolver is what MXHosts asks; *Resolver, Lasting and *net.Resolver are such.
type MXResolver interface {
	LookupMX(ctx context.Context, domain string) ([]*net.MX, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// MXHosts returns the hosts that take a domain's mail, best first, at most 20, names without a last dot (RFC 5321
// 5.1): its MX hosts; itself if it has no MX but addresses. Never ourselves, by any of our names or addresses, nor
// anything of the same or a worse preference: that is how mail loops are made. If nothing is left the error is ErrOnlyUs.
func MXHosts(ctx context.Context, r MXResolver, domain string, ourNames []string, ourAddrs []netip.Addr) ([]string, error) {
	mxs, err := r.LookupMX(ctx, domain)
	if err != nil {
		if !IsNotFound(err) || errors.Is(err, ErrNoDomain) {
			return nil, err
		}
		if _, err := r.LookupHost(ctx, domain); err != nil { // the implicit MX
			return nil, err
		}
		mxs = []*net.MX{{Host: domain}}
	}
	ours := func(host string) bool {
		for _, n := range ourNames {
			if strings.EqualFold(strings.TrimSuffix(n, "."), host) {
				return true
			}
		}
		if len(ourAddrs) == 0 {
			return false
		}
		addrs, err := r.LookupHost(ctx, host)
		if err != nil {
			return false // it can't be reached now, and is asked for again when it is
		}
		for _, a := range addrs {
			if b, err := netip.ParseAddr(a); err == nil && slices.Contains(ourAddrs, b.Unmap()) {
				return true
			}
		}
		return false
	}
	var hosts []string
	var prefs []uint16
	for _, m := range mxs[:min(len(mxs), maxHosts)] {
		host := strings.ToLower(strings.TrimSuffix(m.Host, "."))
		if host == "" {
			if len(mxs) == 1 {
				return nil, ErrNullMX
			}
			continue // RFC 7505 3: it stands alone or is a mistake
		}
		if ours(host) {
			for len(prefs) > 0 && prefs[len(prefs)-1] >= m.Pref {
				hosts, prefs = hosts[:len(hosts)-1], prefs[:len(prefs)-1]
			}
			if len(hosts) == 0 {
				return nil, ErrOnlyUs
			}
			return hosts, nil
		}
		hosts, prefs = append(hosts, host), append(prefs, m.Pref)
	}
	if len(hosts) == 0 {
		return nil, notFound(domain, ErrNoRecord)
	}
	return hosts, nil
}
