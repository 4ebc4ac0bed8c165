package app

import (
	"restante/cmd/internal/config"
	"restante/dns"
	"restante/relay/policy"
	"restante/relay/policy/msgauth"
)

// foreignNames is how many answers about names that strangers bring are kept, in a resolver of their own: a flood of them
// mustn't push out the primary's address.
const foreignNames = 20_000

// startBorder puts up what strangers must pass.
func (a *App) startBorder(c *config.Config) error {
	if err := a.startAbuse(c); err != nil {
		return err
	}
	if err := a.startFilters(c); err != nil {
		return err
	}
	var err error
	a.foreign, err = dns.New(dns.Options{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout.Std(), CacheSize: foreignNames, Log: a.log})
	if err != nil {
		return must("resolver of strangers' names", err)
	}
	a.border = policy.New(policy.Options{
		Auth:    msgauth.New(msgauth.Options{Resolver: a.foreign, AuthservID: c.Hostname}),
		Domains: borderDomains(c), AuthservID: c.Hostname, Lists: strangers{a}, Scanner: a.scan, Log: a.log, Metrics: policy.NewMetrics(a.reg),
	})
	return nil
}

// borderDomains is what the domains want to follow from what is found.
func borderDomains(c *config.Config) []policy.Domain {
	var list []policy.Domain
	for i := range c.Domains {
		d := &c.Domains[i]
		list = append(list, policy.Domain{
			Name: d.Name, SPFFail: policy.Action(d.Border.SPFFail), DMARCReject: policy.Action(d.Border.DMARCReject),
			DMARCQuarantine: policy.Action(d.Border.DMARCQuarantine), DMARCIndirect: policy.Action(d.Border.DMARCIndirect), FromUnclear: policy.Action(d.Border.FromUnclear),
			DNSError: policy.Action(d.Border.DNSError), Listed: policy.Action(d.Border.DNSBLListed),
			Forwarders: d.Border.ForwarderNets,
		})
	}
	return list
}
