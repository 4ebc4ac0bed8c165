package msgauth

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"

	"blitiri.com.ar/go/spf"

	"restante/relay/mailaddr"
)

// spf checks the reverse-path and HELO. For the null reverse-path the first is that of postmaster at HELO (RFC 7208 2.4).
func (j *Judge) spf(ctx context.Context, ip netip.Addr, helo, from string) (path, name SPF) {
	heloDomain := ""
	if d, err := mailaddr.ParseDomain(helo); err == nil && strings.Contains(d, ".") && !strings.HasPrefix(d, "[") {
		heloDomain = d
	}
	check := func(domain, sender string) SPF {
		if domain == "" {
			return SPF{Result: None, Reason: "no domain to ask"}
		}
		result, err := spf.CheckHostWithSender(net.IP(ip.AsSlice()), heloDomain, sender, spf.WithContext(ctx), spf.WithResolver(bounded{j.o.Resolver}))
		out := SPF{Result: Result(result), Domain: domain}
		if err != nil {
			out.Reason = err.Error()
		}
		if ctx.Err() != nil {
			out.Result, out.Reason = TempError, "no answer in time"
		}
		return out
	}
	if from == "" {
		name = check(heloDomain, "postmaster@"+heloDomain)
		return name, name
	}
	var greeting sync.WaitGroup // beside the reverse-path, whose time it doesn't take
	greeting.Go(func() { name = check(heloDomain, "postmaster@"+heloDomain) })
	path = check(pathOf(from))
	greeting.Wait()
	return path, name
}

// bounded reads no SPF record over maxSPF.
type bounded struct{ Resolver }

func (b bounded) LookupTXT(ctx context.Context, name string) ([]string, error) {
	txt, err := b.Resolver.LookupTXT(ctx, name)
	for _, t := range txt {
		if len(t) > maxSPF && strings.EqualFold(t[:len("v=spf1")], "v=spf1") {
			return nil, errors.New("the SPF record of " + name + " is larger than is read")
		}
	}
	return txt, err
}

// pathOf is whose SPF is asked for a reverse-path, and by which sender; "" where there is no domain to ask.
func pathOf(from string) (domain, sender string) {
	a, err := mailaddr.Parse(from)
	if err != nil || a.IsLiteral() {
		return "", ""
	}
	// The local part counts in macros only (RFC 7208 7.3); what isn't plain ASCII can't be looked up (RFC 8616 4).
	local := a.Local
	for i := range len(local) {
		if local[i] >= 0x80 || local[i] <= ' ' || local[i] == '@' {
			local = "postmaster"
			break
		}
	}
	return a.Domain, local + "@" + a.Domain
}
