package smtpc_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"restante/relay/sink"
	"restante/relay/smtpc"
)

const (
	user     = "anna@example.test"
	password = "correct horse"
)

func loginServer(t *testing.T, o sink.Options) (*sink.Server, smtpc.Target) {
	t.Helper()
	o.Strict, o.Keep = true, true
	if o.Login == nil {
		o.Login = func(u, p string) bool { return u == user && p == password }
	}
	s := sink.New(o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
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
	var port int
	host, p, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(p, &port)
	return s, smtpc.Target{Host: host, Port: port, Implicit: o.Implicit, Login: &smtpc.Login{User: user, Password: password},
		TLS: smtpc.TLSPolicy{Mode: smtpc.TLSRequired, RootCAs: pool}}
}

// send sends one message over a fresh connection.
func send(t *testing.T, target smtpc.Target) error {
	t.Helper()
	ctx := t.Context()
	c, err := (&smtpc.Dialer{Hostname: "client.test"}).Dial(ctx, target)
	if err != nil {
		return err
	}
	defer c.Quit()
	if r, err := c.Mail(ctx, smtpc.Mail{From: user}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(ctx, smtpc.Rcpt{Address: "a@example.org"}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	const m = "Subject: x\r\n\r\nhello\r\n"
	if r, err := c.Data(ctx, strings.NewReader(m), int64(len(m))); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	return nil
}

func TestLogin(t *testing.T) {
	long := strings.Repeat("p", 600) // more than a command with an initial response may have
	tests := []struct {
		name     string
		o        sink.Options
		password string
	}{
		{name: "plain"},
		{name: "implicit TLS", o: sink.Options{Implicit: true}},
		{name: "login", o: sink.Options{Offers: sink.Offers{StartTLS: true, Auth: []string{"CRAM-MD5", "LOGIN"}}}},
		{name: "after a challenge", password: long, o: sink.Options{Login: func(u, p string) bool { return u == user && p == long }}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, target := loginServer(t, tt.o)
			if tt.password != "" {
				target.Login.Password = tt.password
			}
			if err := send(t, target); err != nil {
				t.Fatal(err)
			}
			ms := s.Messages()
			if len(ms) != 1 || ms[0].User != user || !ms[0].TLS {
				t.Fatalf("%+v", ms)
			}
			if v := s.Violations(); len(v) > 0 {
				t.Error(v)
			}
		})
	}
}

func TestLoginRefused(t *testing.T) {
	_, target := loginServer(t, sink.Options{})
	target.Login.Password = "wrong"
	err := send(t, target)
	var e *smtpc.Error
	if !errors.As(err, &e) || e.Stage != smtpc.StageAuth || e.Reply.Code != 535 {
		t.Fatal(err)
	}
	if strings.Contains(err.Error(), "wrong") || strings.Contains(fmt.Sprintf("%v %+v %#v", target.Login, *target.Login, *target.Login), "wrong") {
		t.Error("the password shows")
	}
}

func TestLoginNotOffered(t *testing.T) {
	for _, offers := range []sink.Offers{{StartTLS: true, Pipelining: true}, {StartTLS: true, Auth: []string{"GSSAPI"}}} {
		_, target := loginServer(t, sink.Options{Offers: offers})
		var e *smtpc.Error
		if err := send(t, target); !errors.As(err, &e) || e.Stage != smtpc.StageAuth || !errors.Is(err, smtpc.ErrUnsupported) {
			t.Errorf("%v: %v", offers.Auth, err)
		}
	}
}

// A password goes out over verified TLS or stays on this machine.
func TestLoginNeverInPlain(t *testing.T) {
	s, target := loginServer(t, sink.Options{})
	remote := func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, address)
		return elsewhere{nc}, err
	}
	for _, mode := range []string{smtpc.TLSNone, smtpc.TLSOpportunistic} {
		target.TLS.Mode = mode
		_, err := (&smtpc.Dialer{Hostname: "client.test", NetDial: remote}).Dial(t.Context(), target)
		if !errors.Is(err, smtpc.ErrPlainLogin) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if v := s.Violations(); len(v) > 0 {
		t.Error(v)
	}
	target.TLS.Mode, target.Implicit = smtpc.TLSNone, true
	if _, err := (&smtpc.Dialer{}).Dial(t.Context(), target); err == nil {
		t.Error("TLS from the first octet without TLS")
	}
}

// elsewhere is a connection that looks as if it went to another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 587} }

// A server whose certificate isn't trusted gets no password.
func TestLoginUntrusted(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		_, target := loginServer(t, sink.Options{Implicit: implicit})
		target.TLS.RootCAs = x509.NewCertPool()
		var e *smtpc.Error
		if err := send(t, target); !errors.As(err, &e) || e.Stage != smtpc.StageTLS {
			t.Errorf("implicit %v: %v", implicit, err)
		}
	}
}
