package setup

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"restante/cmd/internal/primary"
	"restante/dns"
)

const (
	smtpPort   = 25
	maxAddress = 4 // addresses of one host that are tried
)

// otherPorts are those on which a mail server is likely to answer when it can't be reached on 25.
var otherPorts = []int{587, 465, 2525, 993, 443}

// portIn: port 25 of our public addresses leads to this node.
func (s *run) portIn(ctx context.Context) []Row {
	list := s.ours(ctx)
	rows := make([]Row, min(len(list), maxAddress))
	var wg sync.WaitGroup
	for i := range rows {
		wg.Go(func() { rows[i] = s.portOf(ctx, list[i]) })
	}
	wg.Wait()
	if len(list) > 0 {
		rows = append(rows, Row{Check: "port 25 in", Result: Note, Found: "whether strangers reach it can't be tried from here",
			Mend: "from a machine elsewhere: swaks --quit-after RCPT --server " + s.node.Hostname + " --to postmaster@" + s.aDomain()})
	}
	return rows
}

func (s *run) aDomain() string {
	if len(s.node.Domains) > 0 {
		return s.node.Domains[0].Name
	}
	return s.node.Hostname
}

func (s *run) portOf(ctx context.Context, a netip.Addr) Row {
	address := netip.AddrPortFrom(a, smtpPort).String()
	row := Row{Check: "port 25 in", Result: OK}
	g, err := s.greet(ctx, address, s.node.Hostname, false)
	switch {
	case err != nil && !s.node.Running:
		row.Result, row.Found, row.Mend = Fail, address+": "+brief(err)+", no node runs", "start it: restante serve"
	case silent(err):
		row.Result, row.Found = Warn, address+": "+brief(err)+", asked from here; some routers let nobody inside reach their outer address"
		row.Mend = "ask from elsewhere, as below; if that fails too, open port 25 in the firewall or at the provider"
	case err != nil:
		row.Result, row.Found = Fail, fmt.Sprintf("%s: %s; the node listens on %s", address, brief(err), strings.Join(s.node.Listen, ", "))
		row.Mend = "listen there: [smtp] listen, or pass port 25 on to where it listens"
	case g.code != 220:
		row.Result, row.Found, row.Mend = Warn, fmt.Sprintf("%s answers %d %s", address, g.code, printable(g.banner)), "look at the node's log"
	case g.name() != s.node.Hostname:
		row.Result, row.Found = Fail, fmt.Sprintf("%s answers as %s, which isn't this node", address, printable(g.name()))
		row.Mend = "stop the other mail server on this machine, or pass port 25 on to this node"
	default:
		row.Found = address + " answers as " + s.node.Hostname + ", " + g.tls()
		if g.certs == nil {
			row.Result, row.Mend = Warn, "look at tls_cert and tls_key, and at what stands between: some firewalls take STARTTLS away"
		}
	}
	return row
}

// primary: the domain's mail servers can be reached from here, and what to set there.
func (s *run) primary(d Domain) check {
	return func(ctx context.Context) []Row {
		targets, problem := s.targets(ctx, d)
		if problem != nil {
			return []Row{*problem}
		}
		rows := make([]Row, len(targets))
		kinds := make([]primary.Kind, len(targets))
		var wg sync.WaitGroup
		for i, p := range targets {
			wg.Go(func() { rows[i], kinds[i] = s.primaryAt(ctx, d, p) })
		}
		wg.Wait()
		kind := primary.Unknown
		for _, k := range kinds {
			if k != primary.Unknown {
				kind = k
				break
			}
		}
		var ours []string
		for _, a := range s.sending(ctx) {
			ours = append(ours, a.String())
		}
		found := "what to set at your mail server, so that it takes mail from here that others have sent"
		if kind != primary.Unknown {
			found = "what to set at " + kind.String() + ", so that it takes mail from here that others have sent"
		}
		return append(rows, Row{Domain: d.Name, Check: "allow-list", Result: Note, Found: found,
			Mend: primary.Mend(kind, primary.Allow, ours...) + "\nthen try it: restante primary test " + d.Name})
	}
}

// targets are the mail servers of a domain; those from DNS are better than ourselves (RFC 5321 5.1).
func (s *run) targets(ctx context.Context, d Domain) ([]Primary, *Row) {
	var list []Primary
	for _, p := range d.Primaries {
		if !p.MX {
			list = append(list, p)
			continue
		}
		e, err := s.exchangers(ctx, d.Name)
		if err != nil {
			return nil, &Row{Domain: d.Name, Check: "primary", Result: Fail, Found: "its MX can't be looked up: " + brief(err),
				Mend: `publish it, or write primary = ["mail.` + d.Name + `:25"]`}
		}
		for _, m := range e.others {
			if trim(m.Host) != "" && (len(e.ours) == 0 || m.Pref < e.ours[0].Pref) {
				list = append(list, Primary{Host: trim(m.Host), Port: smtpPort})
			}
		}
	}
	if len(list) == 0 {
		return nil, &Row{Domain: d.Name, Check: "primary", Result: Fail, Found: "no MX of the domain is better than this machine",
			Mend: `publish the mail server's MX before ours, or write primary = ["mail.` + d.Name + `:25"]`}
	}
	return list, nil
}

func (s *run) primaryAt(ctx context.Context, d Domain, p Primary) (Row, primary.Kind) {
	row := Row{Domain: d.Name, Check: "primary", Result: OK}
	where := net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
	list, err := s.DNS.LookupHost(ctx, p.Host)
	switch {
	case dns.IsNotFound(err):
		row.Result, row.Found, row.Mend = Fail, p.Host+" has no address", "correct its name in primary, or its records"
		return row, primary.Unknown
	case err != nil:
		return unanswered(d.Name, row.Check, err), primary.Unknown
	}
	var g *greeting
	var first string
	for _, a := range list[:min(len(list), maxAddress)] {
		if g, err = s.greetOnce(ctx, net.JoinHostPort(a, strconv.Itoa(p.Port)), p.Host); err == nil {
			first = a
			break
		}
	}
	switch {
	case err != nil:
		s.unreached(ctx, &row, p, list[0], err)
		return row, primary.Unknown
	case g.name() == s.node.Hostname || s.isOurs(ctx, first, p.Port):
		row.Result, row.Found, row.Mend = Fail, where+" is this node itself", "set primary to the real mail server"
		return row, primary.Unknown
	}
	kind := primary.KindOf(g.banner)
	row.Found = fmt.Sprintf("%s answers in %d ms, %s, %s", where, max(1, g.took.Milliseconds()), nameOf(kind), g.tls())
	switch {
	case g.code != 220:
		row.Result, row.Found = Fail, fmt.Sprintf("%s answers %d %s", where, g.code, printable(g.banner))
		row.Mend = "let this machine in there, see allow-list"
	case d.MustTLS && g.certs == nil:
		row.Result, row.Mend = Fail, `have it offer STARTTLS, or write tls = "opportunistic"`
	case g.tlsErr != nil:
		row.Result, row.Mend = Warn, "mend its TLS: mail goes to it in plain text"
	}
	return row, kind
}

func nameOf(k primary.Kind) string {
	if k == primary.Unknown {
		return "of a kind that its banner doesn't tell"
	}
	return k.String()
}

// isOurs reports that an address is where this node listens.
func (s *run) isOurs(ctx context.Context, host string, port int) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && port == smtpPort && (slices.Contains(s.ours(ctx), a.Unmap()) || slices.Contains(s.interfaces(), a.Unmap()))
}

// unreached says why a mail server can't be reached. That another port of it answers shows that ours are blocked on the way out.
func (s *run) unreached(ctx context.Context, row *Row, p Primary, host string, why error) {
	where := net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
	row.Result, row.Found = Fail, where+": "+brief(why)
	row.Mend = "is that the right host, and is it up? Until it answers all mail is kept here"
	if !silent(why) {
		return
	}
	open := s.anyOpen(ctx, host, p.Port)
	switch {
	case open == 0 || p.Port != smtpPort:
		row.Mend = "look at its firewall and at ours: nothing comes back from it"
	default:
		row.Found = fmt.Sprintf("%s: %s, while its port %d answers: port 25 is blocked on the way out", where, brief(why), open)
		row.Mend = "ask your provider to open port 25 out (many do so on request only)\n" +
			`or let the mail server listen on another port too: primary = ["` + p.Host + `:2525"]` + "\n" +
			"mail that people write can go out by a smarthost on port 587: [smarthost]"
	}
}

// anyOpen returns a port of a host that answers, by a connection or by refusing one; 0 for none.
func (s *run) anyOpen(ctx context.Context, host string, not int) int {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout/2)
	defer cancel()
	answers := make(chan int, len(otherPorts))
	var wg sync.WaitGroup
	for _, port := range otherPorts {
		if port == not {
			continue
		}
		wg.Go(func() {
			nc, err := s.Dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
			if err == nil {
				nc.Close()
				answers <- port
			}
		})
	}
	go func() { wg.Wait(); close(answers) }()
	return <-answers // 0 when it is closed
}

// smarthost: the server that takes mail for everybody else can be reached.
func (s *run) smarthost(ctx context.Context) []Row {
	row := Row{Check: "smarthost", Result: OK}
	if s.node.Smarthost == nil {
		if s.node.Webmail == nil {
			return nil
		}
		row.Result, row.Found = Note, "there is none: in an outage people can write to their colleagues alone"
		row.Mend = "name one that isn't the mail server itself: [smarthost]"
		return []Row{row}
	}
	h := *s.node.Smarthost
	if h.Problem != "" {
		row.Result, row.Found, row.Mend = Fail, h.Host+": "+printable(h.Problem), "restante sending status"
		return []Row{row}
	}
	where := net.JoinHostPort(h.Host, strconv.Itoa(h.Port))
	list, err := s.DNS.LookupHost(ctx, h.Host)
	switch {
	case dns.IsNotFound(err):
		row.Result, row.Found, row.Mend = Fail, h.Host+" has no address", "correct [smarthost] host"
		return []Row{row}
	case err != nil:
		return []Row{unanswered("", row.Check, err)}
	}
	g, err := s.greet(ctx, net.JoinHostPort(list[0], strconv.Itoa(h.Port)), h.Host, h.TLS == "implicit")
	switch {
	case silent(err) && h.Port == smtpPort:
		row.Result, row.Found, row.Mend = Fail, where+": "+brief(err), "port 25 is often blocked on the way out: try port = 587"
	case err != nil:
		row.Result, row.Found, row.Mend = Fail, where+": "+brief(err), "correct [smarthost] host and port, usually 587, or 465 with tls = \"implicit\""
	case h.TLS != "none" && g.certs == nil:
		row.Result, row.Found, row.Mend = Fail, where+" offers no TLS", "a password is never sent without: try port = 587"
	case h.TLS != "none" && s.verify(g.certs, h.Host) != nil:
		row.Result, row.Found = Warn, where+": its certificate isn't good here: "+brief(s.verify(g.certs, h.Host))
		row.Mend = "name its CA in [smarthost] tls_ca, if it is its own"
	default:
		row.Found = where + " answers, " + g.tls() + "; whether it lets us in: restante sending status"
	}
	return []Row{row}
}

// printable is text from others, safe and short.
func printable(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	if len(text) > 80 {
		text = text[:80] + "..."
	}
	return text
}
