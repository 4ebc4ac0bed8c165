package setup

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestPorts(t *testing.T) {
	set := func(address, to string) func(*rig) { return func(r *rig) { r.at[address] = to } }
	gone := func(address string) func(*rig) { return func(r *rig) { delete(r.at, address) } }
	for _, o := range []one{
		{name: "in", check: "port 25 in", result: OK, found: "192.0.2.25:25 answers as mx2.example.net, TLS"},
		{name: "in, IPv6", check: "port 25 in", result: OK, found: "[2001:db8::25]:25 answers as"},
		{name: "in, from outside", check: "port 25 in", result: Note, mend: "swaks --quit-after RCPT --server mx2.example.net --to postmaster@example.com"},
		{name: "in, silent", change: gone("[2001:db8::25]:25"), check: "port 25 in", result: Warn, found: "no answer in time"},
		{name: "in, refused", change: set("192.0.2.25:25", "refused"), check: "port 25 in", result: Fail, found: "connection refused; the node listens on 127.0.0.1:2525", mend: "[smtp] listen"},
		{name: "in, no node", change: func(r *rig) { r.at["192.0.2.25:25"], r.node.Running = "refused", false }, check: "port 25 in", result: Fail, found: "no node runs", mend: "restante serve"},
		{name: "in, another", change: func(r *rig) { r.at["192.0.2.25:25"] = r.at["192.0.2.1:25"] }, check: "port 25 in", result: Fail, found: "answers as mail.example.com"},
		{name: "in, 554", change: func(r *rig) { r.at["192.0.2.25:25"] = r.smtp(r.t, "554 no\x1b[31m", nil) }, check: "port 25 in", result: Warn, found: "554 no?[31m"},
		{name: "in, no TLS", change: func(r *rig) { r.at["192.0.2.25:25"] = r.smtp(r.t, us+" hi", nil) }, check: "port 25 in", result: Warn, found: "no TLS"},

		{name: "out", check: "primary", result: OK, found: "Postfix, TLS"},
		{name: "out, allow-list", check: "allow-list", result: Note, found: "Postfix", mend: "restante primary test"},
		{name: "out, refused", change: set("192.0.2.1:25", "refused"), check: "primary", result: Fail, found: "connection refused"},
		{name: "out, blocked", change: func(r *rig) { r.at["192.0.2.1:443"] = r.at["192.0.2.1:25"]; delete(r.at, "192.0.2.1:25") },
			check: "primary", result: Fail, found: "its port 443 answers: port 25 is blocked on the way out", mend: `primary = ["mail.example.com:2525"]`},
		{name: "out, all silent", change: gone("192.0.2.1:25"), check: "primary", result: Fail, found: "no answer in time", mend: "firewall"},
		{name: "out, bans us", change: func(r *rig) { r.at["192.0.2.1:25"] = r.smtp(r.t, "554 5.7.1 you are listed", nil) }, check: "primary", result: Fail, found: "554 5.7.1 you are listed"},
		{name: "out, no name", take: "mail.example.com.", check: "primary", result: Fail, found: "has no address"},
		{name: "out, itself", change: func(r *rig) { r.node.Domains[0].Primaries = []Primary{{Host: us, Port: 25}} }, check: "primary", result: Fail, found: "this node itself"},
		{name: "out, TLS required", change: func(r *rig) { r.node.Domains[0].MustTLS, r.at["192.0.2.1:25"] = true, r.smtp(r.t, "mail ESMTP", nil) }, check: "primary", result: Fail, mend: "opportunistic"},
		{name: "out, from MX", change: func(r *rig) { r.node.Domains[0].Primaries = []Primary{{MX: true}} }, check: "primary", result: OK, found: "mail.example.com:25 answers"},
		{name: "out, from MX, none", take: "example.com. MX 10", change: func(r *rig) { r.node.Domains[0].Primaries = []Primary{{MX: true}} }, check: "primary", result: Fail, found: "no MX of the domain is better"},

		{name: "smarthost, none", change: func(r *rig) { r.node.Webmail = &Webmail{} }, check: "smarthost", result: Note, found: "there is none"},
		{name: "smarthost", zone: "smtp.test. A 192.0.2.9\n", change: func(r *rig) {
			r.node.Smarthost = &Server{Host: "smtp.test", Port: 587, TLS: "starttls"}
			r.at["192.0.2.9:587"] = r.smtp(r.t, "smtp.test", r.ca.issue(r.t, "smtp.test", time.Now().Add(time.Hour)))
		}, check: "smarthost", result: OK, found: "smtp.test:587 answers"},
		{name: "smarthost, another's certificate", zone: "smtp.test. A 192.0.2.9\n", change: func(r *rig) {
			r.node.Smarthost = &Server{Host: "smtp.test", Port: 587, TLS: "starttls"}
			r.at["192.0.2.9:587"] = r.smtp(r.t, "smtp.test", r.ca.issue(r.t, "other.test", time.Now().Add(time.Hour)))
		}, check: "smarthost", result: Warn, found: "other.test"},
		{name: "smarthost, plain", zone: "smtp.test. A 192.0.2.9\n", change: func(r *rig) {
			r.node.Smarthost = &Server{Host: "smtp.test", Port: 25, TLS: "starttls"}
			r.at["192.0.2.9:25"] = r.smtp(r.t, "smtp.test", nil)
		}, check: "smarthost", result: Fail, found: "no TLS"},
		{name: "smarthost, refuses us", change: func(r *rig) { r.node.Smarthost = &Server{Host: "smtp.test", Port: 587, Problem: "535 no"} },
			check: "smarthost", result: Fail, found: "535 no"},
		{name: "smarthost, blocked", zone: "smtp.test. A 192.0.2.9\n", change: func(r *rig) { r.node.Smarthost = &Server{Host: "smtp.test", Port: 25, TLS: "starttls"} },
			check: "smarthost", result: Fail, mend: "port = 587"},
	} {
		t.Run(o.name, o.run)
	}
}

// TestNamesAreNeverDialled: addresses come from DNS as the world has it, so that nothing else is asked.
func TestNamesAreNeverDialled(t *testing.T) {
	r := newRig(t, good)
	r.report(t)
	for _, address := range r.seen {
		if _, err := netip.ParseAddrPort(address); err != nil {
			t.Error(address)
		}
	}
	if !slices.Contains(r.seen, "192.0.2.1:25") {
		t.Error(r.seen)
	}
}

// TestServersThatSayNothing: neither silence nor a flood holds a check up or fills memory.
func TestServersThatSayNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				line := make([]byte, 1<<16)
				for i := range line {
					line[i] = 'x'
				}
				for range 1000 { // 64 MB without a line's end
					if _, err := nc.Write(line); err != nil {
						return
					}
				}
			}()
		}
	}()
	r := newRig(t, good)
	r.at["192.0.2.1:25"] = l.Addr().String()
	for _, row := range r.rows(t, "primary") {
		if row.Result != Fail || len(row.Found) > 300 {
			t.Errorf("%+v", row)
		}
	}
	s := &run{World: r.World, node: r.node}
	if _, err := s.greet(t.Context(), "192.0.2.77:25", "x", false); !silent(err) {
		t.Error(err)
	}
	if silent(errors.New("odd")) || silent(nil) {
		t.Error("not silent")
	}
}

// TestManyDomains: a mail server that domains share is greeted once, since it may count connections.
func TestManyDomains(t *testing.T) {
	r := newRig(t, good)
	one := r.node.Domains[0]
	for range 200 {
		r.node.Domains = append(r.node.Domains, one)
	}
	if report := r.report(t); report.Count(Fail)+report.Count(Warn) > 0 || len(report.Rows) < 1600 {
		t.Errorf("%d rows, worst %s", len(report.Rows), report.Worst())
	}
	count := map[string]int{}
	for _, address := range r.seen {
		count[address]++
	}
	if count["192.0.2.1:25"] != 1 || count["127.0.0.1:2525"] != 1 {
		t.Error(count)
	}
}
