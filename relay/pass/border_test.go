package pass

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/dns/dnstest"
	"restante/relay/policy"
	"restante/relay/policy/dnsbl"
	"restante/relay/policy/rcpt"
	"restante/relay/policy/scan"
	"restante/relay/reply"
)

var dmarcZone = dkimZone + `
example.com. TXT "v=spf1 ip4:198.51.100.0/24 -all"
example.com. MX 10 mx.example.com.
_dmarc.example.com. TXT "v=DMARC1; p=reject; sp=quarantine; np=reject"
sub.example.com. A 198.51.100.9
own.example.com. A 198.51.100.9
_dmarc.own.example.com. TXT "v=DMARC1; p=none"
news.example.com. TXT "v=spf1 ip4:203.0.113.0/24 -all"
strict.example. MX 10 mx.strict.example.
_dmarc.strict.example. TXT "v=DMARC1;p=reject;aspf=s;adkim=s"
a.strict.example. TXT "v=spf1 ip4:198.51.100.0/24 -all"
test.example. MX 10 mx.test.example.
_dmarc.test.example. TXT "v=DMARC1; p=reject; t=y"
_dmarc.quarantine.example. TXT "v=DMARC1; p=quarantine"
_dmarc.bank. TXT "v=DMARC1; p=reject; sp=reject; np=reject; psd=y"
shop.bank. MX 10 mx.shop.bank.
shop.bank. TXT "v=spf1 ip4:198.51.100.0/24 -all"
evil.bank. TXT "v=spf1 ip4:203.0.113.0/24 -all"
_dmarc.uni.example. TXT "v=DMARC1; p=reject"
_dmarc.dept.uni.example. TXT "v=DMARC1; p=none; psd=n"
uni.example. TXT "v=spf1 ip4:203.0.113.0/24 -all"
_dmarc.garbage.example. TXT "v=DMARC1; p=perhaps"
_dmarc.two.example. TXT "v=DMARC1; p=reject"
_dmarc.two.example. TXT "v=DMARC1; p=reject"
_dmarc.late.example. TXT "p=reject; v=DMARC1"
sender.test. TXT "v=spf1 ip4:203.0.113.0/24 -all"
mail.sender.test. TXT "v=spf1 ip4:203.0.113.0/24 -all"
`

// TestDMARC sends mail through the whole accept path to a domain that says nothing itself, and looks at the reply.
func TestDMARC(t *testing.T) {
	f := newFront(t, dmarcZone, nil)
	deep := strings.Repeat("a.", 20)
	text := func(from string) string { return strings.Replace(plain, "Anna <anna@example.com>", from, 1) }
	for _, c := range []struct{ name, client, path, msg, reply, verdict string }{
		{"SPF aligned", "198.51.100.1", "anna@example.com", plain, "250", "pass reject"},
		{"DKIM aligned", "203.0.113.9", "x@sender.test", signed(t, plain), "250", "pass reject"},
		{"nothing", "203.0.113.9", "x@sender.test", plain, "550 5.7.1 DMARC: example.com asks to reject", ""},
		{"nothing, a forwarded signature is broken", "192.0.2.9", "x@sender.test", strings.Replace(signed(t, plain), "Hello", "Hullo", 1), "550 5.7.26 DMARC: example.com asks to reject", ""},
		{"signed by another", "203.0.113.9", "x@sender.test", signed(t, plain, "d=other.example"), "550 5.7.1", ""},
		{"signed by another, where something of ours hides the client", "10.0.0.9", "anna@example.com", signed(t, plain, "d=other.example"), "250", "none"},
		{"signed by itself, where something of ours hides the client", "10.0.0.9", "x@sender.test", signed(t, plain), "250", "pass reject"},
		{"SPF of a subdomain, relaxed", "203.0.113.9", "x@news.example.com", plain, "250", "pass reject"},
		{"SPF of a subdomain, strict", "198.51.100.1", "x@a.strict.example", text("x@strict.example"), "550 5.7.1", ""},
		{"DKIM of the domain for a subdomain", "203.0.113.9", "x@sender.test", signed(t, text("x@sub.example.com")), "250", "pass quarantine"},
		{"sp for a subdomain", "203.0.113.9", "x@sender.test", text("x@sub.example.com"), "250", "fail quarantine"},
		{"np for one that doesn't exist", "203.0.113.9", "x@sender.test", text("x@ghost.example.com"), "550 5.7.1", ""},
		{"a subdomain with a record of its own", "203.0.113.9", "x@sender.test", text("x@own.example.com"), "250", "fail none"},
		{"far below: the walk takes eight steps", "203.0.113.9", "x@sender.test", text("x@" + deep + "example.com"), "550 5.7.1", ""},
		{"t=y takes the edge off", "203.0.113.9", "x@sender.test", text("x@test.example"), "250", "fail quarantine"},
		{"quarantine", "203.0.113.9", "x@sender.test", text("x@quarantine.example"), "250", "fail quarantine"},
		{"psd=y: a domain below it", "203.0.113.9", "x@evil.bank", text("x@shop.bank"), "550 5.7.1", ""},
		{"psd=y: the domain itself", "198.51.100.1", "x@shop.bank", text("x@shop.bank"), "250", "pass reject"},
		{"psd=n: what is above it isn't aligned", "203.0.113.9", "x@uni.example", text("x@dept.uni.example"), "250", "fail none"},
		{"a policy that nobody knows", "203.0.113.9", "x@sender.test", text("x@garbage.example"), "250", "fail none"},
		{"two records", "203.0.113.9", "x@sender.test", text("x@two.example"), "250", "none"},
		{"v= isn't the first tag", "203.0.113.9", "x@sender.test", text("x@late.example"), "250", "none"},
		{"no record", "203.0.113.9", "x@sender.test", text("x@sender.test"), "250", "none"},
		{"the null reverse-path, HELO aligned", "203.0.113.9", "", text("x@mail.sender.test"), "250", "none"},
		{"two From fields, the second asks to reject", "203.0.113.9", "x@sender.test", "From: x@sender.test\r\n" + plain, "550 5.7.1", ""},
		{"two From fields of who passes", "198.51.100.1", "x@example.com", "From: boss@example.com\r\n" + plain, "250", "permerror"},
		{"no From", "203.0.113.9", "x@sender.test", "Subject: x\r\n\r\nx\r\n", "250", "permerror"},
		{"another domain in the display name", "203.0.113.9", "x@sender.test", text(`"a@example.com" <x@sender.test>`), "250", "none"},
		{"an encoded word hides nothing", "203.0.113.9", "x@sender.test", text("=?utf-8?q?x=40sender.test?= <x@example.com>"), "550 5.7.1", ""},
		{"capitals and a group", "203.0.113.9", "x@sender.test", text("friends: X@EXAMPLE.COM;"), "550 5.7.1", ""},
		{"U-labels", "203.0.113.9", "x@sender.test", text("x@ＥＸＡＭＰＬＥ。com"), "550 5.7.1", ""},
		{"by a mailing list", "203.0.113.9", "x@sender.test", "List-Id: <list.sender.test>\r\n" + plain, "250", "fail reject"},
		{"by a forwarder that seals", "203.0.113.9", "x@sender.test", "ARC-Seal: i=1; cv=none\r\n" + plain, "250", "fail reject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			got := f.submit(sent{client: c.client, helo: "mail.sender.test", from: c.path, msg: c.msg})
			if !strings.HasPrefix(got, c.reply) {
				t.Fatalf("%s, want %s", got, c.reply)
			}
			if c.reply != "250" {
				return
			}
			e, body := f.entry()
			if got := strings.TrimSpace(e.Verdicts["dmarc"] + " " + e.Verdicts["dmarc.policy"]); got != c.verdict {
				t.Errorf("%s, want %s", got, c.verdict)
			}
			bad := c.verdict == "fail quarantine" || c.verdict == "fail reject" || c.verdict == "permerror"
			if marked := strings.Contains(body[:e.TraceSize], "X-Restante-Border: mx2.test; mark="); marked != bad || bad != strings.HasPrefix(e.Verdicts["policy"], "mark: ") {
				t.Errorf("marked %v, %q", marked, e.Verdicts["policy"])
			}
		})
	}
}

// TestDomainsDecide: each action for each finding, by the recipient's domain, both while mail is passed and while it is kept.
func TestDomainsDecide(t *testing.T) {
	lists := listing{"192.0.2.66": {Score: 3, Refuse: true, Listed: []dnsbl.Hit{{Zone: "bl.test", Code: netip.MustParseAddr("127.0.0.2"), Text: "spam"}}}}
	f := newFront(t, dmarcZone+"fails.test. TXT \"v=spf1 -all\"\n", func(o *policy.Options) { o.Lists = lists })
	f.dns.Fail("down.test", dnstest.Servfail)
	f.dns.Fail("_dmarc.late.test", dnstest.Servfail)
	quarantined := strings.Replace(plain, "anna@example.com", "x@quarantine.example", 1)
	late := strings.Replace(plain, "anna@example.com", "x@late.test", 1)
	other := strings.Replace(plain, "anna@example.com", "x@sender.test", 1)
	with := func(change func(*policy.Domain)) policy.Domain {
		d := policy.DefaultDomain("")
		change(&d)
		return d
	}
	for _, c := range []struct {
		name, client, helo, from, msg string
		key                           func(*policy.Domain) *policy.Action
		code, stage, reason           string
	}{
		{"SPF", "192.0.2.9", "mail.test", "x@fails.test", other, func(d *policy.Domain) *policy.Action { return &d.SPFFail }, "550 5.7.23", "rcpt", "spf"},
		{"SPF of HELO", "192.0.2.9", "fails.test", "", other, func(d *policy.Domain) *policy.Action { return &d.SPFFail }, "550 5.7.23", "rcpt", "spf"},
		{"SPF of HELO, the reverse-path says nothing", "192.0.2.9", "fails.test", "x@nothing.test", other, func(d *policy.Domain) *policy.Action { return &d.SPFFail }, "550 5.7.23", "rcpt", "spf"},
		{"DMARC reject", "192.0.2.9", "mail.test", "x@nothing.test", plain, func(d *policy.Domain) *policy.Action { return &d.DMARCReject }, "550 5.7.1", "message", "dmarc"},
		{"DMARC quarantine", "192.0.2.9", "mail.test", "x@nothing.test", quarantined, func(d *policy.Domain) *policy.Action { return &d.DMARCQuarantine }, "550 5.7.1", "message", "dmarc"},
		{"DMARC reject, by a list", "203.0.113.9", "mail.test", "x@sender.test", "List-Id: <list.sender.test>\r\n" + plain, func(d *policy.Domain) *policy.Action { return &d.DMARCIndirect }, "550 5.7.1", "message", "dmarc"},
		{"no author", "203.0.113.9", "mail.test", "x@sender.test", "Subject: x\r\n\r\nx\r\n", func(d *policy.Domain) *policy.Action { return &d.FromUnclear }, "550 5.7.1", "message", "from"},
		{"DNS of SPF", "192.0.2.9", "mail.test", "x@down.test", other, func(d *policy.Domain) *policy.Action { return &d.DNSError }, "451 4.7.24", "message", "dns"},
		{"DNS of DMARC", "192.0.2.9", "mail.test", "x@nothing.test", late, func(d *policy.Domain) *policy.Action { return &d.DNSError }, "451 4.4.3", "message", "dns"},
		{"lists", "192.0.2.66", "mail.test", "x@nothing.test", other, func(d *policy.Domain) *policy.Action { return &d.Listed }, "550 5.7.1", "rcpt", "listed"},
	} {
		for _, action := range []policy.Action{policy.Reject, policy.Quarantine, policy.Mark, policy.Ignore} {
			if c.reason == "dns" && action == policy.Quarantine {
				continue
			}
			for _, domain := range []string{domA, domB} { // kept, passed
				t.Run(c.name+" "+string(action)+" "+domain, func(t *testing.T) {
					f.t = t
					kept, passed := f.counts()
					refused, took := f.count("restante_border_refusals_total", domain, c.reason, c.stage), f.count("restante_border_taken_total", string(action), c.reason)
					d := with(func(d *policy.Domain) { d.Name, *c.key(d) = domain, action })
					f.border.SetConfig([]policy.Domain{d})
					got := f.submit(sent{client: c.client, helo: c.helo, from: c.from, rcpts: []string{"info@" + domain}, msg: c.msg})
					keptNow, passedNow := f.counts()
					if action == policy.Reject {
						if !strings.HasPrefix(got, c.code) || keptNow != kept || passedNow != passed {
							t.Fatalf("%s, want %s; kept %d, passed %d", got, c.code, keptNow-kept, passedNow-passed)
						}
						session := got[strings.LastIndexByte(got, '(')+1 : len(got)-1]
						if now := f.count("restante_border_refusals_total", domain, c.reason, c.stage); now != refused+1 {
							t.Errorf("counted %v refusals", now-refused)
						}
						f.log.wait(t, "session="+session, "refused", "cause=\""+c.reason+": ", c.code)
						return
					}
					if !strings.HasPrefix(got, "250") || keptNow+passedNow != kept+passed+1 {
						t.Fatalf("%s; kept %d, passed %d", got, keptNow-kept, passedNow-passed)
					}
					if wantKept := domain == domA || action == policy.Quarantine; wantKept != (keptNow == kept+1) {
						t.Fatalf("kept %d, passed %d", keptNow-kept, passedNow-passed)
					}
					if now := f.count("restante_border_taken_total", string(action), c.reason); (now == took+1) != (action != policy.Ignore) {
						t.Errorf("counted %v taken", now-took)
					}
					f.taken(action, c.reason, keptNow > kept)
				})
			}
		}
	}
}

// taken checks what a message that was taken carries.
func (f *front) taken(action policy.Action, reason string, kept bool) {
	f.t.Helper()
	var head string
	if kept {
		e, body := f.entry()
		head = body
		said, _, _ := strings.Cut(e.Verdicts["policy"], ":")
		switch {
		case (e.Quarantine != "") != (action == policy.Quarantine):
			f.t.Errorf("quarantine %q", e.Quarantine)
		case action == policy.Ignore && said != "", action != policy.Ignore && said != string(action):
			f.t.Errorf("policy: %q", e.Verdicts["policy"])
		}
	} else {
		ms := f.sink.Messages()
		head = string(ms[len(ms)-1].Data)
	}
	head, _, _ = strings.Cut(head, "\r\n\r\n")
	if marks := strings.Count(head, policy.MarkField+": mx2.test; mark="+reason+"\r\n"); (marks == 1) != (action != policy.Ignore) || strings.Count(head, policy.MarkField) != marks {
		f.t.Errorf("%s: header %s", action, head)
	}
	if strings.Count(head, "Authentication-Results: ") != 1 {
		f.t.Errorf("header %s", head)
	}
}

// counts says how many messages were kept and passed so far.
func (f *front) counts() (kept, passed int) {
	f.spool.mu.Lock()
	kept = len(f.spool.entries)
	f.spool.mu.Unlock()
	return kept, len(f.sink.Messages())
}

type listing map[string]dnsbl.Result

func (l listing) Look(_ context.Context, a netip.Addr) dnsbl.Result { return l[a.String()] }

// TestPostmasterIsReachable: who is shut out by mistake can say so, and only there.
func TestPostmasterIsReachable(t *testing.T) {
	lists := listing{"192.0.2.66": {Score: 3, Refuse: true, Listed: []dnsbl.Hit{{Zone: "bl.test", Code: netip.MustParseAddr("127.0.0.2")}}}}
	f := newFront(t, "fails.test. TXT \"v=spf1 -all\"\n", func(o *policy.Options) { o.Lists = lists })
	d := policy.DefaultDomain(domA)
	d.SPFFail = policy.Reject
	f.border.SetConfig([]policy.Domain{d})
	msg := strings.Replace(plain, "anna@example.com", "x@nothing.test", 1)
	for _, rcpt := range []string{"postmaster", "PostMaster", "abuse"} {
		if got := f.submit(sent{client: "192.0.2.66", helo: "mail.test", from: "x@fails.test", rcpts: []string{rcpt + "@a.example"}, msg: msg}); got[0] != '2' {
			t.Errorf("%s: %s", rcpt, got)
		}
		e, body := f.entry()
		if !strings.Contains(body, "mark=spf,listed\r\n") || e.Verdicts["dnsbl"] != "bl.test (127.0.0.2)" {
			t.Errorf("%s: %v\n%s", rcpt, e.Verdicts, body)
		}
	}
	c := f.dial("192.0.2.66", "mail.test")
	c.do("MAIL FROM:<x@sender.test>")
	for rcpt, want := range map[string]string{"postmaster": "250", "info": "550 5.7.1 Refused, your address is listed by bl.test (", "postmaster+x": "550", "abuse": "250"} {
		if got := c.do("RCPT TO:<" + rcpt + "@a.example>"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", rcpt, got)
		}
	}
}

// TestOneReplyForAll: a message has one reply, so domains that want different things don't share a transaction.
func TestOneReplyForAll(t *testing.T) {
	f := newFront(t, dmarcZone, nil)
	f.prim.set(domB, f.prim.State(domA).State, true)
	c := f.dial("192.0.2.9", "mail.test")
	try := func() string {
		c.do("RSET")
		c.do("MAIL FROM:<x@sender.test>")
		if got := c.do("RCPT TO:<info@a.example>"); got[0] != '2' {
			t.Fatal(got)
		}
		return c.do("RCPT TO:<info@b.example>")
	}
	a, b := policy.DefaultDomain(domA), policy.DefaultDomain(domB)
	f.border.SetConfig([]policy.Domain{a, b})
	if got := try(); got[0] != '2' {
		t.Error(got)
	}
	b.DMARCReject = policy.Mark
	f.border.SetConfig([]policy.Domain{a, b})
	if got := try(); !strings.HasPrefix(got, "452 4.5.3") {
		t.Error(got)
	}
}

// scanner says of a message what its subject wants.
type scanner struct {
	mu   sync.Mutex
	seen []scan.Message
	body string
}

func (s *scanner) Scan(_ context.Context, m scan.Message) scan.Result {
	b := make([]byte, m.Size)
	if _, err := m.Body.ReadAt(b, 0); err != nil && err.Error() != "EOF" {
		return scan.Result{Action: scan.Defer, Reply: reply.New(451, reply.Enhanced{4, 3, 0}, "%v", err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.body = append(s.seen, m), string(b)
	r := scan.Result{Verdicts: map[string]string{"clamd": "clean"}, Fields: []byte("X-Restante-Scan: mx2.test; seen\r\n")}
	_, subject, _ := strings.Cut(s.body, "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	switch r.Action = scan.Action(subject); r.Action {
	case scan.Refuse:
		r.Reason, r.Virus = "clamd: Eicar", "Eicar"
		r.Reply = reply.New(550, reply.Enhanced{5, 7, 1}, "A virus was found").With(errors.New(r.Reason))
	case scan.Defer:
		r.Reason = "rspamd: soft reject"
		r.Reply = reply.New(451, reply.Enhanced{4, 7, 1}, "Try again later").With(errors.New(r.Reason))
	case scan.Quarantine:
		r.Reason = "virus Eicar"
	case scan.Mark:
		r.Reason = "rspamd: add header"
	default:
		r.Action = scan.Take
	}
	return r
}

// TestFilters: the filters see what will be delivered, and what they want follows from it.
func TestFilters(t *testing.T) {
	s := &scanner{}
	f := newFront(t, dmarcZone, func(o *policy.Options) { o.Scanner = s })
	for _, c := range []struct{ subject, reply, policy, quarantine, cause string }{
		{"hello", "250", "", "", ""},
		{"mark", "250", "mark: rspamd: add header", "", ""},
		{"quarantine", "250", "quarantine: virus Eicar", "virus Eicar", ""},
		{"defer", "451 4.7.1 Try again later (", "", "", "content: rspamd: soft reject"},
		{"refuse", "550 5.7.1 A virus was found (", "", "", "virus: clamd: Eicar"},
	} {
		for _, domain := range []string{domA, domB} {
			kept, passed := f.counts()
			msg := "Authentication-Results: mx2.test; forged=pass\r\nFrom: x@sender.test\r\nSubject: " + c.subject + "\r\n\r\nx\r\n"
			got := f.submit(sent{client: "203.0.113.9", helo: "mail.test", from: "x@sender.test", rcpts: []string{"info@" + domain}, msg: msg})
			if !strings.HasPrefix(got, c.reply) {
				t.Errorf("%s: %s", c.subject, got)
			}
			if strings.Contains(s.body, "forged") {
				t.Errorf("%s: scanned was what isn't delivered", c.subject)
			}
			keptNow, passedNow := f.counts()
			if c.reply != "250" {
				if keptNow+passedNow != kept+passed {
					t.Errorf("%s: kept or passed", c.subject)
				}
				f.log.wait(t, "session="+got[strings.LastIndexByte(got, '(')+1:len(got)-1], "msg=refused", c.reply, `cause="`+c.cause+`"`)
				continue
			}
			if (c.quarantine != "" || domain == domA) != (keptNow == kept+1) {
				t.Errorf("%s for %s: kept %d, passed %d", c.subject, domain, keptNow-kept, passedNow-passed)
				continue
			}
			if keptNow == kept {
				ms := f.sink.Messages()
				if head := string(ms[len(ms)-1].Data); strings.Count(head, "X-Restante-Scan") != 1 || strings.Contains(head, policy.MarkField) {
					t.Errorf("%s: %s", c.subject, head)
				}
				continue
			}
			e, body := f.entry()
			if e.Quarantine != c.quarantine || e.Verdicts["policy"] != c.policy || e.Verdicts["clamd"] != "clean" || e.Verdicts["spf"] != "pass" ||
				strings.Count(body, "X-Restante-Scan") != 1 || strings.Contains(body, policy.MarkField) {
				t.Errorf("%s: %q %v\n%s", c.subject, e.Quarantine, e.Verdicts, body)
			}
		}
	}
	m := s.seen[0]
	if m.From != "x@sender.test" || m.Client.Addr != "203.0.113.9" || len(m.Rcpts) != 1 || m.Rcpts[0] != "info@a.example" || m.Domains[0] != domA || m.ID == "" || m.Outgoing {
		t.Errorf("asked about %+v", m)
	}
	before := len(s.seen)
	if got := f.submit(sent{client: "203.0.113.9", helo: "mail.test", from: "x@sender.test", msg: plain}); got[0] != '5' || len(s.seen) != before {
		t.Errorf("%s; what is refused anyway was scanned", got)
	}
}

// TestSlowDNS: a sender whose DNS is silent waits for a time that is bounded, and its mail is taken.
func TestSlowDNS(t *testing.T) {
	f := newFront(t, dmarcZone, nil)
	f.dns.Fail("", dnstest.Silent)
	begun := time.Now()
	got := f.submit(sent{client: "203.0.113.9", helo: "mail.test", from: "x@sender.test", msg: signed(t, plain)})
	if took := time.Since(begun); got[0] != '2' || took > 20*time.Second { // twice 2 s; the rest is for machines that do much else
		t.Errorf("%s after %v", got, took)
	}
	e, body := f.entry()
	if got := verdicts(e, "spf", "dkim", "dmarc"); got != "dkim=temperror dmarc=temperror spf=temperror" || !strings.HasPrefix(e.Verdicts["policy"], "mark: ") || !strings.Contains(body, "mark=dns\r\n") {
		t.Errorf("%v", e.Verdicts)
	}
}

// TestHarvestAsksNothing: who tries addresses that don't exist makes us ask DNS nothing about the sender it names, unless a
// domain wants to refuse for it.
func TestHarvestAsksNothing(t *testing.T) {
	f := newFront(t, dmarcZone, nil)
	known, err := rcpt.New(rcpt.Options{Domains: []rcpt.Domain{{Name: domA, List: []string{"info"}}}})
	if err != nil {
		t.Fatal(err)
	}
	f.Handler.o.Recipients = known
	c := f.dial("203.0.113.9", "mail.test")
	c.do("MAIL FROM:<x@sender.test>")
	for _, a := range []string{"a@a.example", "b@a.example", "x@elsewhere.example"} {
		if got := c.do("RCPT TO:<" + a + ">"); got[0] == '2' {
			t.Error(got)
		}
	}
	if n := f.dns.Asked("sender.test"); n != 0 {
		t.Errorf("asked %d times", n)
	}
	if got := c.do("RCPT TO:<info@a.example>"); got[0] != '2' {
		t.Error(got)
	}
	c.do("DATA")
	c.do("From: x@sender.test\r\n\r\nx\r\n.")
	if n := f.dns.Asked("sender.test"); n == 0 {
		t.Error("not asked")
	}
}

// TestForwarders: for what a domain's forwarders bring nothing follows, but from filters; for others it does.
func TestForwarders(t *testing.T) {
	lists := listing{"192.0.2.66": {Score: 3, Refuse: true, Listed: []dnsbl.Hit{{Zone: "bl.test", Code: netip.MustParseAddr("127.0.0.2")}}}}
	f := newFront(t, dmarcZone, func(o *policy.Options) { o.Lists, o.Scanner = lists, &scanner{} })
	d := policy.DefaultDomain(domA)
	d.SPFFail, d.Forwarders = policy.Reject, []netip.Prefix{netip.MustParsePrefix("192.0.2.64/28"), netip.MustParsePrefix("2001:db8:1::/48")}
	f.border.SetConfig([]policy.Domain{d, policy.DefaultDomain(domB)})
	for client, want := range map[string]string{"192.0.2.66": "250", "2001:db8:1::7": "250", "::ffff:192.0.2.67": "250", "192.0.2.99": "550 5.7.23", "2001:db8:2::7": "550 5.7.23"} {
		if got := f.submit(sent{client: client, helo: "mail.test", from: "x@example.com", msg: plain}); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", client, got, want)
		} else if want == "250" {
			if e, body := f.entry(); e.Verdicts["dmarc"] != "fail" || e.Verdicts["policy"] != "" || strings.Contains(body, policy.MarkField) {
				t.Errorf("%s: %v", client, e.Verdicts)
			}
		}
	}
	if got := f.submit(sent{client: "192.0.2.66", helo: "mail.test", from: "x@example.com", rcpts: []string{"info@b.example"}, msg: plain}); !strings.HasPrefix(got, "550 5.7.1") {
		t.Errorf("another domain: %s", got)
	}
	if got := f.submit(sent{client: "192.0.2.66", helo: "mail.test", from: "x@example.com", msg: strings.Replace(plain, "hello", "refuse", 1)}); !strings.HasPrefix(got, "550 5.7.1 A virus") {
		t.Errorf("a virus: %s", got)
	}
}
