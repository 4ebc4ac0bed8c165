package e2e

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"restante/cmd/internal/node"
	"restante/dns/dnstest"
	"restante/relay/policy/scan/scantest"
	"restante/relay/sink"
	"restante/spool/need"
)

var signingKey = ed25519.NewKeyFromSeed([]byte("restante restante restante 1234!"))

// borderZone is the world outside: who signs and names its servers; who is forged; who names others' servers; who is on a list.
var borderZone = strings.ReplaceAll(`
good.test.                TXT "v=spf1 ip4:198.51.100.10 ip6:2001:db8::10 -all"
mail.good.test.           TXT "v=spf1 ip4:198.51.100.10 ip6:2001:db8::10 -all"
s1._domainkey.good.test.  TXT "v=DKIM1; k=ed25519; p=KEY"
_dmarc.good.test.         TXT "v=DMARC1; p=reject"
bank.test.                TXT "v=spf1 -all"
_dmarc.bank.test.         TXT "v=DMARC1; p=reject"
_dmarc.later.test.        TXT "v=DMARC1; p=reject"
nowhere.test.             TXT "v=spf1 -all"
careful.test.             TXT "v=spf1 -all"
_dmarc.careful.test.      TXT "v=DMARC1; p=quarantine"
2.0.0.127.bl.test.        A 127.0.0.2
66.113.0.203.bl.test.     A 127.0.0.2
67.113.0.203.bl.test.     A 127.0.0.2
`, "KEY", base64.StdEncoding.EncodeToString(signingKey.Public().(ed25519.PublicKey)))

const (
	goodClient   = "198.51.100.10"
	goodClient6  = "2001:db8::10"
	badClient    = "203.0.113.9"
	listedClient = "203.0.113.66"
	unseenListed = "203.0.113.67" // listed, but nobody has asked DNS yet
)

// borderPeople are the directory: a person with a second address, and a group.
const borderPeople = `dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=Anna,dc=example,dc=test
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
cn: Anna
sn: Schmidt
mail: anna@example.test
mailLocalAddress: a.schmidt@example.test

dn: cn=Sales,dc=example,dc=test
objectClass: groupOfNames
objectClass: extensibleObject
cn: Sales
member: cn=Anna,dc=example,dc=test
mail: sales@example.test

`

// slapd starts a directory that anybody may read, and returns its address and what ends it.
func slapd(t *testing.T) (url string, stop func()) {
	t.Helper()
	server, add := need.Program(t, "slapd"), need.Program(t, "slapadd")
	dir := t.TempDir()
	conf, data := filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "data.ldif")
	var text strings.Builder
	for _, s := range []string{"core", "cosine", "inetorgperson", "misc"} {
		fmt.Fprintf(&text, "include /etc/ldap/schema/%s.schema\n", s)
	}
	fmt.Fprintf(&text, "modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix dc=example,dc=test\ndirectory %s\nmaxsize 10485760\naccess to * by * read\n", dir)
	for name, text := range map[string]string{conf: text.String(), data: borderPeople} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(add, "-q", "-f", conf, "-l", data).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	addr := freeAddr(t)
	cmd := exec.Command(server, "-d", "0", "-f", conf, "-h", "ldap://"+addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // by the signal
	})
	t.Cleanup(stop)
	eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "ldap://" + addr, stop
}

// letter is a message of a stranger.
type letter struct {
	name, client, from, to, subject string
	text                            string   // the body; default: a line
	forged                          bool     // has a field above it that claims to be our judgement
	apart                           bool     // goes to quarantine
	want                            string   // how the last reply begins: "250 ", "550 5.7.23 "
	within                          string   // more of that reply
	has, hasNot                     []string // in our fields, once delivered
}

// message is the letter as it is sent, signed when its author's domain signs.
func (l letter) message(t *testing.T, phase string) []byte {
	t.Helper()
	text := l.text
	if text == "" {
		text = "A line with 8 bits: \xfc.\r\n..and one that begins with dots"
	}
	m := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s.%s@good.test>\r\n\r\n%s\r\n", l.from, l.to, l.subject,
		strings.ReplaceAll(l.name, " ", "-"), phase, text)
	if !strings.HasSuffix(l.from, "@good.test") {
		return []byte(m)
	}
	var b bytes.Buffer
	o := &dkim.SignOptions{Domain: "good.test", Selector: "s1", Signer: signingKey, HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"}}
	if err := dkim.Sign(&b, strings.NewReader(m), o); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

// because is what may stand between a result and whom it is of.
var because = regexp.MustCompile(`( reason="[^"]*")?\r\n\t `)

const forgedField = "Authentication-Results: mx2.example.test; dkim=pass header.d=bank.test\r\n"

// post sends a letter as a load balancer passes it on, and returns the reply that decided.
func (l letter) post(n *node.Node, message []byte) (string, error) {
	nc, err := net.Dial("tcp", n.SMTP)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	family := "TCP4"
	if strings.Contains(l.client, ":") {
		family = "TCP6"
	}
	fmt.Fprintf(nc, "PROXY %s %s %s 4000 25\r\n", family, l.client, l.client)
	c := textproto.NewConn(nc)
	if l.forged {
		message = append([]byte(forgedField), message...)
	}
	helo := "relay.elsewhere.test"
	if l.client == goodClient || l.client == goodClient6 {
		helo = "mail.good.test"
	}
	for _, line := range []string{"", "EHLO " + helo, "MAIL FROM:<" + l.from + "> BODY=8BITMIME", "RCPT TO:<" + l.to + ">", "DATA"} {
		if line != "" {
			if err := c.PrintfLine("%s", line); err != nil {
				return "", err
			}
		}
		if code, text, err := c.ReadResponse(0); code >= 400 {
			return fmt.Sprintf("%d %s", code, text), nil
		} else if _, protocol := err.(*textproto.Error); err != nil && !protocol {
			return "", err
		}
	}
	w := c.DotWriter()
	if _, err := w.Write(message); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	code, text, err := c.ReadResponse(0)
	if code == 0 {
		return "", err
	}
	return fmt.Sprintf("%d %s", code, text), nil
}

// border is a node with all that strangers have to pass, and what they were told.
type border struct {
	*node.Node
	mu       sync.Mutex
	taken    map[string]letter // by the Message-ID's left side
	sent     map[string][]byte
	refusals map[string]letter // by what was said
	perhaps  map[string]bool   // those that were sent to the end when the node was killed, and not answered
}

// send posts letters at the same time, and notes what became of them.
func (b *border) send(t *testing.T, phase string, letters []letter) {
	t.Helper()
	var wg sync.WaitGroup
	for _, l := range letters {
		wg.Go(func() {
			m := l.message(t, phase)
			got, err := l.post(b.Node, m)
			if err != nil || !strings.HasPrefix(got, l.want) || !strings.Contains(got, l.within) {
				t.Errorf("%s: %s: %q, %v; want %q with %q", phase, l.name, got, err, l.want, l.within)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if strings.HasPrefix(got, "250 ") {
				id := strings.ReplaceAll(l.name, " ", "-") + "." + phase
				b.taken[id], b.sent[id] = l, m
			} else {
				b.refusals[got] = l
			}
		})
	}
	wg.Wait()
}

// logged expects each refusal of our own in the log, by the session that the sender was told.
func (b *border) logged(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(b.Log())
	if err != nil {
		t.Fatal(err)
	}
	for said, l := range b.refusals {
		open := strings.LastIndexByte(said, '(')
		if strings.Contains(said, "primary says so") {
			continue // the primary's own words
		}
		if open < 0 || !strings.HasSuffix(said, ")") {
			t.Errorf("%s: no session in %q", l.name, said)
			continue
		}
		id, found := said[open+1:len(said)-1], false
		for line := range strings.Lines(string(log)) {
			found = found || strings.Contains(line, id) && strings.Contains(line, "refused") && strings.Contains(line, l.client) && strings.Contains(line, `"cause"`)
		}
		if !found {
			t.Errorf("%s: %q is not in the log", l.name, said)
		}
	}
}

// arrived compares what the primary has with what was taken.
func (b *border) arrived(t *testing.T, primary *sink.Server, released bool) {
	t.Helper()
	times := map[string]int{}
	for _, m := range primary.Messages() {
		_, id, _ := bytes.Cut(m.Data, []byte("Message-ID: <"))
		name, _, _ := strings.Cut(string(id), "@")
		times[name]++
		l, ok := b.taken[name]
		if b.perhaps[name] && times[name] == 1 {
			continue
		}
		if !ok {
			t.Errorf("nobody was told 250 for this: %.1000q", m.Data)
			continue
		}
		ours, same := bytes.CutSuffix(m.Data, b.sent[name])
		if !same || strings.Trim(m.From, "<>") != l.from || len(m.Rcpts) != 1 || strings.Trim(m.Rcpts[0], "<>") != l.to {
			t.Errorf("%s: not what was sent: from %s to %s\n%q\n%q", name, m.From, m.Rcpts, m.Data, b.sent[name])
		}
		l.traced(t, name, string(ours))
	}
	for name, l := range b.taken {
		want := 1
		if l.apart && !released {
			want = 0
		}
		if times[name] != want {
			t.Errorf("%s arrived %d times, not %d", name, times[name], want)
		}
	}
}

// signedAndSent is how the results of good.test's mail begin in the field.
func signedAndSent(result string) []string {
	return []string{"\tspf=" + result + " smtp.mailfrom=good.test", "\tdkim=" + result + " header.d=good.test", "\tdmarc=" + result + " header.from=good.test"}
}

// traced looks at the fields that stand above a message.
func (l letter) traced(t *testing.T, name, ours string) {
	t.Helper()
	ours = because.ReplaceAllString(ours, " ")
	client := "[" + l.client + "]"
	if strings.Contains(client, ":") {
		client = "[IPv6:" + l.client + "]"
	}
	for _, has := range append(l.has, client, "Authentication-Results: mx2.example.test;", "Received: ") {
		if strings.Count(ours, has) != 1 {
			t.Errorf("%s: not once %q:\n%s", name, has, ours)
		}
	}
	for _, not := range append(l.hasNot, "header.d=bank.test") {
		if strings.Contains(ours, not) {
			t.Errorf("%s: has %q:\n%s", name, not, ours)
		}
	}
	for line := range strings.Lines(ours) {
		if field, _, _ := strings.Cut(line, ":"); line[0] != '\t' && !slices.Contains([]string{"Received", "Authentication-Results", "X-Restante-Border", "X-Restante-Scan", "X-Spam-Flag"}, field) {
			t.Errorf("%s: %s isn't ours", name, line)
		}
	}
}

// goodMail is what has to come through whatever is away.
func goodMail() []letter {
	pass := signedAndSent("pass")
	return []letter{
		{name: "person", client: goodClient, from: "carl@good.test", to: "anna@example.test", subject: "hello", want: "250 ", has: pass, hasNot: []string{"X-Restante-Border", "X-Spam-Flag"}},
		{name: "alias", client: goodClient, from: "carl@good.test", to: "a.schmidt@example.test", subject: "hello", want: "250 ", has: pass},
		{name: "tag", client: goodClient6, from: "carl@good.test", to: "Anna+Shop@example.test", subject: "hello", want: "250 ", has: pass},
		{name: "group", client: goodClient, from: "carl@good.test", to: "sales@example.test", subject: "hello", want: "250 ", has: pass, forged: true},
		{name: "alias domain", client: goodClient, from: "carl@good.test", to: "anna+x@alias.test", subject: "hello", want: "250 ", has: pass},
		{name: "null sender", client: goodClient, from: "", to: "postmaster@example.test", subject: "report", want: "250 ", has: []string{"smtp.helo="}},
		{name: "marked", client: goodClient, from: "carl@good.test", to: "anna@example.test", subject: "spam-mark", want: "250 ", has: append([]string{"X-Spam-Flag: YES\r\n", "X-Restante-Scan:"}, pass...)},
		{name: "forwarded", client: badClient, from: "x@nowhere.test", to: "anna@example.test", subject: "hello", want: "250 ", has: []string{"\tspf=fail smtp.mailfrom=nowhere.test", "X-Restante-Border: mx2.example.test; mark=spf\r\n"}},
		{name: "listed to postmaster", client: listedClient, from: "x@elsewhere.test", to: "postmaster@example.test", subject: "why am I listed", want: "250 "},
		{name: "set apart", client: goodClient, from: "carl@good.test", to: "anna@example.test", subject: "spam-quarantine", apart: true, want: "250 "},
		{name: "set apart by DMARC", client: badClient, from: "x@careful.test", to: "anna@example.test", subject: "hello", apart: true, want: "250 "},
	}
}

// badMail is refused while there is all that tells it.
func badMail(unknown string) []letter {
	return []letter{
		{name: "spoofed", client: badClient, from: "ceo@bank.test", to: "anna@example.test", subject: "pay", want: "550 5.7."},
		{name: "not its server", client: badClient, from: "x@nowhere.test", to: "anna@alias.test", subject: "hello", want: "550 5.7.23 "},
		{name: "listed", client: listedClient, from: "x@elsewhere.test", to: "anna@example.test", subject: "hello", want: "550 5.7.1 ", within: "bl.test"},
		{name: "unknown", client: goodClient, from: "carl@good.test", to: "nobody@example.test", subject: "hello", want: unknown},
		{name: "virus", client: goodClient, from: "carl@good.test", to: "anna@example.test", subject: "hello", text: scantest.GTUBE, want: "550 5.7.1 "},
	}
}

const borderConfig = `probe_interval = "1s"
unknown_recipients = "refuse"
[domain.ldap]
url = [%q]
tls = "none"
[domain.border]
dmarc_quarantine = "quarantine"
[[domain]]
name = "alias.test"
alias_of = "example.test"
probe_interval = "1s"
[domain.border]
spf_fail = "reject"
[rspamd]
url = %q
[dns]
servers = [%q]
timeout = "500ms"
[[dnsbl]]
zone = "bl.test"
codes = ["127.0.0.2"]
[rates]
connections = 60
[replay]
retry_min = "1s"
[log]
format = "json"
`

func newBorder(t *testing.T, primary, config string) *border {
	t.Helper()
	n := newNode(t, node.Options{Primary: primary, SMTP: "proxies = [\"127.0.0.1\"]", Extra: config})
	return &border{Node: n, taken: map[string]letter{}, sent: map[string][]byte{}, refusals: map[string]letter{}, perhaps: map[string]bool{}}
}

// TestBorder lets strangers come to a node with all that they have to pass: recipients of a directory, sender authentication, a
// list in DNS, rates and a content filter. First the primary is up; then it is down; then so are directory, DNS and filter, and the
// node is killed meanwhile; then the primary is back. What is good arrives once and unaltered, what was refused never does, and
// nobody is sent a bounce.
func TestBorder(t *testing.T) {
	whole(t)
	t.Parallel()
	server := dnstest.Start(t, borderZone)
	ldap, noLDAP := slapd(t)
	rspamd := scantest.Rspamd(t)
	primary := startSink(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "nobody@", Reply: "550 5.1.1 Nobody here, the primary says so"}}}})
	elsewhere, smarthost := outside(t)
	b := newBorder(t, primary.Addr(), fmt.Sprintf(borderConfig, ldap, rspamd.URL, server.Addr())+smarthost)
	start(t, b.Node)
	waitState(t, b.Node, "up")
	b.ready(t)

	b.send(t, "passed", goodMail())
	b.send(t, "passed", badMail("550 5.1.1 "))
	b.flood(t)

	primary.Stop()
	waitState(t, b.Node, "down")
	b.send(t, "kept", goodMail())
	b.send(t, "kept", badMail("550 5.1.1 "))
	b.counted(t)

	noLDAP()
	rspamd.Stop()
	server.Fail("", dnstest.Silent)
	if out, err := b.CLI(t.Context(), "recipient", "sync"); err == nil {
		t.Errorf("there is no directory: %s", out)
	}
	b.send(t, "alone", alone(false))
	b.kill(t)
	b.send(t, "again", alone(true))
	b.logged(t)
	b.told(t)

	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, b.Node, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	b.arrived(t, primary, false)
	b.release(t)
	eventually(t, func() bool { return len(primary.Messages()) >= len(b.taken) })
	b.arrived(t, primary, true)
	report(t, b.Node)
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
	if s := elsewhere.Stats(); s.Transactions != 0 {
		t.Errorf("sent elsewhere: %+v", s)
	}
}

// alone is what comes while directory, DNS and filter are away. cold: nothing that DNS once said is remembered.
func alone(cold bool) []letter {
	result := "pass"
	if cold {
		result = "temperror"
	}
	virus := letter{name: "virus", client: goodClient, from: "carl@good.test", to: "anna@example.test", subject: "hello", text: scantest.GTUBE, want: "250 "}
	letters := []letter{
		{name: "unknown", client: goodClient, from: "carl@good.test", to: "nobody@example.test", subject: "hello", want: "450 4.1.1 "},
		{name: "nobody knows", client: badClient, from: "x@later.test", to: "sales@example.test", subject: "pay", want: "250 ", has: []string{"dmarc=temperror", "mark=dns"}},
		{name: "listed unseen", client: unseenListed, from: "x@elsewhere.test", to: "anna@example.test", subject: "hello", want: "250 "},
	}
	for _, l := range append(goodMail(), virus) {
		if l.apart {
			continue // it would come as any other
		}
		l.has, l.hasNot = []string{"rspamd=not-scanned"}, []string{"X-Spam-Flag"}
		if strings.HasSuffix(l.from, "@good.test") {
			l.has = append(l.has, signedAndSent(result)...)
		}
		if cold && l.from != "" {
			l.has, l.hasNot = append(l.has, "mark=dns\r\n"), append(l.hasNot, "=pass", "=fail")
		}
		letters = append(letters, l)
	}
	return letters
}

// status asks the node how it is.
func (b *border) status(t *testing.T) (s struct {
	Reasons []string
	Domains []struct {
		Name        string
		Quarantined int
		Lists       struct {
			Complete, Stale bool
			Known           int
			Sources         []struct{ Name, Error string }
		} `json:"recipient_lists"`
	}
	Filters []struct {
		Name string
		Up   bool
	}
}) {
	t.Helper()
	out, err := b.CLI(t.Context(), "status", "--json")
	if len(out) == 0 {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return s
}

// ready waits until directory and list were asked.
func (b *border) ready(t *testing.T) {
	t.Helper()
	eventually(t, func() bool {
		in, err := b.Metric(t.Context(), "restante_dnsbl_in_use", `list="bl.test"`)
		d := b.status(t).Domains
		return err == nil && in == 1 && len(d) == 2 && d[0].Lists.Complete && d[1].Lists.Complete && d[0].Lists.Known == 3
	})
}

// flood connects faster than [rates] allows.
func (b *border) flood(t *testing.T) {
	t.Helper()
	l := letter{name: "flood", client: "203.0.113.200", from: "x@elsewhere.test", to: "y@elsewhere.test"}
	for range 70 {
		got, err := l.post(b.Node, nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(got, "421 ") {
			b.refusals[got] = l
			return
		}
	}
	t.Error("nothing stops who connects 70 times")
}

// counted compares the metrics with what was refused.
func (b *border) counted(t *testing.T) {
	t.Helper()
	for _, m := range []struct {
		name string
		with []string
		want float64
	}{
		{"restante_border_refusals_total", []string{`reason="dmarc"`, `domain="example.test"`}, 2},
		{"restante_border_refusals_total", []string{`reason="spf"`, `domain="alias.test"`}, 2},
		{"restante_border_refusals_total", []string{`reason="listed"`, `domain="example.test"`}, 2},
		{"restante_border_taken_total", []string{`action="mark"`, `reason="spf"`}, 4},
		{"restante_border_taken_total", []string{`action="quarantine"`, `reason="dmarc"`}, 2},
		{"restante_scan_messages_total", []string{`result="refuse"`}, 2},
		{"restante_scan_messages_total", []string{`result="quarantine"`}, 2},
		{"restante_scan_messages_total", []string{`result="mark"`}, 2},
		{"restante_smtp_limited_total", []string{`limit="rate_connections"`}, 1},
	} {
		if got, err := b.Metric(t.Context(), m.name, m.with...); err != nil || got != m.want {
			t.Errorf("%s%v: %v, %v; want %v", m.name, m.with, got, err, m.want)
		}
	}
}

// kill ends the node as kill -9 does, with one message half sent and others on their way, and starts it again.
func (b *border) kill(t *testing.T) {
	t.Helper()
	half := stranger(t, b.Node, goodClient)
	for _, line := range []string{"EHLO mail.good.test", "MAIL FROM:<carl@good.test>", "RCPT TO:<anna@example.test>", "DATA"} {
		half.say(line)
	}
	if half.last != "354" {
		t.Errorf("DATA: %s", half.last)
	}
	fmt.Fprintf(half.nc, "Message-ID: <half@good.test>\r\n\r\nand then")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			l := goodMail()[0]
			l.name, l.has, l.hasNot = fmt.Sprintf("killed %d", i), nil, nil
			id, m := fmt.Sprintf("killed-%d.kill", i), l.message(t, "kill")
			time.Sleep(time.Duration(i) * 10 * time.Millisecond) // so that some are at each point
			got, err := l.post(b.Node, m)
			b.mu.Lock()
			defer b.mu.Unlock()
			if strings.HasPrefix(got, "250 ") {
				b.taken[id], b.sent[id] = l, m
			} else if err == nil {
				t.Errorf("%s: %q", id, got)
			}
			b.perhaps[id] = err != nil
		})
	}
	time.Sleep(50 * time.Millisecond)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	start(t, b.Node)
}

// told expects status to name what is away, and what waits for an admin.
func (b *border) told(t *testing.T) {
	t.Helper()
	s := b.status(t)
	d := s.Domains[0]
	if s.Domains[1].Name == "example.test" {
		d = s.Domains[1]
	}
	if d.Quarantined != 4 || !d.Lists.Complete || !d.Lists.Stale || len(s.Filters) != 1 || s.Filters[0].Up {
		t.Errorf("%+v", s)
	}
	for _, word := range []string{"ldap", "rspamd", "dns: no answer"} { // what doesn't answer is known after some questions
		until(t, "status tells of "+word, 20*time.Second, func() bool {
			return strings.Contains(strings.ToLower(strings.Join(b.status(t).Reasons, "\n")), word)
		})
	}
}

// release lets out of quarantine what is there.
func (b *border) release(t *testing.T) {
	t.Helper()
	if out, err := b.CLI(t.Context(), "queue", "release", "--state", "quarantined"); err == nil {
		t.Errorf("released without being asked: %s", out)
	}
	if out, err := b.CLI(t.Context(), "queue", "release", "--state", "quarantined", "--yes"); err != nil || !strings.Contains(string(out), "4 pairs of 4 messages released") {
		t.Errorf("%v: %s", err, out)
	}
	wait(t, b.Node, time.Minute, func(d node.Domain) bool { return d.Pending == 0 && d.Parked == 0 })
}
