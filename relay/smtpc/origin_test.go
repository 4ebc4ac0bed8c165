package smtpc

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"restante/relay/sink"
)

func xclientSink(t *testing.T, rules ...sink.Rule) *sink.Server {
	t.Helper()
	o := plain()
	o.XClient = []string{"NAME", "ADDR", "HELO"}
	return startSink(t, sink.Options{Offers: o, Faults: sink.Faults{Rules: rules}})
}

// TestOriginHelo: after XCLIENT the name at EHLO is the client's, where it is one.
func TestOriginHelo(t *testing.T) {
	s := xclientSink(t, sink.Rule{Stage: sink.StageEhlo, Match: "refused.test", Reply: "550 5.7.1 no"})
	c := dial(t, target(s.Addr()))
	ours := c.d.Hostname
	if ours == "" {
		ours = "localhost"
	}
	for _, tc := range []struct{ helo, want string }{
		{"client.test", "client.test"},
		{"[192.0.2.1]", "[192.0.2.1]"},
		{"[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"},
		{"", ours},
		{"no name", ours},
		{"x\r\nMAIL FROM:<a@b.test>", ours},
		{"[192.0.2.1] x", ours},
		{"[]", ours},
		{"m\u00fcller.test", ours},
		{strings.Repeat("a", 3000), ours},
		{"refused.test", ours},
		{"client.test", "client.test"},
	} {
		if err := c.XClient(t.Context(), &Origin{Addr: netip.MustParseAddr("192.0.2.1"), Helo: tc.helo}); err != nil {
			t.Fatalf("%q: %v", tc.helo, err)
		}
		send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, "x\r\n")
		ms := s.Messages()
		if got := ms[len(ms)-1].Helo; got != tc.want && !(tc.helo == "m\u00fcller.test" && strings.HasPrefix(got, "xn--")) {
			t.Errorf("%q: EHLO %q, want %q", tc.helo, got, tc.want)
		}
	}
}

// TestOriginOnce: a server that takes XCLIENT only once on a connection never sees a message under a former client's name.
func TestOriginOnce(t *testing.T) {
	o := plain()
	o.XClient, o.XClientOnce = []string{"ADDR"}, true
	s := startSink(t, sink.Options{Offers: o})
	c := dial(t, target(s.Addr()))
	if c.Spent() {
		t.Error("spent before it was used")
	}
	if err := c.XClient(t.Context(), &Origin{Addr: netip.MustParseAddr("192.0.2.1")}); err != nil {
		t.Fatal(err)
	}
	send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, "x\r\n")
	if !c.Spent() || len(c.Offers().XClient) == 0 {
		t.Error("who asks the offers would send the next message without XCLIENT")
	}
	err := c.XClient(t.Context(), &Origin{Addr: netip.MustParseAddr("192.0.2.2")})
	var e *Error
	if !errors.Is(err, ErrUnsupported) || !errors.As(err, &e) || e.AboutClient() {
		t.Error(err)
	}
}

// TestOriginOurselves: what has no client that may be named goes out under our own name, never under a former client's.
func TestOriginOurselves(t *testing.T) {
	s := xclientSink(t, sink.Rule{Stage: sink.StageXClient, Match: "ipv6:", Reply: "501 5.5.4 Bad ADDR syntax"})
	for name, o := range map[string]*Origin{
		"none": nil, "unknown": {Helo: "x.test"}, "private": {Addr: netip.MustParseAddr("10.0.0.1"), Helo: "x.test"},
		"unread": {Addr: netip.MustParseAddr("2001:db8::1"), Name: "x.test", Helo: "x.test"},
	} {
		c := dial(t, target(s.Addr()))
		if err := c.XClient(t.Context(), o); err != nil {
			t.Fatal(name, err)
		}
		send(t, c, Mail{}, Rcpt{Address: name + "@d.test"}, "x\r\n")
		ms := s.Messages()
		if m := ms[len(ms)-1]; m.XClient != nil || m.Helo == "x.test" || m.Rcpts[0] != name+"@d.test" {
			t.Errorf("%s: EHLO %s, XCLIENT %v", name, m.Helo, m.XClient)
		}
		if err := c.XClient(t.Context(), &Origin{Addr: netip.MustParseAddr("192.0.2.1")}); err != nil {
			t.Fatal(name, err)
		}
		err := c.XClient(t.Context(), o)
		var e *Error
		if !errors.Is(err, ErrUnsupported) || !errors.As(err, &e) || e.AboutClient() {
			t.Error(name, err)
		}
	}
}

// ends is a connection between public addresses.
type ends struct{ net.Conn }

func (ends) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP("198.51.100.25"), Port: 25} }
func (ends) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.ParseIP("2001:db8::25"), Port: 1025} }

// TestOriginEnds: neither end of the connection is ever named as the client.
func TestOriginEnds(t *testing.T) {
	s := xclientSink(t)
	c := dial(t, target(s.Addr()))
	c.nc = ends{c.nc}
	for _, a := range []string{"198.51.100.25", "::ffff:198.51.100.25", "2001:db8::25", "127.0.0.1", "::ffff:127.0.0.1", "::1", "fe80::1", "fd00::1", "100.64.0.1", "0.0.0.0", "::", "224.0.0.1", "169.254.1.1"} {
		if got := c.attributes(&Origin{Addr: netip.MustParseAddr(a), Name: "n.test"}, []string{"ADDR", "NAME"}); got != " NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE]" {
			t.Errorf("%s: %s", a, got)
		}
	}
}

// TestRunOriginRefused: the reply to XCLIENT is the message's, and nothing is sent behind it.
func TestRunOriginRefused(t *testing.T) {
	for name, rule := range map[string]sink.Rule{
		"xclient": {Stage: sink.StageXClient, Match: "192.0.2.66", Reply: "554 5.7.1 not you"},
		"closing": {Stage: sink.StageXClient, Match: "192.0.2.66", Reply: "421 4.7.0 not now"},
		"ehlo":    {Stage: sink.StageEhlo, Match: "bad.test", Reply: "450 4.7.1 later"},
	} {
		t.Run(name, func(t *testing.T) {
			s := xclientSink(t, rule)
			tg := target(s.Addr())
			tg.XClient = true
			c := dial(t, tg)
			var ts []*Transaction
			for _, o := range []Origin{{Addr: netip.MustParseAddr("192.0.2.1"), Helo: "good.test"}, {Addr: netip.MustParseAddr("192.0.2.66"), Helo: "bad.test"}} {
				ts = append(ts, &Transaction{Rcpts: []Rcpt{{Address: "c@d.test"}}, Size: 3, Origin: &o,
					Body: func() (io.Reader, error) { return strings.NewReader("x\r\n"), nil }})
			}
			var results []*Result
			err := c.Run(t.Context(), func() *Transaction {
				if len(ts) == 0 {
					return nil
				}
				tr := ts[0]
				ts = ts[1:]
				return tr
			}, nil, func(_ *Transaction, r *Result) error { results = append(results, r); return nil })
			var e *Error
			if !errors.As(err, &e) || !e.AboutClient() || len(results) != 2 || !results[0].Dot.Positive() {
				t.Fatal(err, results)
			}
			if r := results[1]; r.Mail.String() != rule.Reply || r.Sent || r.Err == nil {
				t.Errorf("%+v", r)
			}
			if n := len(s.Messages()); n != 1 {
				t.Errorf("%d messages", n)
			}
		})
	}
}
