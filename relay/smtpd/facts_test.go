package smtpd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"restante/relay/reply"
	"restante/spool"
)

func TestReceived(t *testing.T) {
	when := time.Date(2026, 11, 21, 9, 12, 4, 0, time.UTC)
	const id = "01JD3YQ4T4W3X9V7M2K5N8R6ZC"
	for _, c := range []struct {
		client spool.Client
		rcpts  []string
		want   string
	}{
		{spool.Client{Addr: "192.0.2.1", Name: "mail.example.org", Helo: "Mail.Example.org", Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
			[]string{"anna@example.test"},
			"Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n" +
				"\t(using TLS1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n" +
				"\tby mx2.example.test (Restante) with ESMTPS id " + id + "\r\n" +
				"\tfor <anna@example.test>; Sat, 21 Nov 2026 09:12:04 +0000\r\n"},
		// Two recipients, who need not know of each other; no name; an IPv6 address; HELO as a literal.
		{spool.Client{Addr: "2001:db8::1", Helo: "[IPv6:2001:db8::2]", Protocol: "ESMTP"}, []string{"a@b", "c@d"},
			"Received: from [IPv6:2001:db8::2] ([IPv6:2001:db8::1])\r\n" +
				"\tby mx2.example.test (Restante) with ESMTP id " + id + "; Sat, 21 Nov 2026 09:12:04 +0000\r\n"},
		// A client that claims to be us.
		{spool.Client{Addr: "192.0.2.1", Helo: "MX2.example.TEST", Protocol: "ESMTP"}, []string{"a@b", "c@d"},
			"Received: from [192.0.2.1] ([192.0.2.1])\r\n" +
				"\tby mx2.example.test (Restante) with ESMTP id " + id + "; Sat, 21 Nov 2026 09:12:04 +0000\r\n"},
		// A HELO that would end the comment, or the field.
		{spool.Client{Addr: "::ffff:192.0.2.1", Helo: `x)(by\x0d\x0a`, Protocol: "SMTP"}, []string{"a@b"},
			"Received: from [192.0.2.1] ([192.0.2.1])\r\n" +
				"\tby mx2.example.test (Restante) with SMTP id " + id + "\r\n" +
				"\tfor <a@b>; Sat, 21 Nov 2026 09:12:04 +0000\r\n"},
	} {
		got := Received(Trace{Hostname: "mx2.example.test", Client: &Client{Client: c.client}, ID: id, Rcpts: c.rcpts, Time: when})
		if string(got) != c.want {
			t.Errorf("got\n%swant\n%s", got, c.want)
		}
		// What we write we know again, however the next server cuts it.
		if hops, own, ok := countHops(append(got, got...), 1<<20, "MX2.example.test"); hops != 2 || own != 2 || !ok {
			t.Errorf("%d hops, %d own, %v", hops, own, ok)
		}
		if _, own, _ := countHops(got, 1<<20, "mx3.example.test"); own != 0 {
			t.Error("another host's field taken for ours")
		}
	}
}

func TestProtocol(t *testing.T) {
	// RFC 3848, RFC 6531 4.3.
	for _, c := range []struct {
		esmtp, tls, utf8 bool
		want             string
	}{{false, false, false, "SMTP"}, {true, false, false, "ESMTP"}, {true, true, false, "ESMTPS"}, {true, false, true, "UTF8SMTP"}, {true, true, true, "UTF8SMTPS"}} {
		if got := protocol(c.esmtp, c.tls, c.utf8); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestTrace(t *testing.T) {
	for _, c := range []struct {
		msg  string
		hops int
		ok   bool
	}{
		{"", 0, true},
		{"\r\nReceived: in the text\r\n", 0, true},
		{"Received: a\r\n\r\nReceived: b\r\n", 1, true},
		{"RECEIVED\t:\r\n b\r\nReceived-SPF: pass\r\nReceived:", 2, true},
		{"no header at all " + strings.Repeat("x", 500) + "\r\nReceived: b\r\n", 0, true},
		{"A: " + strings.Repeat("x", 93) + "\r\n \r\n\r\ntext", 0, false},
		{"A: " + strings.Repeat("x", 93) + "\r\n", 0, true},
		{"A: b\r\n" + strings.Repeat(" folded\r\n", 50), 0, false},
	} {
		hops, _, ok := countHops([]byte(c.msg), 100, "mx2.example.test")
		if hops != c.hops || ok != c.ok {
			t.Errorf("%q: %d hops, %v", c.msg, hops, ok)
		}
	}
}

// A Received field that names us again and again takes no longer than another.
func TestManyTimesOurs(t *testing.T) {
	msg := "Received: " + strings.Repeat("by mx2.example.test (Restante) ", 32_000) + "\r\n\r\n"
	begun := time.Now()
	if hops, own, ok := countHops([]byte(msg), 1<<20, "mx2.example.test"); hops != 1 || own != 0 || !ok {
		t.Errorf("%d hops, %d own, %v", hops, own, ok)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// A message that is put aside in a file is judged like one in memory.
func TestLargeMessages(t *testing.T) {
	h := &witness{}
	s := testServer(t, Options{Handler: h, TempDir: t.TempDir(), Limits: Limits{Memory: 100, Hops: 3}})
	hop := "Received: " + strings.Repeat("x", 100) + "\r\n"
	for _, c := range []struct {
		hops int
		want string
	}{{2, "250 2.0.0 "}, {3, "554 5.4.6 "}} {
		msg := strings.Repeat(hop, c.hops) + "\r\n" + strings.Repeat("text\r\n", 1000)
		got, replies := exchange(t, s, h, toDATA, msg+".\r\n")
		if !strings.Contains(replies, "\r\n"+c.want) || (len(got) == 1) != (c.hops == 2) || len(got) == 1 && got[0] != msg {
			t.Errorf("%d hops: %s", c.hops, replies)
		}
	}
}

// Hazard 4: our own trouble is temporary, and its text stays with us.
func TestTempFileFails(t *testing.T) {
	dir := t.TempDir()
	h := &witness{}
	s := testServer(t, Options{Handler: h, TempDir: filepath.Join(dir, "gone"), Limits: Limits{Memory: 10}})
	for _, pieces := range [][]string{
		{toDATA, "more than ten\r\n.\r\nNOOP\r\n"},
		{strings.Replace(toDATA, "DATA", "BDAT 15 LAST", 1), "more than ten\r\nNOOP\r\n"},
	} {
		got, replies := exchange(t, s, h, pieces...)
		if !strings.Contains(replies, "\r\n451 4.3.0 ") || strings.Contains(replies, "gone") || len(got) > 0 {
			t.Errorf("%q: %s", got, replies)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "gone"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, replies := exchange(t, s, h, toDATA, "more than ten\r\n.\r\n"); !strings.Contains(replies, "250 2.0.0 ") {
		t.Errorf("%s", replies)
	}
}

func TestSetOffers(t *testing.T) {
	s := testServer(t, Options{Limits: Limits{MessageSize: 1000}})
	ehlo := func() string {
		_, replies := exchange(t, s, s.o.Handler.(*witness), "EHLO c.example\r\n")
		return replies
	}
	for _, c := range []struct {
		o         Offers
		has, hasn string
	}{
		{Offers{}, "SIZE 1000\r\n", "DSN"},
		{Offers{Size: 500, DSN: true}, "SIZE 500\r\n", "SMTPUTF8"},
		{Offers{Size: 5000, SMTPUTF8: true}, "SIZE 1000\r\n", "DSN"},
		{Offers{RequireTLS: true}, "SIZE 1000\r\n", "REQUIRETLS"}, // not in plain text
	} {
		s.SetOffers(c.o)
		if got := ehlo(); !strings.Contains(got, c.has) || strings.Contains(got, c.hasn) {
			t.Errorf("%+v: %s", c.o, got)
		}
	}
	s.SetLimits(Limits{MessageSize: 700})
	if got := ehlo(); !strings.Contains(got, "SIZE 700\r\n") {
		t.Errorf("%s", got)
	}
}

// An offer that changes within a session holds from its next EHLO on.
func TestSetOffersWithinSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, Options{Offers: Offers{DSN: true}})
		p := connect(t, s, "198.51.100.1:1")
		p.say("EHLO c\r\n")
		synctest.Wait()
		s.SetOffers(Offers{})
		p.say("MAIL FROM:<a@c.example> RET=FULL\r\nRSET\r\n")
		p.say("EHLO c\r\nMAIL FROM:<a@c.example> RET=FULL\r\nQUIT\r\n")
		all := <-p.heard
		if strings.Count(all, "-DSN\r\n") != 1 || strings.Count(all, "250 2.1.0 ") != 1 || strings.Count(all, "504 5.5.4 ") != 1 {
			t.Errorf("%s", all)
		}
		s.wg.Wait()
	})
}

// names is a Resolver.
type names func(context.Context, netip.Addr) (string, error)

func (f names) LookupAddr(ctx context.Context, ip netip.Addr) (string, error) { return f(ctx, ip) }

func TestClientName(t *testing.T) {
	for _, c := range []struct {
		name, want string
		resolver   names
		wait       time.Duration
	}{
		{"verified", "mail.example.org", func(_ context.Context, ip netip.Addr) (string, error) {
			if ip != netip.MustParseAddr("198.51.100.1") {
				return "", errors.New("asked for " + ip.String())
			}
			return "mail.example.org", nil
		}, 0},
		{"none", "", func(context.Context, netip.Addr) (string, error) { return "", nil }, 0},
		{"failing", "", func(context.Context, netip.Addr) (string, error) { return "", errors.New("SERVFAIL") }, 0},
		{"hostile", "", func(context.Context, netip.Addr) (string, error) { return "x) by evil (", nil }, 0},
		// The banner doesn't wait, the transaction does, but not for ever.
		{"slow", "", func(ctx context.Context, _ netip.Addr) (string, error) { <-ctx.Done(); return "", ctx.Err() }, nameTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := make(chan *Client, 1)
				s := testServer(t, Options{Resolver: c.resolver, Handler: seer(func(c *Client) { got <- c })})
				begun := time.Now()
				p := connect(t, s, "198.51.100.1:1025")
				p.say("EHLO c.example\r\n")
				within(t, "EHLO", time.Since(begun), 0, 0)
				p.say("MAIL FROM:<a@c.example>\r\nQUIT\r\n")
				client := <-got
				within(t, "MAIL", time.Since(begun), c.wait, c.wait)
				if client.Name != c.want || client.Addr != "198.51.100.1" || client.Port != 1025 || client.Helo != "c.example" ||
					client.Local.String() != "192.0.2.25:25" || client.TLS != "" {
					t.Errorf("%+v", client)
				}
				<-p.heard
				s.wg.Wait()
			})
		})
	}
}

// seer is a Handler that looks at the client and refuses.
type seer func(*Client)

func (f seer) Begin(_ context.Context, c *Client, _ Mail) (Transaction, reply.Reply) {
	f(c)
	return nil, reply.New(550, reply.Enhanced{5, 7, 1}, "No")
}

// locked is a log that many write.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// One line a transaction, whatever becomes of it, with nothing in it that could forge another, after one for each refused recipient;
// and it is counted once.
func TestLogAndMetrics(t *testing.T) {
	var log locked
	registry := prometheus.NewRegistry()
	s := testServer(t, Options{
		Handler: &scripted{}, Log: slog.New(slog.NewJSONHandler(&log, nil)), Metrics: NewMetrics(registry), TempDir: t.TempDir(),
	})
	h := &witness{} // unused by the server
	say := func(pieces ...string) { exchange(t, s, h, pieces...) }
	for _, c := range []struct {
		pieces        []string
		what, hasRest string
		whole         bool // the Handler got a message
	}{
		{[]string{strings.Replace(toDATA, "b@example.test", "nouser@example.test>\r\nRCPT TO:<b@example.test", 1), "x\r\n.\r\n"}, "accepted", "550 5.1.1", true},
		{[]string{strings.Replace(toDATA, "b@", "full@", 1), "x\r\n.\r\n"}, "refused", "452 4.3.1 Disk is full", true},
		{[]string{strings.Replace(toDATA, "b@", "drop@", 1), "x\r\n.\r\n"}, "closed without a reply", "", true},
		{[]string{toDATA, "a\nb\r\n.\r\n"}, "refused", "554 5.6.0", false},
		{[]string{toDATA, "a"}, "ended without a message", "", false},
		{[]string{"EHLO c\r\nMAIL FROM:<down@c.example>\r\n"}, "refused at MAIL", "451 4.3.0", false},
	} {
		log.b.Reset()
		say(c.pieces...)
		lines := strings.Split(strings.TrimSuffix(log.b.String(), "\n"), "\n")
		if len(lines) == 2 && strings.Contains(lines[0], `"msg":"recipient refused"`) && strings.Contains(lines[0], `"to":"nouser@example.test","reply":"550 5.1.1`) {
			lines = lines[1:]
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || len(lines) != 1 {
			t.Fatalf("%v: %q", err, lines)
		}
		if got["msg"] != c.what || !strings.Contains(lines[0], c.hasRest) || got["session"] == nil || got["client"] != "192.0.2.1" {
			t.Errorf("%q: %s", c.pieces, lines[0])
		}
		if id, _ := got["id"].(string); (len(id) == 26) != c.whole {
			t.Errorf("id %q: %s", id, lines[0])
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = value(m)
		}
	}
	for name, want := range map[string]float64{
		"restante_smtp_transactions_total accepted": 1, "restante_smtp_transactions_total deferred": 2,
		"restante_smtp_transactions_total refused": 1, "restante_smtp_transactions_total dropped": 1,
		"restante_smtp_transactions_total aborted": 1, "restante_smtp_sessions": 0, "restante_smtp_sessions_total": 6,
		"restante_smtp_recipients_refused_total 550 5.1.1": 1, "restante_smtp_refused_total 452 4.3.1": 1,
		"restante_smtp_refused_total 554 5.6.0": 1, "restante_smtp_bytes_total": 3, "restante_smtp_data_seconds": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}

// 1,000 recipients, pipelined in one go with their replies held back no further than
// needed.
func TestManyRecipients(t *testing.T) {
	h := &witness{}
	s := testServer(t, Options{Handler: h})
	got, replies := exchange(t, s, h,
		"EHLO c.example\r\nMAIL FROM:<>\r\n"+strings.Repeat("RCPT TO:<b@example.test>\r\n", 1001)+"DATA\r\n", "x\r\n.\r\n")
	if len(got) != 1 || strings.Count(replies, "250 2.1.5 ") != 1000 || strings.Count(replies, "452 4.5.3 ") != 1 {
		t.Errorf("%d messages, %d recipients", len(got), strings.Count(replies, "250 2.1.5 "))
	}
}

// 50 MB at the limit to the octet, by both ways.
func TestGreatestMessage(t *testing.T) {
	const size = 50_000_000
	for _, way := range []string{"DATA\r\n", "BDAT 50000000 LAST\r\n"} {
		h := &sizer{}
		s := testServer(t, Options{Handler: h, TempDir: t.TempDir()})
		msg := "\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", size/100-1) + strings.Repeat("y", 96) + "\r\n"
		end := ""
		if way == "DATA\r\n" {
			end = ".\r\n"
		}
		_, replies := exchange(t, s, &witness{}, strings.Replace(toDATA, "DATA\r\n", way, 1), msg+end)
		if h.size != size || !strings.Contains(replies, "250 2.0.0 Kept") {
			t.Errorf("%s: %d octets, %s", way, h.size, replies)
		}
	}
}

// sizer is a Handler that wants to know no more than the size.
type sizer struct {
	null
	size int64
}

func (h *sizer) Begin(context.Context, *Client, Mail) (Transaction, reply.Reply) {
	return h, reply.Reply{}
}

func (h *sizer) Data(_ context.Context, _ string, body *spool.Body) reply.Reply {
	n, err := io.Copy(io.Discard, body.Reader())
	h.size = n
	if err != nil || n != body.Size() {
		return reply.New(451, reply.Enhanced{}, "%v", err)
	}
	return reply.New(250, reply.Enhanced{2, 0, 0}, "Kept")
}
