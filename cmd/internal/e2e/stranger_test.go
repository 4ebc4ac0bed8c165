package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/dns/dnstest"
	"restante/relay/sink"
	"restante/spool/need"
)

// outside is where a node would send what isn't for its primary; whatever comes there is a mistake.
func outside(t *testing.T) (s *sink.Server, config string) {
	t.Helper()
	s = sink.New(sink.Options{Keep: true})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return s, fmt.Sprintf("[smarthost]\nhost = %q\nport = %s\ntls = \"none\"\n", host, port)
}

func startSink(t *testing.T, o sink.Options) *sink.Server {
	t.Helper()
	o.Keep = true
	s := sink.New(o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// relayForms are ways to write an address elsewhere so that a server may take it for its own: all that are known, and then, up to
// n, those with special characters put in at random places.
func relayForms(n int) []string {
	const ours, theirs = "example.test", "evil.test"
	known := []string{
		"user@T", "user%T@O", "user%T", "T!user@O", "T!user", `"user@T"@O`, `"user%T"@O`, `"user@T"`, "@O:user@T", "@O,@T:user@T", "@T:user@O", "@O:user%T@O",
		"user@T@O", "user@O@T", "user@[127.0.0.1]", "user%T@[127.0.0.1]", `"user@T"@[127.0.0.1]`, "T!user@[127.0.0.1]", "user@[IPv6:::1]", "user@mx2.O", "user%T@mx2.O",
		"user@localhost", "user%T@localhost", `"user@T"@localhost`, "O!user@T", "user@T(O)", "user@(O)T", "user@T.", "user@O.T", "user@T.O", "user@T,user@O", "user@T;user@O",
		`user@T\@O`, `user\@T@O`, "user@O\\@T", "user/T@O", "user:T@O", "user@T:25", "[user@T]", "user@[T]", "user@[O]", "user@#1", "user@2130706433", "user@0x7f000001",
		"postmaster%T@O", "postmaster@T", "O!T!user", "T!O!user@O", "user%T%O@O", "user%O@T", `"T!user"@O`, `"@O:user@T"@O`, `" user@T"@O`, "user@EXAMPLE.TEST@T",
		"user@xn--evil-test", "user@t\u00e9.T", "user\u0040T@O", "user\uff20T@O", "user@T\u3002O", "user@O> <user@T", "user@T> <user@O", "", "user", "@", "@O", "@T", "user@", "user@.O", "user@O.",
	}
	seen := map[string]bool{}
	var list []string
	add := func(s string) {
		if !seen[s] && len(list) < n {
			seen[s] = true
			list = append(list, s)
		}
	}
	name := strings.NewReplacer("T", theirs, "O", ours)
	for _, k := range known {
		add(name.Replace(k))
		add(strings.ToUpper(name.Replace(k)))
		add(name.Replace(strings.NewReplacer("T", "["+theirs+"]").Replace(k)))
	}
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"%", "!", "@", `"`, ":", ",", ";", "<", ">", "[", "]", `\`, " ", "\t", "(", ")", ".", "/", "|", "=", "\u00e4", "\x7f", "%" + theirs, "@" + theirs, theirs + "!", "@" + ours}
	for len(list) < n {
		s := []byte(name.Replace(known[r.IntN(len(known))]))
		for range 1 + r.IntN(3) {
			at := r.IntN(len(s) + 1)
			s = append(s[:at:at], append([]byte(pieces[r.IntN(len(pieces))]), s[at:]...)...)
		}
		add(string(s))
	}
	return list
}

// relayAll tries each form, written as rcpt says, with a message where it is taken, and returns how many are.
func relayAll(t *testing.T, addr, rcpt string, forms []string) (taken int) {
	t.Helper()
	work := make(chan string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	const mail = "MAIL FROM:<spam@sender.test>"
	for range 8 {
		wg.Go(func() {
			var c *raw
			for form := range work {
				if c == nil || c.last == "421" {
					if c = dialRaw(t, addr); c == nil {
						return
					}
				}
				to := fmt.Sprintf(rcpt, form)
				c.say(mail + "\r\n" + to + "\r\nRSET") // few are taken: all at once
				c.read()
				if took := c.last == "250"; c.last != "421" {
					if c.read(); took {
						c.say(mail)
						c.say(to)
						c.say("DATA")
						c.say("Subject: relay\r\n\r\nspam\r\n.")
						mu.Lock()
						taken++
						mu.Unlock()
					}
				}
			}
			c.nc.Close()
		})
	}
	for _, f := range forms {
		work <- f
	}
	close(work)
	wg.Wait()
	return taken
}

// raw is a session that is looked at by the codes of its replies.
type raw struct {
	nc   net.Conn
	r    *bufio.Reader
	last string // code of the last reply; 421 when the connection is gone
}

func dialRaw(t *testing.T, addr string) *raw {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	c := &raw{nc: nc, r: bufio.NewReader(nc)}
	c.read()
	c.say("EHLO client.sender.test")
	return c
}

func (c *raw) say(line string) {
	if _, err := c.nc.Write([]byte(line + "\r\n")); err != nil {
		c.last = "421"
		return
	}
	c.read()
}

func (c *raw) read() {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || len(line) < 4 {
			c.last = "421"
			c.nc.Close()
			return
		}
		if c.last = line[:3]; line[3] != '-' {
			return
		}
	}
}

// Neither nmap's forms of addresses nor 10,000 of our own make us a relay, whether the primary is up or down: nothing leaves
// but for the primary, and it gets nothing that it might take for a route.
func TestNeverAnOpenRelay(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("whole-program scenarios take long")
	}
	nmap := need.Program(t, "nmap")
	primary := startSink(t, sink.Options{})
	elsewhere, smarthost := outside(t)
	n := newNode(t, node.Options{Primary: primary.Addr(), SMTP: "max_errors = 10000",
		Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n" + smarthost})
	start(t, n)
	waitState(t, n, "up")

	_, port, err := net.SplitHostPort(n.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), nmap, "--unprivileged", "-sT", "-Pn", "-n", "-p", port, "--script", "+smtp-open-relay",
		"--script-args", "smtp-open-relay.domain=evil.test,smtp-open-relay.ip=127.0.0.1", "127.0.0.1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "doesn't seem to be an open relay, all tests failed") {
		t.Errorf("nmap: %v: %s", err, out)
	}
	forms := relayForms(10_000)
	up := relayAll(t, n.SMTP, "RCPT TO:<%s>", forms)
	primary.Stop()
	waitState(t, n, "down")
	down := relayAll(t, n.SMTP, "rcpt to:%s", forms)
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })

	got := primary.Messages()
	for _, m := range got {
		for _, r := range m.Rcpts {
			local, domain, _ := strings.Cut(strings.Trim(r, "<>"), "@")
			if domain != "example.test" || strings.ContainsAny(local, "%!") {
				t.Errorf("relayed: %q", r)
			}
		}
	}
	if up == 0 || down == 0 || len(got) < up+down {
		t.Errorf("taken %d while up, %d while down, arrived %d: some forms are of example.test, and all of those arrive", up, down, len(got))
	}
	if s := elsewhere.Stats(); s.Transactions != 0 { // that it is there is asked at the start
		t.Errorf("sent elsewhere: %+v", s)
	}
	t.Logf("of %d forms %d are of example.test", len(forms), up)
}

// Whatever is sent to us in others' names, nothing is ever sent to them: what can't be taken is refused inside the session, and
// what the primary doesn't take later is parked.
func TestNoBackscatter(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("whole-program scenarios take long")
	}
	primary := startSink(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{
		{Stage: sink.StageRcpt, Match: "refused@", Reply: "550 5.1.1 No such user"},
		{Stage: sink.StageDot, Match: "virus@", Reply: "554 5.7.1 Infected"},
	}}})
	elsewhere, smarthost := outside(t)
	n := newNode(t, node.Options{Primary: primary.Addr(),
		Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n[replay]\nretry_min = \"1s\"\n" + smarthost})
	start(t, n)
	waitState(t, n, "up")
	primary.Stop()
	waitState(t, n, "down")
	const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR` + `-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`
	sent := 0
	flood := func() {
		for i, from := range []string{"victim@forged.test", "", "owner-list@forged.test", "user@example.test"} {
			for _, to := range []string{"user", "refused", "virus", "postmaster", "user%forged.test"} {
				c := dialRaw(t, n.SMTP)
				c.say("MAIL FROM:<" + from + "> RET=FULL ENVID=x")
				if c.last != "250" {
					c.say("MAIL FROM:<" + from + ">")
				}
				if c.say("RCPT TO:<" + to + "@example.test> NOTIFY=SUCCESS,FAILURE,DELAY"); c.last != "250" {
					c.say("RCPT TO:<" + to + "@example.test>")
				}
				if c.last == "250" {
					sent++
				}
				c.say("DATA")
				if c.last == "354" {
					c.say(fmt.Sprintf("From: <victim@forged.test>\r\nTo: <%s@example.test>\r\nMessage-ID: <%d-%s@forged.test>\r\nReturn-Receipt-To: victim@forged.test\r\n"+
						"Disposition-Notification-To: victim@forged.test\r\nErrors-To: victim@forged.test\r\nReply-To: victim@forged.test\r\nSubject: flood\r\n\r\n%s\r\n.", to, i, to, eicar))
				}
				c.nc.Close()
			}
		}
	}
	flood()
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	flood() // now the primary refuses by itself
	if _, err := n.CLI(t.Context(), "queue", "remove", "--domain", "example.test", "--state", "parked", "--yes"); err != nil {
		t.Error(err)
	}
	d, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Parked != 0 || d.Pending != 0 || d.Accepted == 0 || sent == 0 {
		t.Errorf("%+v, %d taken", d, sent)
	}
	if s := elsewhere.Stats(); s.Transactions != 0 {
		t.Errorf("backscatter: %+v", s)
	}
	for _, m := range primary.Messages() {
		for _, r := range m.Rcpts {
			if !strings.HasSuffix(strings.Trim(r, "<>"), "@example.test") {
				t.Errorf("sent to %q", r)
			}
		}
		if !strings.Contains(string(m.Data), "Subject: flood\r\n") {
			t.Errorf("a message of our own: %.300q", m.Data)
		}
	}
}

// Mail gets through while idle clients hold all places.
func TestMailAmongIdleClients(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("whole-program scenarios take long")
	}
	primary := startSink(t, sink.Options{})
	n := newNode(t, node.Options{Primary: primary.Addr(), SMTP: "max_sessions = 100", Extra: "recipients = [\"@\"]\n"})
	start(t, n)
	waitState(t, n, "up")
	ctx, stop := context.WithCancel(t.Context())
	crowd := &load.Crowd{Addr: n.SMTP, Clients: 500, First: netip.MustParseAddr("127.20.0.1"), Again: time.Second}
	full, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- crowd.Run(ctx, func() { close(full) }) }()
	<-full
	sent := load.Send(t.Context(), load.SendOptions{Addr: n.SMTP, Run: "crowd", Messages: 200, Size: 2000, Sessions: 5, Retry: 100 * time.Millisecond})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if sent.Accepted != 200 {
		t.Errorf("%v", sent)
	}
	if away, err := n.Metric(t.Context(), "restante_smtp_limited_total", `limit="crowd"`); err != nil || away == 0 {
		t.Errorf("%v sent away, %v", away, err)
	}
	t.Logf("%v", sent)
}

// stranger is a session with a client of this address, as a load balancer tells it.
func stranger(t *testing.T, n *node.Node, client string) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", n.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	family := "TCP4"
	if strings.Contains(client, ":") {
		family = "TCP6"
	}
	fmt.Fprintf(nc, "PROXY %s %s %s 4000 25\r\n", family, client, client)
	c := &raw{nc: nc, r: bufio.NewReader(nc)}
	c.read()
	return c
}

// line says a command and returns its whole reply.
func (c *raw) line(t *testing.T, s string) string {
	t.Helper()
	fmt.Fprintf(c.nc, "%s\r\n", s)
	text, err := c.r.ReadString('\n')
	if err != nil {
		t.Errorf("%s: %v", s, err)
	}
	return strings.TrimSpace(text)
}

// Strangers behind a load balancer: who is on a list is refused with its name, and the line that was said is found in the log; who looks for
// addresses is banned; lists that don't work refuse nobody and are named by status; all of it changes without a restart.
func TestStrangers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("whole-program scenarios take long")
	}
	server := dnstest.Start(t, `
2.0.0.127.bl.test. A 127.0.0.2
7.100.51.198.bl.test. A 127.0.0.2
7.100.51.198.bl.test. TXT "see https://bl.test/198.51.100.7"
2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.test. A 127.0.0.2
7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test. A 127.0.0.2
2.0.0.127.quota.test. A 127.255.255.254
8.100.51.198.quota.test. A 127.255.255.254
`)
	primary := startSink(t, sink.Options{})
	dir := t.TempDir()
	extra := fmt.Sprintf("probe_interval = \"1s\"\nrecipients = [\"user@example.test\"]\n[dns]\nservers = [%q]\n[[dnsbl]]\nzone = \"bl.test\"\ncodes = [\"127.0.0.2\"]\n"+
		"[[dnsbl]]\nzone = \"quota.test\"\ncodes = [\"127.0.0.2\"]\n[rates]\nrefused_recipients = 5\n", server.Addr())
	n := newNode(t, node.Options{Dir: dir, Primary: primary.Addr(), SMTP: "proxies = [\"127.0.0.1\"]", Extra: extra})
	start(t, n)
	waitState(t, n, "up")
	eventually(t, func() bool {
		in, err := n.Metric(t.Context(), "restante_dnsbl_in_use", `list="bl.test"`)
		return err == nil && in == 1
	})

	for _, client := range []string{"198.51.100.7", "2001:db8::7"} {
		c := stranger(t, n, client)
		c.say("EHLO listed.test")
		c.say("MAIL FROM:<a@sender.test>")
		refusal := c.line(t, "RCPT TO:<user@example.test>")
		if !strings.HasPrefix(refusal, "550 5.7.1 ") || !strings.Contains(refusal, "bl.test") {
			t.Errorf("%s: %q", client, refusal)
		}
		inLog(t, n, refusal, client)
		if c.say("RCPT TO:<postmaster@example.test>"); c.last != "250" {
			t.Errorf("%s: postmaster: %s", client, c.last)
		}
	}
	c := stranger(t, n, "198.51.100.8") // whom only the list that doesn't answer could know
	c.say("EHLO good.test")
	c.say("MAIL FROM:<a@sender.test>")
	if c.say("RCPT TO:<user@example.test>"); c.last != "250" {
		t.Errorf("by a list with a fault: %s", c.last)
	}
	if status, _ := n.CLI(t.Context(), "status"); !strings.Contains(string(status), "the list quota.test is left out: it refuses to answer this resolver (127.255.255.254)") {
		t.Errorf("status:\n%s", status)
	}

	primary.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "nobody", Reply: "550 5.1.1 No such user"}}})
	c = stranger(t, n, "198.51.100.20")
	c.say("EHLO harvester.test")
	c.say("MAIL FROM:<a@sender.test>")
	for i := 0; i < 10 && c.last != "421"; i++ {
		c.say(fmt.Sprintf("RCPT TO:<nobody%d@example.test>", i))
	}
	if c.last != "421" {
		t.Error("the harvester is still there")
	}
	if c = stranger(t, n, "198.51.100.20"); c.last != "421" {
		t.Errorf("he comes again: %s", c.last)
	}
	if c = stranger(t, n, "198.51.100.21"); c.last != "220" {
		t.Errorf("his neighbour: %s", c.last)
	}
	if banned, err := n.Metric(t.Context(), "restante_smtp_limited_total", `limit="rate_banned"`); err != nil || banned != 1 {
		t.Errorf("%v banned, %v", banned, err)
	}

	for range 200 {
		stranger(t, n, "172.17.0.1").nc.Close()
	}
	if status, _ := n.CLI(t.Context(), "status"); !strings.Contains(string(status), "all clients of late come from 172.17.0.1: something before this machine hides who connects") {
		t.Errorf("status:\n%s", status)
	}

	text, err := os.ReadFile(dir + "/restante.toml")
	if err != nil {
		t.Fatal(err)
	}
	mended := strings.NewReplacer("zone = \"bl.test\"\n", "zone = \"bl.test\"\nname = \"other name\"\nweight = 2\n", "refused_recipients = 5\n", "exempt = [\"198.51.100.20\", \"2001:db8::/32\"]\n",
		"[[dnsbl]]\nzone = \"quota.test\"\ncodes = [\"127.0.0.2\"]\n", "").Replace(string(text))
	if err := os.WriteFile(dir+"/restante.toml", []byte(mended), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.CLI(t.Context(), "reload"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if c = stranger(t, n, "198.51.100.20"); c.last != "220" {
		t.Errorf("exempt now: %s", c.last)
	}
	c = stranger(t, n, "198.51.100.7")
	c.say("EHLO listed.test")
	c.say("MAIL FROM:<a@sender.test>")
	if refusal := c.line(t, "RCPT TO:<user@example.test>"); !strings.Contains(refusal, "other name") {
		t.Errorf("%q", refusal)
	}
	c = stranger(t, n, "2001:db8::7") // listed, and exempt now
	c.say("EHLO listed.test")
	c.say("MAIL FROM:<a@sender.test>")
	if c.say("RCPT TO:<user@example.test>"); c.last != "250" {
		t.Errorf("exempt now: %s", c.last)
	}
	if status, _ := n.CLI(t.Context(), "status"); strings.Contains(string(status), "quota.test") {
		t.Errorf("status:\n%s", status)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it doesn't happen")
		}
	}
}

// inLog expects the session that a refusal names in the log, with what was said and to whom.
func inLog(t *testing.T, n *node.Node, refusal, client string) {
	t.Helper()
	open := strings.LastIndexByte(refusal, '(')
	if open < 0 || !strings.HasSuffix(refusal, ")") {
		t.Errorf("no session in %q", refusal)
		return
	}
	id := refusal[open+1 : len(refusal)-1]
	log, err := os.ReadFile(n.Log())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, id) && strings.Contains(line, "recipient refused") && strings.Contains(line, client) && strings.Contains(line, "bl.test") {
			return
		}
	}
	t.Errorf("%s is not in the log", id)
}
