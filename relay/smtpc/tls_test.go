package smtpc

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"restante/relay/sink"
)

func TestOpportunisticFallsBack(t *testing.T) {
	for name, tc := range map[string]struct {
		rule  sink.Rule
		conns int64
	}{
		"handshake cut":     {sink.Rule{Stage: sink.StageTLS, Drop: sink.DropBefore}, 2},
		"handshake garbage": {sink.Rule{Stage: sink.StageTLS, Raw: "500 what?\r\n"}, 2},
		"refused":           {sink.Rule{Stage: sink.StageStartTLS, Reply: "454 4.7.0 no"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSink(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{tc.rule}}})
			c := dial(t, target(s.Addr()))
			if o := c.Offers(); o.TLS != "" || o.TLSFailed == "" || !o.StartTLS {
				t.Errorf("%+v", o)
			}
			send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, "x\r\n")
			if n := s.Stats().Connections; n != tc.conns {
				t.Errorf("%d connections, want %d", n, tc.conns)
			}
			tg := target(s.Addr())
			d := &Dialer{Hostname: "mx2.test"} // remembers a failed handshake, not a refusal
			for range 3 {
				c, err := d.Dial(t.Context(), tg)
				if err != nil || c.Offers().TLSFailed == "" {
					t.Fatal(err)
				}
				c.Quit()
			}
			if got, want := s.Stats().Connections-tc.conns, map[int64]int64{1: 3, 2: 4}[tc.conns]; got != want {
				t.Errorf("%d more connections, want %d", got, want)
			}
			tg.TLS.Mode = TLSRequired
			if _, err := (&Dialer{Hostname: "mx2.test"}).Dial(t.Context(), tg); err == nil {
				t.Error("required TLS went on in plain")
			}
			tg.TLS.Mode = TLSNone
			if c := dial(t, tg); c.Offers().TLS != "" || c.Offers().TLSFailed != "" {
				t.Errorf("%+v", c.Offers())
			}
		})
	}
}

// TestInjectedBeforeTLS: what came in plain must not count once TLS is on (RFC 3207 6).
func TestInjectedBeforeTLS(t *testing.T) {
	tg := script(t, []string{"220 x\r\n", "250-x\r\n250 STARTTLS\r\n", "220 go\r\n250-x\r\n250 SIZE 5\r\n"})
	tg.TLS.Mode = TLSRequired
	var e *Error
	if _, err := (&Dialer{}).Dial(t.Context(), tg); !errors.As(err, &e) || e.Stage != StageTLS || !errors.Is(err, ErrUnasked) {
		t.Error(err)
	}
}

func TestHandshakeHangs(t *testing.T) {
	s := startSink(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageTLS, Hang: true}}}})
	d := &Dialer{Hostname: "mx2.test"}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.Dial(ctx, target(s.Addr())); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	c, err := d.Dial(t.Context(), target(s.Addr())) // the time of the first was up; the second isn't caught again
	if err != nil {
		t.Fatal(err)
	}
	c.Quit()
}

func TestRequiredTLS(t *testing.T) {
	s := startSink(t, sink.Options{})
	der, err := s.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	whole, key := Fingerprints(cert)
	other := sha256.Sum256([]byte("x"))
	colons := ""
	for i, b := range whole {
		if i > 0 {
			colons += ":"
		}
		colons += fmt.Sprintf("%02X", b)
	}
	for name, tc := range map[string]struct {
		p  TLSPolicy
		ok bool
	}{
		"ca":             {TLSPolicy{RootCAs: pool}, true},
		"ca, name":       {TLSPolicy{RootCAs: pool, ServerName: "sink.test"}, true},
		"ca, wrong name": {TLSPolicy{RootCAs: pool, ServerName: "other.test"}, false},
		"no ca":          {TLSPolicy{}, false},
		"certificate":    {TLSPolicy{Fingerprints: []string{hex.EncodeToString(other[:]), colons}}, true},
		"key":            {TLSPolicy{Fingerprints: []string{hex.EncodeToString(key[:])}}, true},
		"wrong":          {TLSPolicy{Fingerprints: []string{hex.EncodeToString(other[:])}}, false},
		"not hex":        {TLSPolicy{Fingerprints: []string{"xyz"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tg := target(s.Addr())
			tg.TLS = tc.p
			tg.TLS.Mode = TLSRequired
			c, err := (&Dialer{Hostname: "mx2.test"}).Dial(t.Context(), tg)
			if (err == nil) != tc.ok {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			defer c.Close()
			if got := c.Offers().TLS; !strings.HasPrefix(got, "TLS1.3 ") {
				t.Errorf("%q is not TLS 1.3", got)
			}
			send(t, c, Mail{}, Rcpt{Address: "c@d.test"}, "x\r\n")
		})
	}
	o := sink.DefaultOffers()
	o.StartTLS = false
	s.SetOffers(o)
	tg := target(s.Addr())
	tg.TLS.Mode = TLSRequired
	var e *Error
	if _, err := (&Dialer{}).Dial(t.Context(), tg); !errors.As(err, &e) || e.Stage != StageStartTLS {
		t.Error(err)
	}
}
