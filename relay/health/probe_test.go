package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"restante/dns"
	"restante/relay/sink"
	"restante/relay/smtpc"
)

func startSink(t *testing.T) (*sink.Server, smtpc.Target) {
	t.Helper()
	s := sink.New(sink.Options{Strict: true, Keep: true})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range s.Violations() {
			t.Errorf("against the protocol: %s", v)
		}
		s.Stop()
	})
	return s, targetOf(t, s.Addr())
}

func targetOf(t *testing.T, addr string) smtpc.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return smtpc.Target{Host: host, Port: n, Name: "primary"}
}

// TestProbe asks a server that fails in each of the ways that a probe can see.
func TestProbe(t *testing.T) {
	known := []string{"anna@a.example", "bob@a.example"}
	tests := []struct {
		name    string
		rules   []sink.Rule
		rcpts   []string
		want    Kind
		refused int
	}{
		{name: "fine", rcpts: known, want: Good},
		{name: "nobody known", want: Good},
		{name: "connection dropped", rules: []sink.Rule{{Stage: sink.StageConnect, Drop: sink.DropBefore}}, want: Lost},
		{name: "hangs before the banner", rules: []sink.Rule{{Stage: sink.StageConnect, Hang: true}}, want: Lost},
		{name: "banner 421", rules: []sink.Rule{{Stage: sink.StageConnect, Reply: "421 4.3.2 Not now"}}, want: Lost},
		{name: "banner 554", rules: []sink.Rule{{Stage: sink.StageConnect, Reply: "554 No service for you"}}, want: Ban},
		{name: "banner 554 5.7.1", rules: []sink.Rule{{Stage: sink.StageConnect, Reply: "554 5.7.1 Blocked"}}, want: Ban},
		{name: "EHLO drops", rules: []sink.Rule{{Stage: sink.StageEhlo, Drop: sink.DropBefore}}, want: Lost},
		{name: "MAIL drops", rules: []sink.Rule{{Stage: sink.StageMail, Drop: sink.DropBefore}}, rcpts: known, want: Lost},
		{name: "MAIL 452 4.3.1", rules: []sink.Rule{{Stage: sink.StageMail, Reply: "452 4.3.1 Disk full"}}, rcpts: known, want: Lost},
		{name: "MAIL 450 4.7.1", rules: []sink.Rule{{Stage: sink.StageMail, Reply: "450 4.7.1 Slow down"}}, rcpts: known, want: Good},
		{name: "MAIL 550", rules: []sink.Rule{{Stage: sink.StageMail, Reply: "550 5.1.0 No"}}, rcpts: known, want: Lost},
		{name: "MAIL 554 5.7.1", rules: []sink.Rule{{Stage: sink.StageMail, Reply: "554 5.7.1 Blocked"}}, rcpts: known, want: Ban},
		{name: "one known recipient left", rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "anna", Reply: "550 5.1.1 No"}}, rcpts: known, want: Good, refused: 1},
		{name: "all known recipients refused", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 No"}}, rcpts: known, want: Lost, refused: 2},
		{name: "RCPT greylisted", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "450 4.7.1 Greylisted"}}, rcpts: known, want: Good},
		{name: "RCPT 451 4.3.0", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "451 4.3.0 Lookup failed"}}, rcpts: known, want: Lost},
		{name: "RCPT 554 5.7.1", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "554 5.7.1 Relay access denied"}}, rcpts: known, want: Ban, refused: 2},
		{name: "postmaster is missing", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 No"}}, rcpts: []string{"postmaster@a.example"}, want: Good},
		{name: "postmaster meets a ban", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "554 5.7.1 Relay access denied"}}, rcpts: []string{"postmaster@a.example"}, want: Ban, refused: 1},
		{name: "postmaster meets a failure", rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "451 4.3.0 Lookup failed"}}, rcpts: []string{"postmaster@a.example"}, want: Lost},
		{name: "RCPT drops", rules: []sink.Rule{{Stage: sink.StageRcpt, Drop: sink.DropBefore}}, rcpts: known, want: Lost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, target := startSink(t)
			s.SetFaults(sink.Faults{Rules: tt.rules})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if strings.Contains(tt.name, "hangs") {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			p := prober{&smtpc.Dialer{Hostname: "mx2.test"}}.Probe(ctx, target, tt.rcpts)
			if p.Kind != tt.want || len(p.Refused) != tt.refused {
				t.Fatalf("%s (%s), refused %v; want %s and %d refused", p.Kind, p.Reason, p.Refused, tt.want, tt.refused)
			}
			if p.Kind != Good && p.Reason == "" {
				t.Error("no reason given")
			}
			if p.Kind == Good && (p.Offers == nil || !p.Offers.SMTPUTF8 || p.Offers.TLS == "" || !strings.HasPrefix(p.Remote, "127.0.0.1:")) {
				t.Errorf("offers %+v of %s", p.Offers, p.Remote)
			}
			if len(s.Messages()) > 0 {
				t.Error("a probe delivered mail")
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		s, target := startSink(t)
		s.Stop()
		if p := (prober{&smtpc.Dialer{}}).Probe(t.Context(), target, nil); p.Kind != Lost {
			t.Fatalf("%+v", p)
		}
	})
}

// TestDial reaches the second host when the first is dead, and a host that DNS forgot by its last address.
func TestDial(t *testing.T) {
	s, target := startSink(t)
	dead, deadTarget := startSink(t)
	dead.Stop()
	port := ":" + strconv.Itoa(target.Port)
	names := resolver{"mail.a.example": "127.0.0.1"}
	m, err := New(Options{
		Domains: []Domain{
			{Name: "a.example", Primary: []string{"127.0.0.1:" + strconv.Itoa(deadTarget.Port), s.Addr()}},
			{Name: "b.example", Primary: []string{"mail.a.example" + port}},
		},
		Dialer: &smtpc.Dialer{Hostname: "mx2.test", Resolver: names},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"a.example", "b.example"} {
		c, err := m.Dial(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		c.Quit()
		if o, ok := m.Offers(d); !ok || !o.DSN {
			t.Errorf("%s: offers %+v", d, o)
		}
	}
	if ts := m.Targets("a.example"); ts[0].Port != target.Port {
		t.Errorf("targets %v, want the host that answered first", ts)
	}
	delete(names, "mail.a.example")
	c, err := m.Dial(t.Context(), "b.example")
	if err != nil {
		t.Fatalf("the last good address didn't outlive DNS: %v", err)
	}
	c.Quit()
	s.Stop()
	if _, err := m.Dial(t.Context(), "b.example"); err == nil {
		t.Fatal("connected to a dead primary")
	}
	if _, err := m.Dial(t.Context(), "z.example"); err == nil {
		t.Fatal("connected for a domain that isn't hosted")
	}
}

// TestVouchedForOutlivesDNS: a server that DNS vouched for is reached at its last address too, but isn't believed for less.
func TestVouchedForOutlivesDNS(t *testing.T) {
	s, _ := startSink(t)
	der, err := s.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	names := resolver{"mail.a.example": "127.0.0.1"}
	authority := &records{data: der}
	m, err := New(Options{
		Domains: []Domain{{Name: "a.example", Primary: []string{"mail.a.example" + s.Addr()[strings.LastIndexByte(s.Addr(), ':'):]}}},
		Dialer:  &smtpc.Dialer{Hostname: "mx2.test", Resolver: names, DANE: authority},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		change func()
		ok     bool
	}{
		{func() {}, true},
		{func() { delete(names, "mail.a.example") }, true},
		{func() { authority.err = errors.New("no answer") }, false},
	} {
		step.change()
		c, err := m.Dial(t.Context(), "a.example")
		if (err == nil) != step.ok {
			t.Fatal(err)
		}
		if err == nil {
			if c.Offers().Verified != smtpc.VerifiedDANE {
				t.Errorf("%+v", c.Offers())
			}
			c.Quit()
		}
	}
	if authority.asked != "mail.a.example true" {
		t.Errorf("asked for %s", authority.asked)
	}
}

// TestFromDNSIsKnown: a host that MX records named is told apart from one that the configuration names.
func TestFromDNSIsKnown(t *testing.T) {
	for name, want := range map[string]string{"": "a.example", "mail.a.example": ""} {
		ts := hostTargets([]string{"Mail.A.example."}, Domain{Name: "a.example", TLS: smtpc.TLSPolicy{ServerName: name}})
		if len(ts) != 1 || ts[0].Host != "mail.a.example" || ts[0].Domain != want {
			t.Errorf("with tls_name %q: %+v", name, ts)
		}
	}
}

// records vouch for one certificate.
type records struct {
	data  []byte
	err   error
	asked string
}

func (r *records) DANE(_ context.Context, s dns.Server) (dns.DANE, error) {
	r.asked = fmt.Sprint(s.Host, " ", s.Must)
	return dns.DANE{Base: s.Host, Names: []string{s.Host}, Records: []dns.TLSA{{Usage: 3, Data: r.data}}}, r.err
}

type resolver map[string]string

func (r resolver) LookupHost(_ context.Context, host string) ([]string, error) {
	if a, ok := r[host]; ok {
		return []string{a}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
