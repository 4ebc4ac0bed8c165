package scan

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"restante/relay/policy/scan/scantest"
	"restante/relay/reply"
	"restante/spool"
)

func newSet(t testing.TB, c Config) *Set {
	t.Helper()
	s, err := New(Options{Hostname: "mx2.example.net", Config: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func message(subject, text string) Message {
	m := "From: Anna <anna@kunde.example>\r\nTo: info@example.com\r\nSubject: " + subject +
		"\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@kunde.example>\r\n\r\n" + text + "\r\n"
	return Message{ID: spool.NewID(), From: "anna@kunde.example", Rcpts: []string{"info@example.com"}, Domains: []string{"example.com"},
		Client: spool.Client{Addr: "192.0.2.7", Name: "mail.kunde.example", Helo: "mail.kunde.example", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
		Body:   strings.NewReader(m), Size: int64(len(m))}
}

func TestRspamd(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a program")
	}
	in := scantest.Rspamd(t)
	s := newSet(t, Config{Rspamd: Rspamd{URL: in.URL}})
	for _, c := range []struct {
		subject, text string
		action        Action
		reply, reason string
	}{
		{"Hello", "How are you?", Take, "", ""},
		{"spam-mark", "Buy", Mark, "", "rspamd: add header, score 7.50 of 15.00 (TEST_MARK, TEST_MORE)"},
		{"spam-reject", "Buy", Refuse, "550 5.7.1 Message refused as spam", "rspamd: reject, score 20.00 of 15.00 (TEST_REJECT)"},
		{"gtube", scantest.GTUBE, Refuse, "550 5.7.1 Gtube pattern", "rspamd: reject, score 15.00 of 15.00 (GTUBE)"},
		{"spam-soft", "Buy", Defer, "451 4.7.1 Come again", "rspamd: soft reject"},
		{"spam-quarantine", "Buy", Quarantine, "", "rspamd: quarantine"},
		{"spam-discard", "Buy", Quarantine, "", "rspamd: discard"},
	} {
		r := s.Scan(context.Background(), message(c.subject, c.text))
		if r.Action != c.action || r.Reply.String() != c.reply || !strings.HasPrefix(r.Reason, c.reason) || (r.Reason == "") != (c.reason == "") {
			t.Errorf("%s: %q, %q, %q", c.subject, r.Action, r.Reply.String(), r.Reason)
		}
	}
	r := s.Scan(context.Background(), message("spam-mark", "Buy"))
	want := "X-Spam-Flag: YES\r\nX-Restante-Scan: mx2.example.net; rspamd=add-header score=7.50/15.00\r\n\ttests=TEST_MARK, TEST_MORE\r\n"
	if string(r.Fields) != want || r.Score != 7.5 || r.Verdicts["rspamd"] != "add header" || r.Verdicts["rspamd.score"] != "7.50 of 15.00" || r.Verdicts["content"] != "spam" {
		t.Errorf("%q\n%v", r.Fields, r)
	}
	if r := s.Scan(context.Background(), message("Hello", "x")); r.Fields != nil || r.Verdicts["rspamd"] != "no action" {
		t.Errorf("clean mail: %+v", r)
	}
	m := message("spam-facts", "x")
	m.Account = "ines@example.com"
	m.Rcpts = append(m.Rcpts, "sales@example.com")
	s.Scan(context.Background(), m)
	if got, want := in.Facts(), "192.0.2.7|mail.kunde.example|mail.kunde.example|ines@example.com|anna@kunde.example|2|"+m.ID; got != want {
		t.Errorf("rspamd was told %s\nwant %s", got, want)
	}
	m = message("spam-facts", "x")
	m.From, m.Client.Addr = "", "2001:db8::7"
	s.Scan(context.Background(), m)
	if got := in.Facts(); !strings.HasPrefix(got, "2001:db8::7|") || !strings.HasSuffix(got, "||1|"+m.ID) {
		t.Errorf("with IPv6 and the null sender rspamd was told %s", got)
	}
	s.Look(context.Background())
	if st := s.Status(); len(st) != 1 || !st[0].Up || !strings.HasPrefix(st[0].Version, "rspamd/") || st[0].Asked == 0 || st[0].Failed != 0 {
		t.Errorf("%+v", st)
	}
	slow(t, in.URL)
	if r := s.Scan(context.Background(), message("spam-reject", "x")); r.Action != Refuse {
		t.Errorf("%+v", r)
	}
}

// slow sends a message that keeps a worker of rspamd busy beyond its time: it isn't scanned, and the filter stays in use.
func slow(t *testing.T, url string) {
	s := newSet(t, Config{Rspamd: Rspamd{URL: url, Filter: Filter{Timeout: 1500 * time.Millisecond}}})
	r := s.Scan(context.Background(), message("spam-slow", "x"))
	if r.Action != Mark || !strings.Contains(r.Reason, "not done within 1.5s, for a message of") {
		t.Errorf("%+v", r)
	}
	if err := poll(func() bool { s.Look(context.Background()); return s.Status()[0].Up }); err != nil {
		t.Errorf("%v: %+v", err, s.Status()[0])
	}
}

func TestRspamdSocketAndActions(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a program")
	}
	in := scantest.Rspamd(t)
	s := newSet(t, Config{Rspamd: Rspamd{URL: "unix:" + in.Socket, Actions: map[string]Action{"reject": Quarantine, "add header": Refuse}}})
	if r := s.Scan(context.Background(), message("spam-reject", "x")); r.Action != Quarantine || r.Fields == nil || !r.Reply.IsZero() {
		t.Errorf("%+v", r)
	}
	if r := s.Scan(context.Background(), message("spam-mark", "x")); r.Action != Refuse {
		t.Errorf("%+v", r)
	}
}

func TestClamd(t *testing.T) {
	in := scantest.Clamd(t)
	wrapped := "MIME-Version: 1.0\r\n"
	for name, address := range map[string]string{"tcp": in.Address, "unix": "unix:" + in.Socket} {
		s := newSet(t, Config{Clamd: Clamd{Address: address}})
		if r := s.Scan(context.Background(), message("Hello", "x")); r.Action != Take || r.Fields != nil || r.Verdicts["clamd"] != "clean" {
			t.Errorf("%s: %+v", name, r)
		}
		r := s.Scan(context.Background(), message("Hello", scantest.Virus))
		if r.Action != Refuse || r.Virus != "Restante.Test.UNOFFICIAL" || r.Reason != "clamd: found Restante.Test.UNOFFICIAL" || r.Verdicts["clamd.virus"] == "" ||
			r.Reply.String() != "550 5.7.1 Message refused, there is a virus in it: Restante.Test.UNOFFICIAL" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	attached := wrapped + "From: a@kunde.example\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString([]byte(scantest.EICAR())) + "\r\n"
	s := newSet(t, Config{Clamd: Clamd{Address: in.Address, Found: Quarantine}})
	r := s.Scan(context.Background(), Message{Body: strings.NewReader(attached), Size: int64(len(attached))})
	want := "X-Virus-Flag: YES\r\nX-Restante-Scan: mx2.example.net; clamd=found virus=Eicar-Test.UNOFFICIAL\r\n"
	if r.Action != Quarantine || string(r.Fields) != want || r.Verdicts["content"] != "virus" {
		t.Errorf("%+v %s", r, r.Fields)
	}
	// What is larger than clamd takes, and than it is given.
	big := message("Hello", strings.Repeat(strings.Repeat("x", 70)+"\r\n", 30_000))
	for _, c := range []struct {
		max    int64
		action Action
		want   Action
	}{{0, Take, Mark}, {0, Refuse, Refuse}, {0, Quarantine, Quarantine}, {1000, Take, Mark}, {1000, Refuse, Refuse}} {
		s := newSet(t, Config{Clamd: Clamd{Address: in.Address, Filter: Filter{MaxSize: c.max, TooBig: c.action}}})
		r := s.Scan(context.Background(), big)
		if r.Action != c.want || r.Verdicts["clamd"] != "too big to be scanned" || c.want == Refuse && r.Reply.Enhanced != (reply.Enhanced{5, 3, 4}) {
			t.Errorf("%+v: %+v", c, r)
		}
		if st := s.Status()[0]; !st.Up || st.Failed != 0 {
			t.Errorf("%+v", st)
		}
	}
	s.Look(context.Background())
	if st := s.Status()[0]; !strings.HasPrefix(st.Version, "ClamAV 1.") {
		t.Errorf("%+v", st)
	}
}

// TestBoth: both are asked, the strictest answer counts, and fields are there once.
func TestBoth(t *testing.T) {
	c := Config{Rspamd: Rspamd{URL: scantest.Rspamd(t).URL}, Clamd: Clamd{Address: scantest.Clamd(t).Address, Found: Quarantine}}
	s := newSet(t, c)
	r := s.Scan(context.Background(), message("spam-mark", scantest.Virus))
	if r.Action != Quarantine || r.Reason != "rspamd: add header, score 7.50 of 15.00 (TEST_MARK, TEST_MORE); clamd: found Restante.Test.UNOFFICIAL" ||
		strings.Count(string(r.Fields), "X-Restante-Scan:") != 1 || strings.Count(string(r.Fields), ": YES\r\n") != 2 {
		t.Errorf("%+v %s", r, r.Fields)
	}
	if r := s.Scan(context.Background(), message("spam-reject", scantest.Virus)); r.Action != Refuse || r.Fields != nil {
		t.Errorf("%+v", r)
	}
	m := message("spam-mark", "Buy")
	m.Outgoing, m.Account, m.Client = true, "ines@example.com", spool.Client{}
	if r := s.Scan(context.Background(), m); r.Action != Take || r.Fields != nil || r.Reason != "" {
		t.Errorf("outgoing: %+v", r)
	}
	m = message("Hello", scantest.Virus)
	m.Outgoing = true
	if r := s.Scan(context.Background(), m); r.Action != Refuse || r.Virus == "" || r.Fields != nil {
		t.Errorf("outgoing: %+v", r)
	}
}

// TestHangingClamd: a real one that takes connections and answers nothing isn't waited for after it was tried, and is asked again when it works.
func TestHangingClamd(t *testing.T) {
	in := scantest.Clamd(t)
	s := newSet(t, Config{Clamd: Clamd{Address: in.Address, Filter: Filter{Timeout: 500 * time.Millisecond, WhenFailing: Defer}}})
	t.Cleanup(func() { _ = in.GoOn() }) // or it wouldn't end
	if err := in.Hang(); err != nil {
		t.Fatal(err)
	}
	if r := s.Scan(context.Background(), message("Hello", "x")); r.Action != Defer || !s.Status()[0].Up {
		t.Errorf("%+v", r)
	}
	s.Look(context.Background())
	if r := s.Scan(context.Background(), message("Hello", "x")); r.Action != Defer || !strings.Contains(r.Reason, errFailing.Error()) || s.Status()[0].Up {
		t.Errorf("%+v", r)
	}
	if err := in.GoOn(); err != nil {
		t.Fatal(err)
	}
	if err := poll(func() bool {
		s.Look(context.Background())
		return s.Scan(context.Background(), message("Hello", scantest.Virus)).Action == Refuse
	}); err != nil || !s.Status()[0].Up {
		t.Errorf("%v: %+v", err, s.Status()[0])
	}
}

// poll waits until something holds.
func poll(holds func() bool) error {
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("it doesn't come about")
		}
	}
	return nil
}

func BenchmarkScan(b *testing.B) {
	rspamd, clamd := scantest.Rspamd(b), scantest.Clamd(b)
	m := message("Hello", strings.Repeat("Some words of an ordinary message.\r\n", 100)) // 3.7 KB
	for _, c := range []struct {
		name string
		c    Config
	}{
		{"rspamd", Config{Rspamd: Rspamd{URL: rspamd.URL}}},
		{"clamd", Config{Clamd: Clamd{Address: clamd.Address}}},
		{"both", Config{Rspamd: Rspamd{URL: rspamd.URL}, Clamd: Clamd{Address: clamd.Address}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newSet(b, c.c)
			b.ReportAllocs()
			for b.Loop() {
				if r := s.Scan(context.Background(), m); r.Action != Take {
					b.Fatal(r)
				}
			}
		})
	}
}
