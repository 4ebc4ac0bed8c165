package setup

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"restante/dns"
)

// step is how much worse than the primary's our preference is suggested to be.
const step = 10

// exchangers are a domain's MX hosts, split into ours and others, best first.
type exchangers struct {
	all, ours, others []*net.MX
}

func (s *run) exchangers(ctx context.Context, domain string) (exchangers, error) {
	var e exchangers
	var err error
	if e.all, err = s.DNS.LookupMX(ctx, domain); err != nil {
		return e, err
	}
	own := s.ours(ctx)
	for _, m := range e.all {
		name := trim(m.Host)
		is := name == s.node.Hostname
		if !is && name != "" {
			list, err := s.addresses(ctx, name)
			is = err == nil && slices.ContainsFunc(list, func(a netip.Addr) bool { return slices.Contains(own, a) })
		}
		if is {
			e.ours = append(e.ours, m)
		} else {
			e.others = append(e.others, m)
		}
	}
	return e, nil
}

func (e exchangers) String() string {
	var out []string
	for _, m := range e.all {
		out = append(out, fmt.Sprintf("%d %s", m.Pref, trim(m.Host)))
	}
	return strings.Join(out, ", ")
}

// worst is the greatest preference of the hosts that aren't ours.
func (e exchangers) worst() uint16 {
	var n uint16
	for _, m := range e.others {
		n = max(n, m.Pref)
	}
	return n
}

// mx: the domain names us, behind its mail server.
func (s *run) mx(d Domain) check {
	return func(ctx context.Context) []Row {
		row := Row{Domain: d.Name, Check: "MX", Result: OK}
		e, err := s.exchangers(ctx, d.Name)
		switch {
		case dns.IsNotFound(err):
			row.Result, row.Found, row.Mend = Fail, "there is none", "name the mail server first, this machine behind it"
			row.Records = append(s.primaryMX(d), s.ourMX(d.Name, 2*step))
			return []Row{row}
		case err != nil:
			return []Row{unanswered(d.Name, row.Check, err)}
		}
		row.Found = e.String()
		viaMX := slices.ContainsFunc(d.Primaries, func(p Primary) bool { return p.MX })
		switch {
		case len(e.all) == 1 && trim(e.all[0].Host) == "":
			row.Result, row.Found, row.Mend = Fail, "the domain says that it takes no mail (null MX, RFC 7505)", "take that record away"
			row.Records = append(s.primaryMX(d), s.ourMX(d.Name, 2*step))
		case len(e.ours) == 0:
			row.Result, row.Mend = Fail, "add this machine: without it no mail comes here"
			row.Records = []Record{s.ourMX(d.Name, e.behind())}
		case len(e.others) == 0:
			row.Result, row.Found = Warn, row.Found+": this machine alone"
			row.Mend, row.Records = "name the mail server too, before it", s.primaryMX(d)
			if viaMX {
				row.Result, row.Mend = Fail, `name the mail server too, before it: with primary = ["mx"] there is nowhere to hand mail over to`
			}
		default:
			if pref := e.ours[0].Pref; pref <= e.others[0].Pref {
				row.Result, row.Found = Warn, row.Found+": senders try this machine before or as often as the mail server"
				row.Mend, row.Records = "give it a greater number", instead(s.ourMX(d.Name, e.behind()))
			}
		}
		if row.Result == OK {
			s.hostsOf(ctx, e, &row)
		}
		if row.Result == OK && !viaMX && !s.isPrimary(ctx, d, e.others) {
			row.Result = Note
			row.Found += fmt.Sprintf("; senders go to %s first, while mail from here goes to %s", trim(e.others[0].Host), d.Primaries[0].Host)
			row.Mend = "if a filter service stands there, what comes this way doesn't pass it: name it as the primary, or filter here ([rspamd])"
		}
		return []Row{row}
	}
}

func (e exchangers) behind() uint16 { return min(e.worst(), 65535-step) + step }

func (s *run) ourMX(domain string, pref uint16) Record {
	return Record{Name: domain, Type: "MX", Value: fmt.Sprintf("%d %s.", pref, s.node.Hostname)}
}

// primaryMX is the record for the primary, where its name is known.
func (s *run) primaryMX(d Domain) []Record {
	for _, p := range d.Primaries {
		if _, err := netip.ParseAddr(p.Host); p.Host != "" && err != nil {
			return []Record{{Name: d.Name, Type: "MX", Value: strconv.Itoa(step) + " " + p.Host + "."}}
		}
	}
	return nil
}

// isPrimary reports that one of the hosts is the domain's primary, by name or address.
func (s *run) isPrimary(ctx context.Context, d Domain, hosts []*net.MX) bool {
	var own []netip.Addr
	for _, p := range d.Primaries {
		list, err := s.DNS.LookupHost(ctx, p.Host)
		if err != nil {
			return true // it can't be told
		}
		for _, text := range list {
			if a, err := netip.ParseAddr(text); err == nil {
				own = append(own, a.Unmap())
			}
		}
	}
	return len(d.Primaries) == 0 || slices.ContainsFunc(hosts, func(m *net.MX) bool {
		list, err := s.addresses(ctx, trim(m.Host))
		return err != nil || slices.ContainsFunc(list, func(a netip.Addr) bool { return slices.Contains(own, a) })
	})
}

// hostsOf: each MX host is a name with addresses, none an alias.
func (s *run) hostsOf(ctx context.Context, e exchangers, row *Row) {
	for _, m := range e.all {
		name := trim(m.Host)
		if _, err := netip.ParseAddr(name); err == nil {
			row.Result, row.Found, row.Mend = Fail, row.Found+": an MX names a host, not an address", "give "+name+" a name"
			return
		}
		if _, err := s.addresses(ctx, name); dns.IsNotFound(err) {
			row.Result, row.Found, row.Mend = Warn, row.Found+": "+name+" has no address", "correct the record, or take it away: senders lose time with it"
			return
		}
		if _, err := s.DNS.LookupAlias(ctx, name); err == nil {
			row.Result, row.Found, row.Mend = Warn, row.Found+": "+name+" is an alias (RFC 2181 10.3)", "name the host that it is an alias of"
			return
		}
	}
}

// recipients: unknown ones can be refused in an outage.
func (s *run) recipients(d Domain) check {
	return func(context.Context) []Row {
		r := d.Recipients
		row := Row{Domain: d.Name, Check: "recipients", Result: OK, Found: r.Text}
		mend := "restante recipient import <file> --domain " + d.Name + ", or recipients_file or [domain.ldap]"
		switch {
		case r.Stale != "":
			row.Result, row.Found, row.Mend = Warn, r.Stale, mend
		case r.Complete && row.Found == "":
			row.Found = fmt.Sprintf("%d known", r.Known)
		case r.Complete:
		default:
			if row.Found == "" {
				row.Found = "there is no list: in an outage mail for anybody is kept, also for those who don't exist"
			}
			row.Result, row.Mend = Warn, mend
		}
		return []Row{row}
	}
}
