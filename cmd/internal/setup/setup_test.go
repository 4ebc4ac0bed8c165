package setup

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"restante/dns/dnstest"
)

// TestAllIsWell: for a domain where nothing is missing no row warns, and there is nothing to publish.
func TestAllIsWell(t *testing.T) {
	r := newRig(t, good)
	report := r.report(t)
	for _, row := range report.Rows {
		if row.Result != OK && row.Result != Note {
			t.Errorf("%+v", row)
		}
		if row.Result != OK && row.Found == "" || row.Check == "" {
			t.Errorf("nothing is said: %+v", row)
		}
	}
	if len(report.Publish()) > 0 || report.Worst() != Note || report.Count(OK) < 15 {
		t.Errorf("%d ok, worst %s, to publish %v", report.Count(OK), report.Worst(), report.Publish())
	}
	if text, err := json.Marshal(report); err != nil || !strings.Contains(string(text), `"check":"MX","result":"ok"`) {
		t.Errorf("%s %v", text, err)
	}
}

// TestNothingIsThere: a bare machine without records is told each of them, and each is one that DNS can take.
func TestNothingIsThere(t *testing.T) {
	r := newRig(t, "mail.example.com. A 192.0.2.1\n")
	r.node.Running, r.node.Store.State, r.node.Domains[0].KeysKnown = false, "", false
	report := r.report(t)
	var lines []string
	for _, rec := range report.Publish() {
		lines = append(lines, rec.String())
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{
		"mx2.example.net. A 192.0.2.25", "mx2.example.net. AAAA 2001:db8::25", "25.2.0.192.in-addr.arpa. PTR mx2.example.net.",
		"example.com. MX 10 mail.example.com.", "example.com. MX 20 mx2.example.net.", `example.com. TXT "v=spf1 mx ~all"`,
		`_dmarc.example.com. TXT "v=DMARC1; p=none; rua=mailto:postmaster@example.com"`, `mx2.example.net. TXT "v=spf1 a -all"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if report.Worst() != Fail {
		t.Error(report.Worst())
	}
	// As it was said: now nothing more is asked for.
	if left := newRig(t, text+"\nmail.example.com. A 192.0.2.1\n").report(t); len(left.Publish()) > 0 || left.Count(Fail)+left.Count(Warn) > 0 {
		t.Errorf("still %v, %+v", left.Publish(), left.Rows)
	}
}

// one is a case: a zone after the good one, what else is different, and what a row must say then.
type one struct {
	name   string
	take   string // a line of the good zone begins so: it is taken away
	zone   string
	change func(*rig)
	check  string
	result Result
	found  string
	mend   string
	record string
}

func (o one) run(t *testing.T) {
	var zone strings.Builder
	for line := range strings.Lines(good) {
		if o.take == "" || !strings.HasPrefix(strings.Join(strings.Fields(line), " "), o.take) {
			zone.WriteString(line)
		}
	}
	r := newRig(t, zone.String()+o.zone)
	if o.change != nil {
		o.change(r)
	}
	rows := r.rows(t, o.check)
	for _, row := range rows {
		var recs []string
		for _, rec := range row.Records {
			recs = append(recs, rec.String())
		}
		if row.Result == o.result && strings.Contains(row.Found, o.found) && strings.Contains(row.Mend, o.mend) && strings.Contains(strings.Join(recs, "\n"), o.record) {
			return
		}
	}
	t.Errorf("no %s %q, %q, %q in %+v", o.result, o.found, o.mend, o.record, rows)
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestNames(t *testing.T) {
	for _, o := range []one{
		{name: "no dot", change: func(r *rig) { r.node.Hostname = "mx2" }, check: "name", result: Fail, found: `"mx2" is no name`, mend: "--hostname"},
		{name: "alias", take: "mx2.example.net.", zone: "mx2.example.net. CNAME host.example.net.\nhost.example.net. A 192.0.2.25\n",
			check: "name", result: Warn, found: "alias of host.example.net", record: "mx2.example.net. A 192.0.2.25"},
		{name: "private", take: "mx2.example.net. A", zone: "mx2.example.net. A 10.0.0.5\n", check: "name", result: Fail, found: "10.0.0.5", record: "A 192.0.2.25"},
		{name: "carrier", take: "mx2.example.net. A", zone: "mx2.example.net. A 100.64.0.5\n", check: "name", result: Fail, found: "100.64.0.5"},
		{name: "elsewhere", take: "mx2.example.net. A", zone: "mx2.example.net. A 192.0.2.99\n", check: "name", result: Warn, found: "192.0.2.99, this machine has 192.0.2.25"},
		{name: "NAT", change: func(r *rig) { r.Addrs = addrs("10.0.0.5") }, check: "name", result: Note, found: "isn't an address of this machine's", mend: "pass port 25 on"},
		{name: "NAT, none", take: "mx2.example.net.", change: func(r *rig) { r.Addrs = addrs("10.0.0.5") }, check: "name", result: Fail, record: "<this machine's public address>"},
		{name: "no reverse", take: "25.2.0", check: "reverse name", result: Warn, found: "192.0.2.25 has none", record: "25.2.0.192.in-addr.arpa. PTR mx2.example.net."},
		{name: "reverse to nowhere", take: "25.2.0", zone: "25.2.0.192.in-addr.arpa. PTR nowhere.example.net.\n", check: "reverse name", result: Warn, found: "doesn't lead back"},
		{name: "reverse of the provider", take: "25.2.0", zone: "25.2.0.192.in-addr.arpa. PTR h.provider.test.\nh.provider.test. A 192.0.2.25\n",
			check: "reverse name", result: Note, found: "h.provider.test, not mx2"},
		{name: "listed", zone: "25.2.0.192.zen.spamhaus.org. A 127.0.0.10\n", check: "blocklist", result: Warn, found: "192.0.2.25 is on it"},
		{name: "listed for something else", zone: "25.2.0.192.zen.spamhaus.org. A 127.0.1.2\n", check: "blocklist", result: OK},
		{name: "the list refuses our resolver", take: "2.0.0.127", zone: "2.0.0.127.zen.spamhaus.org. A 127.255.255.254\n", check: "blocklist", result: Note, found: "can't be asked"},
		{name: "HELO SPF refuses us", take: "mx2.example.net. TXT", zone: "mx2.example.net. TXT \"v=spf1 -all\"\n", check: "SPF of " + us, result: Warn, found: "doesn't allow 192.0.2.25"},
	} {
		t.Run(o.name, o.run)
	}
}

func TestMX(t *testing.T) {
	mx := func(r *rig) { r.node.Domains[0].Primaries = []Primary{{MX: true, Port: 25}} }
	for _, o := range []one{
		{name: "none", take: "example.com. MX", check: "MX", result: Fail, record: "example.com. MX 10 mail.example.com.\nexample.com. MX 20 mx2.example.net."},
		{name: "not us", take: "example.com. MX 20", zone: "example.com. MX 50 third.example.com.\nthird.example.com. A 192.0.2.3\n", check: "MX", result: Fail, record: "example.com. MX 60 mx2.example.net."},
		{name: "us by another name", take: "example.com. MX 20", zone: "example.com. MX 20 backup.example.com.\nbackup.example.com. A 192.0.2.25\n", check: "MX", result: OK},
		{name: "us alone", take: "example.com. MX 10", check: "MX", result: Warn, found: "this machine alone", record: "example.com. MX 10 mail.example.com."},
		{name: "us alone, primary from MX", take: "example.com. MX 10", change: mx, check: "MX", result: Fail, mend: "nowhere to hand mail over"},
		{name: "us first", take: "example.com. MX 20", zone: "example.com. MX 5 mx2.example.net.\n", check: "MX", result: Warn, found: "before or as often", record: "MX 20 mx2"},
		{name: "us as good", take: "example.com. MX 20", zone: "example.com. MX 10 mx2.example.net.\n", check: "MX", result: Warn},
		{name: "the worst number", take: "example.com. MX", zone: "example.com. MX 65535 mail.example.com.\n", check: "MX", result: Fail, record: "MX 65535 mx2"},
		{name: "a filter before it", take: "example.com. MX 10", zone: "example.com. MX 10 in.filter.test.\nin.filter.test. A 192.0.2.7\n", check: "MX", result: Note, found: "senders go to in.filter.test first, while mail from here goes to mail.example.com"},
		{name: "null", take: "example.com. MX", zone: "example.com. MX 0 .\n", check: "MX", result: Fail, found: "takes no mail"},
		{name: "address", take: "example.com. MX 10", zone: "example.com. MX 10 192.0.2.1.\n", check: "MX", result: Fail, found: "not an address"},
		{name: "alias", take: "example.com. MX 10", zone: "example.com. MX 10 m.example.com.\nm.example.com. CNAME mail.example.com.\n", check: "MX", result: Warn, found: "alias"},
		{name: "nowhere", take: "example.com. MX 10", zone: "example.com. MX 10 gone.example.com.\n", check: "MX", result: Warn, found: "gone.example.com has no address"},
		{name: "no list", change: func(r *rig) { r.node.Domains[0].Recipients = Recipients{} }, check: "recipients", result: Warn, found: "no list", mend: "restante recipient import <file> --domain example.com"},
		{name: "any", change: func(r *rig) { r.node.Domains[0].Recipients = Recipients{Complete: true, Text: "any"} }, check: "recipients", result: OK, found: "any"},
		{name: "stale", change: func(r *rig) { r.node.Domains[0].Recipients.Stale = "9 days old" }, check: "recipients", result: Warn, found: "9 days"},
	} {
		t.Run(o.name, o.run)
	}
}

// TestDNSIsDown: no row says that something is missing when nothing could be asked.
func TestDNSIsDown(t *testing.T) {
	r := newRig(t, good)
	r.dns.Fail("", dnstest.Servfail)
	report := r.report(t)
	if len(report.Publish()) > 0 {
		t.Errorf("publishes %v", report.Publish())
	}
	n := 0
	for _, row := range report.Rows {
		if strings.Contains(row.Found, "DNS gives no answer") {
			n++
		}
	}
	if n < 9 || report.Count(Fail) > 0 {
		t.Errorf("%d rows say so: %+v", n, report.Rows)
	}
}

// TestInterrupted: who has seen enough doesn't wait for servers that say nothing.
func TestInterrupted(t *testing.T) {
	r := newRig(t, good)
	asked := make(chan struct{}, 100)
	r.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); Run(ctx, r.World, r.node) }()
	<-asked
	cancel()
	select {
	case <-done:
	case <-time.After(dialTimeout / 2):
		t.Error("it goes on")
	}
}
