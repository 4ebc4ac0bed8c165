package app

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/primary"
	"restante/dns"
	"restante/relay/mailaddr"
)

// PrimaryTest implements admin.PrimaryBackend. What it sees changes neither the primary's health nor what is known of recipients.
func (b *backend) PrimaryTest(ctx context.Context, by string, t admin.PrimaryTest) (*primary.Report, error) {
	t.Domain = strings.ToLower(strings.TrimSuffix(t.Domain, "."))
	if err := b.isHosted(t.Domain); err != nil {
		return nil, err
	}
	for _, a := range []string{t.From, t.To} {
		if _, err := mailaddr.Parse(a); a != "" && err != nil {
			return nil, admin.Errorf(admin.KindUsage, "write for example postmaster@"+t.Domain, "%q is no address: %w", a, err)
		}
	}
	if t.To != "" && !strings.HasSuffix(strings.ToLower(t.To), "@"+t.Domain) {
		return nil, admin.Errorf(admin.KindUsage, "name an address of "+t.Domain, "the primary isn't asked to relay to %s", t.To)
	}
	if t.Kind != primary.Unknown && !slices.Contains(primary.Kinds(), t.Kind) {
		return nil, admin.Errorf(admin.KindUsage, "write one of "+kindNames(), "there is no kind %q", t.Kind)
	}
	c := b.cfg.Load()
	test := primary.Test{
		Domain: t.Domain, Targets: b.monitor.Targets(t.Domain), Dialer: b.dialer, Hostname: c.Hostname, Ours: b.outward(ctx),
		From: t.From, To: t.To, Kind: t.Kind, Known: b.known(t.Domain), Connections: c.Replay.Connections, MaxSize: int64(c.SMTP.MaxMessageSize),
	}
	r, err := test.Run(ctx)
	if err == nil {
		b.log.Info("primary tested", "domain", t.Domain, "by", by, "well", r.Well())
	}
	return r, err
}

func kindNames() string {
	var names []string
	for _, k := range primary.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// outward is under which addresses others may see us: those of our name in DNS, and this machine's own public ones.
func (b *backend) outward(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, ask)
	defer cancel()
	var out []string
	add := func(a netip.Addr) {
		if a = a.Unmap(); dns.Public(a) && !slices.Contains(out, a.String()) {
			out = append(out, a.String())
		}
	}
	list, _ := b.resolver.LookupHost(ctx, b.cfg.Load().Hostname) // without an answer the mends name what they can
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			add(a)
		}
	}
	ifs, _ := net.InterfaceAddrs()
	for _, i := range ifs {
		if p, err := netip.ParsePrefix(i.String()); err == nil {
			add(p.Addr())
		}
	}
	return out
}
