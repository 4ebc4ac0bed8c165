package setup

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"

	"restante/dns"
)

// addresses are what DNS has for a name, whatever a hosts file says.
func (s *run) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	found, err := s.DNS.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, a := range found {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			list = append(list, ip.Unmap())
		}
	}
	return list, nil
}

// ours are the public addresses that our name has in DNS.
func (s *run) ours(ctx context.Context) []netip.Addr {
	list, _ := s.addresses(ctx, s.node.Hostname) // hostname reports the error
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return !dns.Public(a) })
}

// interfaces are this machine's own public addresses.
func (s *run) interfaces() []netip.Addr {
	return slices.DeleteFunc(slices.Clone(s.Addrs), func(a netip.Addr) bool { return !dns.Public(a) })
}

// sending are the public addresses from which we connect to others: those of our name, and those that an interface has.
func (s *run) sending(ctx context.Context) []netip.Addr {
	list := s.ours(ctx)
	for _, a := range s.interfaces() {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list[:min(len(list), maxAddress)]
}

// unanswered is the row for a question that DNS didn't answer.
func unanswered(domain, what string, err error) Row {
	return Row{Domain: domain, Check: what, Result: Warn, Found: "DNS gives no answer: " + brief(err),
		Mend: "look at /etc/resolv.conf, or name resolvers: [dns] servers"}
}

// hostname: our name has addresses, they are public, and they lead here.
func (s *run) hostname(ctx context.Context) []Row {
	name := s.node.Hostname
	row := Row{Check: "name", Result: OK}
	if !strings.Contains(name, ".") {
		row.Result, row.Found = Fail, fmt.Sprintf("%q is no name in DNS", name)
		row.Mend = `write the whole name: hostname = "mx2.example.net", or --hostname`
		return []Row{row}
	}
	list, err := s.addresses(ctx, name)
	switch {
	case dns.IsNotFound(err):
		row.Result, row.Found, row.Mend = Fail, name+" has no address in DNS", "publish what stands under it"
		row.Records = s.addressRecords(name)
		return []Row{row}
	case err != nil:
		return []Row{unanswered("", "name", err)}
	}
	row.Found = name + " is " + join(list)
	s.placed(&row, list)
	if alias, err := s.DNS.LookupAlias(ctx, name); err == nil && row.Result != Fail {
		row.Result, row.Found = Warn, fmt.Sprintf("%s is an alias of %s; an MX record must name a host with addresses of its own (RFC 2181 10.3)", name, trim(alias))
		row.Mend, row.Records = "replace the CNAME by the addresses", instead(records(name, list)...)
	}
	return []Row{row}
}

// placed says whether published addresses are this machine's.
func (s *run) placed(row *Row, list []netip.Addr) {
	have := s.interfaces()
	for _, a := range list {
		switch {
		case !dns.Public(a):
			row.Result, row.Found = Fail, fmt.Sprintf("%s is %s, which nobody can reach from outside", s.node.Hostname, a)
			row.Mend = "publish this machine's public address; where only your own resolver says that, ask another: --resolver 9.9.9.9"
			row.Records = instead(s.addressRecords(s.node.Hostname)...)
			return
		case slices.Contains(have, a):
		case slices.ContainsFunc(have, func(b netip.Addr) bool { return a.Is4() == b.Is4() }):
			row.Result, row.Found = Warn, fmt.Sprintf("%s is %s, this machine has %s", s.node.Hostname, join(list), join(have))
			row.Mend, row.Records = "correct the records, unless something passes port 25 on from there to here", instead(records(s.node.Hostname, have)...)
			return
		default: // behind NAT
			row.Result = Note
			row.Found = fmt.Sprintf("%s is %s, which isn't an address of this machine's interfaces", s.node.Hostname, join(list))
			row.Mend = "let the router or balancer there pass port 25 on to here, with the clients' own addresses: SPF, blocklists and rates need them"
		}
	}
}

// addressRecords are the records of this machine's public addresses, or the form of one where it knows none.
func (s *run) addressRecords(name string) []Record {
	if have := s.interfaces(); len(have) > 0 {
		return records(name, have)
	}
	return []Record{{Name: name, Type: "A", Value: "<this machine's public address>"}}
}

func records(name string, list []netip.Addr) []Record {
	var out []Record
	for _, a := range list {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		out = append(out, Record{Name: name, Type: kind, Value: a.String()})
	}
	return out
}

// reverse: each of our addresses has a name that leads back to it. Primaries and others that we send to look at it.
func (s *run) reverse(ctx context.Context) []Row {
	var rows []Row
	for _, a := range s.sending(ctx) {
		rows = append(rows, s.reverseOf(ctx, a))
	}
	return rows
}

func (s *run) reverseOf(ctx context.Context, a netip.Addr) Row {
	row := Row{Check: "reverse name", Result: OK}
	arpa, err := mdns.ReverseAddr(a.String())
	if err != nil {
		row.Result, row.Found = Note, err.Error()
		return row
	}
	publish := []Record{{Name: trim(arpa), Type: "PTR", Value: s.node.Hostname + "."}}
	const mend = "set it where you have the address from, most providers have a field for it"
	names, err := s.DNS.LookupAddr(ctx, a.String())
	switch {
	case dns.IsNotFound(err):
		row.Result, row.Found, row.Mend, row.Records = Warn, a.String()+" has none; many servers refuse mail from such an address", mend, publish
		return row
	case err != nil:
		return unanswered("", row.Check, err)
	}
	verified := slices.DeleteFunc(names, func(n string) bool {
		back, err := s.addresses(ctx, trim(n))
		return err != nil || !slices.Contains(back, a)
	})
	switch {
	case slices.ContainsFunc(verified, func(n string) bool { return trim(n) == s.node.Hostname }):
		row.Found = a.String() + " is " + s.node.Hostname
	case len(verified) > 0:
		row.Result, row.Found = Note, fmt.Sprintf("%s is %s, not %s; most don't mind", a, trim(verified[0]), s.node.Hostname)
		row.Mend, row.Records = mend, instead(publish...)
	default:
		row.Result, row.Found = Warn, fmt.Sprintf("%s is %s, which doesn't lead back to it", a, trim(names[0]))
		row.Mend, row.Records = mend, instead(publish...)
	}
	return row
}

// join is a list of addresses in words.
func join(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
