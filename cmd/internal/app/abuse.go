package app

import (
	"context"
	"fmt"
	"net/netip"

	"restante/cmd/internal/config"
	"restante/dns"
	"restante/relay/policy/dnsbl"
	"restante/relay/policy/rate"
	"restante/relay/smtpd"
)

// listedNames is how many answers about clients are kept, beside those of the resolver that everything else asks: a flood
// of strangers mustn't push the primary's address out.
const listedNames = 20_000

// startAbuse makes what counts clients and looks them up.
func (a *App) startAbuse(c *config.Config) error {
	resolver, err := dns.New(dns.Options{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout.Std(), CacheSize: listedNames, Fresh: true, Health: a.servers, Log: a.log})
	if err != nil {
		return must("resolver of lists", err)
	}
	a.rates = rate.New(rateLimits(c), nil)
	a.dnsbl, err = dnsbl.New(dnsbl.Options{
		Resolver: resolver, Lists: dnsblLists(c), Threshold: c.SMTP.DNSBLThreshold, Log: a.log, Metrics: dnsbl.NewMetrics(a.reg),
	})
	if err != nil {
		return must("lists of addresses", err)
	}
	a.life.run("lists of addresses", a.dnsbl.Run)
	return nil
}

// strangers looks clients up that aren't named as exempt.
type strangers struct{ a *App }

// Look implements policy.Lists.
func (s strangers) Look(ctx context.Context, addr netip.Addr) dnsbl.Result {
	if s.a.rates.Named(addr) {
		return dnsbl.Result{}
	}
	return s.a.dnsbl.Look(ctx, addr)
}

// arrived begins to look up who has just connected.
func (s strangers) arrived(addr netip.Addr) {
	if !s.a.rates.Named(addr) {
		s.a.dnsbl.Begin(addr)
	}
}

// guarded adds them to the options of the SMTP server.
func (a *App) guarded(o smtpd.Options, c *config.Config) smtpd.Options {
	o.Rates, o.Proxies, o.Arrived = a.rates, c.SMTP.ProxyNets, strangers{a}.arrived
	return o
}

// reloadAbuse puts a new configuration into effect.
func (a *App) reloadAbuse(c *config.Config) {
	a.rates.SetLimits(rateLimits(c))
	a.smtp.SetProxies(c.SMTP.ProxyNets)
	if err := a.dnsbl.SetConfig(dnsblLists(c), c.SMTP.DNSBLThreshold); err != nil { // validated before
		a.log.Error("the lists of addresses were refused, those of before stay", "error", err)
	}
}

func rateLimits(c *config.Config) rate.Limits {
	r := &c.Rates
	l := rate.Limits{
		Connections: rate.Pair{Address: r.Connections, Network: r.ConnectionsNetwork},
		Messages:    rate.Pair{Address: r.Messages, Network: r.MessagesNetwork},
		Refused:     rate.Pair{Address: r.Refused, Network: r.RefusedNetwork},
		Ban:         r.Ban.Std(), Exempt: r.ExemptNets,
	}
	if c.Dev { // everybody is this machine
		l.Exempt = append(l.Exempt[:len(l.Exempt):len(l.Exempt)], netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	return l
}

func dnsblLists(c *config.Config) []dnsbl.List {
	var list []dnsbl.List
	for _, l := range c.DNSBL {
		list = append(list, dnsbl.List{Zone: l.Zone.Reveal(), Name: l.Name, Weight: l.Weight, Codes: l.Parsed})
	}
	return list
}

// abuseTroubles names lists that don't work, and an address that hides who connects.
func (a *App) abuseTroubles() []string {
	var list []string
	faults := a.dnsbl.Faults()
	if _, all := a.resolver.Silent(); all { // which is said once
		faults = nil
	}
	for _, f := range faults {
		list = append(list, fmt.Sprintf("the list %s is left out: %s", f.List, f.Text))
	}
	if from := a.smtp.HiddenBehind(); from.IsValid() {
		list = append(list, fmt.Sprintf("all clients of late come from %s: something before this machine hides who connects, so that rates, SPF and lists of addresses can't work; "+
			"let it keep the clients' addresses (no source NAT), or speak the PROXY protocol and be named in [smtp] proxies; if it is meant to, name it in [rates] exempt", from))
	}
	return list
}
