package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"restante/relay/policy/dnsbl"
	"restante/relay/policy/rate"
)

// Rates bound what one client may do (package rate).
type Rates struct {
	Connections        int      `toml:"connections" min:"0" max:"1000000"`
	ConnectionsNetwork int      `toml:"connections_network" min:"0" max:"1000000"`
	Messages           int      `toml:"messages" min:"0" max:"1000000"`
	MessagesNetwork    int      `toml:"messages_network" min:"0" max:"1000000"`
	Refused            int      `toml:"refused_recipients" min:"0" max:"1000000"`
	RefusedNetwork     int      `toml:"refused_recipients_network" min:"0" max:"1000000"`
	Ban                Duration `toml:"ban" min:"0s" max:"24h"`
	Exempt             []string `toml:"exempt"`

	// ExemptNets is Exempt, parsed.
	ExemptNets []netip.Prefix `toml:"-"`
}

// DNSBL is a list of addresses in DNS (package dnsbl).
type DNSBL struct {
	Zone   Zone     `toml:"zone"`
	Name   string   `toml:"name"`
	Weight int      `toml:"weight" min:"-100" max:"100"`
	Codes  []string `toml:"codes"`

	// Parsed is Codes, parsed.
	Parsed []dnsbl.Code `toml:"-"`
}

// Zone is the zone of a list. A key in it shows itself as little as a Secret.
type Zone string

// String hides the key.
func (z Zone) String() string {
	if key := dnsbl.Key(string(z)); key != "" {
		return strings.Replace(string(z), key, redacted, 1)
	}
	return string(z)
}

// GoString hides the key from %#v too.
func (z Zone) GoString() string { return strconv.Quote(z.String()) }

// MarshalText hides the key from encoders.
func (z Zone) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// Reveal is the zone itself.
func (z Zone) Reveal() string { return string(z) }

func ratesDefaults() Rates {
	l := rate.DefaultLimits()
	return Rates{
		Connections: l.Connections.Address, ConnectionsNetwork: l.Connections.Network, Messages: l.Messages.Address, MessagesNetwork: l.Messages.Network,
		Refused: l.Refused.Address, RefusedNetwork: l.Refused.Network, Ban: dur(l.Ban),
	}
}

// abuse checks rates, load balancers and lists of addresses.
func (d *decoder) abuse(c *Config) {
	c.Rates.ExemptNets = d.networks("rates.exempt", `exempt = ["192.0.2.0/24", "2001:db8::/48"]`, c.Rates.Exempt)
	c.SMTP.ProxyNets = d.networks("smtp.proxies", `proxies = ["192.0.2.1", "10.0.0.0/30"]`, c.SMTP.Proxies)
	for _, p := range c.SMTP.ProxyNets {
		if p.Bits() == 0 {
			d.bad("smtp.proxies", "name the load balancers alone: whoever is named here is believed about who is calling", "%q is everybody", p)
		}
	}
	best := 0
	for i := range c.DNSBL {
		l := &c.DNSBL[i]
		key := fmt.Sprintf("dnsbl[%d]", i)
		if l.Weight > 0 {
			best += l.Weight
		}
		if zone, err := ParseDomain(l.Zone.Reveal()); err != nil {
			text := strings.ReplaceAll(err.Error(), l.Zone.Reveal(), l.Zone.String())
			d.bad(key+".zone", `write the zone that the list's operator names, for example zone = "zen.spamhaus.org"`, "%s", text)
		} else {
			l.Zone = Zone(zone)
		}
		if l.Weight == 0 {
			d.bad(key+".weight", "write 1, or take the list out", "a list that weighs nothing does nothing")
		}
		d.codes(key, l)
	}
	if len(c.DNSBL) > 0 && best < c.SMTP.DNSBLThreshold {
		d.bad("smtp.dnsbl_threshold", fmt.Sprintf("write %d or less", max(best, 1)), "%d is never reached: the weights of all [[dnsbl]] together are %d", c.SMTP.DNSBLThreshold, best)
	}
}

// codes reads the return codes of a list.
func (d *decoder) codes(key string, l *DNSBL) {
	l.Parsed = nil
	mend := `write those that the list's operator documents: codes = ["127.0.0.2", "127.0.0.4-7"]`
	if len(l.Codes) == 0 {
		d.bad(key+".codes", mend, "no return code is named, so the list would count for nothing")
	}
	for _, text := range l.Codes {
		c, err := dnsbl.ParseCode(text)
		if err != nil {
			d.bad(key+".codes", mend, "%v", err)
			continue
		}
		l.Parsed = append(l.Parsed, c)
	}
}

// networks reads a list of addresses and networks.
func (d *decoder) networks(key, example string, list []string) (nets []netip.Prefix) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil && a.Zone() == "" {
			a = a.Unmap()
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			d.bad(key, "write addresses or networks: "+example, "%q is no network", text)
			continue
		}
		nets = append(nets, p.Masked())
	}
	return nets
}

func (d *decoder) dnsbls(key string, in any, out reflect.Value) {
	list := out.Interface().([]DNSBL)
	for i, t := range d.tables(key, "list", in) {
		one := DNSBL{Weight: dnsbl.DefaultWeight}
		d.table(fmt.Sprintf("%s[%d].", key, i), t, reflect.ValueOf(&one).Elem())
		list = append(list, one)
	}
	out.Set(reflect.ValueOf(list))
}
