package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/node"
	"restante/cmd/internal/postfix"
	"restante/cmd/internal/primary"
	"restante/dns/dnstest"
	"restante/spool/need"
)

// The world of TestOrigin: a sender, one that nobody may send for, and our own name, under which only we may come.
const originZone = `
client.test.        300 IN TXT "v=spf1 ip4:198.51.100.7 ip6:2001:db8::7 -all"
client.test.        300 IN A 198.51.100.7
relay.client.test.  300 IN TXT "v=spf1 ip4:198.51.100.7 ip6:2001:db8::7 -all"
relay.client.test.  300 IN A 198.51.100.7
forged.test.        300 IN TXT "v=spf1 -all"
forged.test.        300 IN A 192.0.2.99
example.org.        300 IN TXT "v=spf1 -all"
mx2.example.test.   300 IN TXT "v=spf1 ip4:127.0.0.1 -all"
`

// policyd starts Debian's SPF policy service under Postfix, asking our DNS. It returns the lines of master.cf.
func policyd(t *testing.T, server *dnstest.Server) string {
	t.Helper()
	program := need.Program(t, "policyd-spf")
	dir, err := os.MkdirTemp("", "restante-policyd-") // t.TempDir is for root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	host, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("sitecustomize.py", fmt.Sprintf("import DNS\nDNS.defaults['server'] = [%q]\nDNS.defaults['port'] = %s\n"+
		"for m in (DNS, DNS.Base):\n    m.DiscoverNameServers = m.ParseResolvConf = lambda *a: None\n", host, port))
	// Postfix sees the node at 127.0.0.1, which must be nobody special here.
	conf := write("policyd-spf.conf", "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\nskip_addresses = 192.0.2.200/32\n")
	return fmt.Sprintf("policyd-spf unix - n n - 0 spawn user=nobody argv=/usr/bin/env PYTHONPATH=%s /usr/bin/python3 %s %s\n", dir, program, conf)
}

// TestOrigin stands a node before a Postfix that checks SPF, three times over: one that may be told of the real client, one
// that knows nothing of us, and one with the settings that are documented. What the first refuses is what it would refuse
// if the client came itself; the second refuses what it should take; the third takes it.
func TestOrigin(t *testing.T) {
	needs(t)
	t.Parallel()
	server := dnstest.Start(t, originZone)
	told, bare, open := freeAddr(t), freeAddr(t), freeAddr(t)
	lets := filepath.Join(t.TempDir(), "restante.cidr")
	const spf = "check_policy_service,unix:private/policyd-spf"
	services := policyd(t, server)
	port := func(addr string, options ...string) {
		services += fmt.Sprintf("%s inet n - n - - smtpd -o %s\n", addr, strings.Join(options, " -o "))
	}
	port(told, "smtpd_recipient_restrictions=reject_unauth_destination,"+spf, "smtpd_authorized_xclient_hosts=127.0.0.1")
	port(bare, "smtpd_recipient_restrictions=reject_unauth_destination,"+spf)
	port(open, documented(t, lets)+spf)
	p := startPostfix(t, postfix.Options{
		Listen: freeAddr(t), Maildirs: []string{"told.test", "bare.test", "open.test"}, Services: services,
		Main: map[string]string{"mynetworks": "192.0.2.200/32", "inet_protocols": "all", "smtpd_client_connection_rate_limit": "0"},
	})
	domain := func(name, addr string) string {
		return fmt.Sprintf("[[domain]]\nname = %q\nprimary = [%q]\nprobe_interval = \"1s\"\norigin = ", name, addr)
	}
	n := newNode(t, node.Options{
		Domain: "told.test", Primary: told, SMTP: "proxies = [\"127.0.0.9\"]",
		Extra: "origin = \"xclient\"\nprobe_interval = \"1s\"\n" + domain("bare.test", bare) + "\"none\"\n" + domain("open.test", open) + "\"xforward\"\n" +
			fmt.Sprintf("[dns]\nservers = [%q]\n", server.Addr()),
	})
	start(t, n)
	waitState(t, n, "up")

	t.Run("passed through", func(t *testing.T) {
		mail(t, n, "198.51.100.7", "anna@client.test", "x@told.test", 250)
		mail(t, n, "2001:db8::7", "anna6@client.test", "x@told.test", 250)
		mail(t, n, "198.51.100.7", "x@forged.test", "x@told.test", 550)
		mail(t, n, "198.51.100.8", "eve@client.test", "x@told.test", 550)
		mail(t, n, "198.51.100.7", "bert@client.test", "x@bare.test", 451) // it takes us for the sender
		mail(t, n, "198.51.100.7", "carl@client.test", "x@open.test", 250)
		mail(t, n, "10.9.8.7", "", "x@told.test", 250) // a private client isn't named to it
	})
	t.Run("kept and handed over", func(t *testing.T) {
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		waitState(t, n, "down")
		mail(t, n, "198.51.100.7", "dora@client.test", "x@told.test", 250)
		mail(t, n, "2001:db8::7", "emil@client.test", "x@told.test", 250)
		mail(t, n, "198.51.100.7", "fred@client.test", "x@open.test", 250)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := p.Start(ctx); err != nil {
			t.Fatal(err)
		}
		wait(t, n, 30*time.Second, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 && d.Delivered > 0 })
	})
	t.Run("as the primary saw it", func(t *testing.T) { seen(t, p) })
	t.Run("as the test sees it", func(t *testing.T) {
		for domain, want := range map[string]string{"told.test": "ok", "bare.test": "FAIL", "open.test": "ok"} {
			r := tested(t, n, domain)
			if r["mail of others"].Result != primary.Result(want) && r["postmaster@"+domain].Result != primary.Result(want) {
				t.Errorf("%s: %+v", domain, r)
			}
			if want == "FAIL" && !strings.Contains(r["mail of others"].Mend+r["postmaster@"+domain].Mend, "smtpd_authorized_xclient_hosts") {
				t.Errorf("%s: %+v", domain, r)
			}
		}
	})
}

// documented is the smtpd_recipient_restrictions that the mend for a Postfix names, up to the checks of its own.
func documented(t *testing.T, file string) string {
	t.Helper()
	mend := primary.Mend(primary.Postfix, primary.Allow, "127.0.0.1")
	table, _, ok := strings.Cut(mend, " >> /etc/postfix/restante.cidr\n")
	table = strings.TrimPrefix(table, `printf '%s permit\n' `)
	_, rest, found := strings.Cut(mend, "smtpd_recipient_restrictions = ")
	rest, _, cut := strings.Cut(rest, "...")
	if !ok || !found || !cut {
		t.Fatal("the mend isn't as this test reads it")
	}
	if err := os.WriteFile(file, []byte(table+" permit\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(file); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // Postfix reads it as its own user
			t.Fatal(err)
		}
	}
	rest = strings.ReplaceAll(rest, "/etc/postfix/restante.cidr", file)
	return "smtpd_recipient_restrictions=" + strings.ReplaceAll(strings.ReplaceAll(rest, ", ", ","), " ", ",")
}

// mail gives the node a message as a load balancer does, for a client elsewhere.
func mail(t *testing.T, n *node.Node, client, from, to string, code int) {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).Dial("tcp", n.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	family, ours := "TCP4", "192.0.2.25"
	if strings.Contains(client, ":") {
		family, ours = "TCP6", "2001:db8::25"
	}
	fmt.Fprintf(c, "PROXY %s %s %s 4097 25\r\n", family, client, ours)
	err = func() error {
		s, err := smtp.NewClient(c, "mx2.example.test")
		if err != nil {
			return err
		}
		if err := s.Hello("relay.client.test"); err != nil {
			return err
		}
		if err := s.Mail(from); err != nil {
			return err
		}
		if err := s.Rcpt(to); err != nil {
			return err
		}
		w, err := s.Data()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "From: <%s>\r\nSubject: %s by %s\r\n\r\nhello\r\n", from, from, client)
		return w.Close()
	}()
	got := 250
	if err != nil {
		if _, err := fmt.Sscan(err.Error(), &got); err != nil {
			t.Fatal(err)
		}
	}
	if got != code {
		t.Errorf("from <%s> at %s to %s: %v, want %d", from, client, to, err, code)
	}
}

// seen compares what Postfix wrote above each message, and what its policy service did.
func seen(t *testing.T, p *postfix.Instance) {
	want := map[string][]string{
		"anna@client.test by 198.51.100.7": {"from relay.client.test (unknown [198.51.100.7])", "Received-SPF: Pass"},
		"anna6@client.test by 2001:db8::7": {"from relay.client.test (unknown [IPv6:2001:db8::7])", "Received-SPF: Pass"},
		"dora@client.test by 198.51.100.7": {"from relay.client.test (unknown [198.51.100.7])", "Received-SPF: Pass"},
		"emil@client.test by 2001:db8::7":  {"from relay.client.test (unknown [IPv6:2001:db8::7])", "Received-SPF: Pass"},
		"carl@client.test by 198.51.100.7": {"from mx2.example.test (", "[127.0.0.1])"},
		"fred@client.test by 198.51.100.7": {"from mx2.example.test (", "[127.0.0.1])"},
		" by 10.9.8.7":                     {"from mx2.example.test (", "[127.0.0.1])"},
	}
	got := map[string]string{}
	if err := p.Maildir(func(_ string, m []byte) error {
		header, _, _ := strings.Cut(string(m), "\n\n")
		_, subject, _ := strings.Cut(header, "\nSubject: ")
		subject, _, _ = strings.Cut(subject, "\n")
		got[subject] = header
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for subject, lines := range want {
		for _, l := range lines {
			if !strings.Contains(got[subject], l) {
				t.Errorf("%q: no %q in:\n%s", subject, l, got[subject])
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
}

// tested runs `restante primary test` and returns its rows by what they are about.
func tested(t *testing.T, n *node.Node, domain string) map[string]primary.Row {
	t.Helper()
	out, err := n.CLI(t.Context(), "primary", "test", domain, "--json")
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	var r primary.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(r.Kinds) != 1 || r.Kinds[0] != string(primary.Postfix) {
		t.Errorf("kinds %v", r.Kinds)
	}
	rows := map[string]primary.Row{}
	for _, row := range r.Rows {
		rows[row.Check] = row
	}
	return rows
}
