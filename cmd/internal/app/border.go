package app

import (
	"fmt"
	"strings"
	"time"

	"restante/cmd/internal/config"
	"restante/dns"
	"restante/relay/policy"
	"restante/relay/policy/msgauth"
)

// foreignNames is how many answers about names that strangers bring are kept, in a resolver of their own: a flood of them
// mustn't push out the primary's address.
const foreignNames = 20_000

// foreignStale is how long strangers' answers are given on past their time while no resolver answers (RFC 8767 5 wants one day to three): mail
// may be refused for what is no longer so, or believed.
const foreignStale = 24 * time.Hour

// startBorder puts up what strangers must pass.
func (a *App) startBorder(c *config.Config) error {
	if err := a.startAbuse(c); err != nil {
		return err
	}
	if err := a.startFilters(c); err != nil {
		return err
	}
	var err error
	a.foreign, err = dns.New(dns.Options{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout.Std(), CacheSize: foreignNames, Stale: foreignStale, Health: a.servers, Log: a.log})
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

// dnsTroubles names resolvers that don't answer.
func (a *App) dnsTroubles() []string {
	silent, all := a.resolver.Silent()
	var list []string
	for _, s := range silent {
		follows := "others are asked"
		if all {
			follows = "senders can't be judged, and nobody waits for that"
		}
		list = append(list, fmt.Sprintf("dns: no answer since %s from %s, %s; look at that resolver, or name others in [dns] servers", s.Since.Local().Format("2 Jan 15:04"), strings.TrimSuffix(s.Server, ":53"), follows))
	}
	return list
}
