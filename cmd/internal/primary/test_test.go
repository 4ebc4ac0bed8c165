package primary

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool/need"
)

// try runs a test against a sink and returns the report, and what stands in each row.
func try(t *testing.T, o sink.Options, change func(*Test)) (*Report, map[string]Row, *sink.Server) {
	t.Helper()
	o.Keep, o.Strict = true, true
	s := sink.New(o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	test := &Test{
		Domain: "example.com", Targets: []smtpc.Target{{Host: host, Port: n}}, Dialer: &smtpc.Dialer{Hostname: "mx2.example.net"},
		Hostname: "mx2.example.net", Ours: []string{"198.51.100.25"}, Known: []string{"anna@example.com"}, Connections: 5, MaxSize: 50 << 20,
	}
	if change != nil {
		change(test)
	}
	r, err := test.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]Row{}
	for _, row := range r.Rows {
		rows[row.Check] = row
	}
	for _, v := range s.Violations() {
		t.Error(v)
	}
	return r, rows, s
}

func unknownRefused() sink.Rule {
	return sink.Rule{Stage: sink.StageRcpt, Match: "restante-test-", Reply: "550 5.1.1 User unknown"}
}

// expect compares results, "check result" each.
func expect(t *testing.T, rows map[string]Row, want ...string) {
	t.Helper()
	for _, w := range want {
		i := strings.LastIndexByte(w, ' ')
		check, res := w[:i], Result(w[i+1:])
		if got := rows[check]; got.Result != res {
			t.Errorf("%s: %q (%s), want %q", check, got.Result, got.Found, res)
		}
		if rows[check].Result == Fail && rows[check].Mend == "" {
			t.Errorf("%s: no mend", check)
		}
	}
}

func TestWell(t *testing.T) {
	r, rows, s := try(t, sink.Options{Hostname: "mail.example.com", Faults: sink.Faults{Rules: []sink.Rule{unknownRefused()}}}, nil)
	expect(t, rows, "connect ok", "TLS note", "SIZE ok", "PIPELINING ok", "CHUNKING ok", "8BITMIME ok", "SMTPUTF8 ok", "DSN ok", "origin note",
		"postmaster@example.com ok", "known recipient ok", "unknown recipient ok", "mail of others ok", "many messages ok", "many connections ok")
	if !r.Well() || r.From != "restante-test@example.org" || r.To != "postmaster@example.com" {
		t.Errorf("%+v", r)
	}
	ms := s.Messages()
	if len(ms) != 1 || ms[0].From != r.From || len(ms[0].Rcpts) != 1 || ms[0].Rcpts[0] != r.To {
		t.Fatalf("%d messages: %+v", len(ms), ms)
	}
	for _, want := range []string{
		"Received: from restante-test.example.org ([192.0.2.1])\r\n\tby mx2.example.net (Restante) with ESMTP id ",
		"\r\nSubject: TEST, please ignore", "\r\nFrom: Restante's test <restante-test@example.org>\r\n", "\r\nAuto-Submitted: auto-generated\r\n", "This is a test.",
	} {
		if !bytes.Contains(ms[0].Data, []byte(want)) {
			t.Errorf("no %q in %s", want, ms[0].Data)
		}
	}
	if n := s.Stats().MaxCurrent; n < 5 {
		t.Errorf("%d connections at a time", n)
	}
}

// TestRefusals: each way to refuse is told apart and has its mend.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		o    sink.Options
		want []string
		mend string
	}{
		"SPF":          {rule(sink.StageRcpt, "", "550 5.7.23 SPF fail - not authorized", "postmaster"), []string{"postmaster@example.com FAIL"}, "Whitelist"},
		"SPF, real":    {sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Match: "restante-test@example.org", Reply: "550 5.7.23 SPF"}}}}, []string{"mail of others FAIL", "many messages ok"}, "Whitelist"},
		"DMARC":        {rule(sink.StageDot, "", "550 5.7.26 by DMARC policy", ""), []string{"mail of others FAIL"}, "restante.cidr"},
		"greylisting":  {rule(sink.StageDot, "", "450 4.2.0 Greylisted", ""), []string{"mail of others FAIL"}, "greylisting"},
		"blocklist":    {rule(sink.StageConnect, "", "554 5.7.1 blocked using zen.spamhaus.org", ""), []string{"connect FAIL"}, "blocklists"},
		"null MX":      {rule(sink.StageMail, "example.org", "550 5.7.27 does not accept mail (nullMX)", ""), []string{"mail of others warn"}, "--from"},
		"postmaster":   {rule(sink.StageRcpt, "postmaster", "550 5.1.1 unknown", ""), []string{"postmaster@example.com warn", "known recipient ok"}, "RFC 5321 4.5.1"},
		"known":        {rule(sink.StageRcpt, "anna", "550 5.1.1 unknown", ""), []string{"known recipient FAIL", "mail of others ok"}, "recipient remove"},
		"catch-all":    {sink.Options{}, []string{"unknown recipient note"}, "recipient import"},
		"rate":         {sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageMail, Skip: 8, Reply: "450 4.7.1 too much mail from 198.51.100.25"}}}}, []string{"mail of others ok", "many messages FAIL"}, "smtpd_client_event_limit_exceptions"},
		"connections":  {sink.Options{Faults: sink.Faults{MaxConnections: 3}}, []string{"many connections warn"}, "smtpd_client_event_limit_exceptions"},
		"no extension": {sink.Options{Offers: sink.Offers{Size: 10 << 20}}, []string{"TLS warn", "SIZE note", "PIPELINING note", "SMTPUTF8 note", "8BITMIME note", "mail of others ok"}, "message_size_limit"},
		"hangs up":     {sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Drop: sink.DropBefore}}}}, []string{"postmaster@example.com FAIL"}, ""},
		"handshake":    {sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageTLS, Drop: sink.DropBefore}}}}, []string{"TLS warn", "mail of others ok"}, "smtpd_tls_security_level"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.o.Hostname = "mail.example.com Postfix"
			r, rows, s := try(t, c.o, func(test *Test) { test.Kind = Postfix })
			expect(t, rows, c.want...)
			mends := ""
			for _, row := range r.Rows {
				mends += row.Mend + "\n"
			}
			if !strings.Contains(mends, c.mend) {
				t.Errorf("no %q in %s", c.mend, mends)
			}
			if len(s.Messages()) > 1 {
				t.Errorf("%d messages", len(s.Messages()))
			}
		})
	}
}

func rule(stage sink.Stage, match, reply, more string) sink.Options {
	if match == "" {
		match = more
	}
	return sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: stage, Match: match, Reply: reply}}}}
}

// TestXClient: the primary is told of the stranger, and may refuse it as it would if it came itself.
func TestXClient(t *testing.T) {
	for name, c := range map[string]struct {
		rules []sink.Rule
		want  []string
		took  int
	}{
		"takes it":           {nil, []string{"origin ok", "mail of others ok", "our own mail ok"}, 2},
		"refuses forgery":    {[]sink.Rule{{Stage: sink.StageDot, Match: "example.org", Reply: "550 5.7.23 SPF fail"}}, []string{"mail of others ok", "our own mail ok"}, 1},
		"refuses the client": {[]sink.Rule{{Stage: sink.StageXClient, Match: "192.0.2.1", Reply: "554 5.7.1 Client host rejected"}}, []string{"mail of others ok", "our own mail ok"}, 1},
		"refuses everything": {[]sink.Rule{{Stage: sink.StageDot, Reply: "554 5.7.1 Relay access denied"}}, []string{"mail of others FAIL", "our own mail FAIL"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := sink.DefaultOffers()
			o.XClient = []string{"NAME", "ADDR", "HELO", "LOGIN"}
			_, rows, s := try(t, sink.Options{Offers: o, Faults: sink.Faults{Rules: append(c.rules, unknownRefused())}}, func(test *Test) { test.Targets[0].XClient = true })
			expect(t, rows, c.want...)
			if n := len(s.Messages()); n != c.took {
				t.Errorf("%d messages", n)
			}
			for _, m := range s.Messages() {
				if a := m.XClient["ADDR"]; (m.From != "" && a != "192.0.2.1") || (m.From == "" && a != "") || m.XClient["LOGIN"] != "" {
					t.Errorf("from <%s>: XCLIENT %v", m.From, m.XClient)
				}
			}
		})
	}
	_, rows, _ := try(t, sink.Options{}, func(test *Test) { test.Targets[0].XClient = true })
	expect(t, rows, "origin warn")
}

func TestNobodyThere(t *testing.T) {
	addr := netip.MustParseAddrPort(need.Addr(t))
	r, rows, _ := try(t, sink.Options{}, func(test *Test) {
		test.Targets = append(test.Targets[:0], smtpc.Target{Host: "127.0.0.1", Port: int(addr.Port())})
		test.Domain = "example.org"
	})
	expect(t, rows, "connect FAIL")
	if r.Well() || r.From != "restante-test@example.net" || !strings.Contains(rows["connect"].Found, "refused") {
		t.Errorf("%+v", r)
	}
	if r, rows, _ = try(t, sink.Options{}, func(test *Test) { test.Targets = nil }); r.Well() || rows["connect"].Mend == "" {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	test := &Test{Domain: "example.com", Targets: []smtpc.Target{{Host: "127.0.0.1", Port: int(addr.Port())}}, Dialer: &smtpc.Dialer{}}
	if _, err := test.Run(ctx); err == nil {
		t.Error("no error of a context that ended")
	}
	if got := fmt.Sprint((&host{target: smtpc.Target{Host: "[::1]"}}).name()); got != "[::1]:25" {
		t.Error(got)
	}
}
