package smtpd

import (
	"crypto/tls"
	"errors"
	"net"
	"net/smtp"
	"testing"

	"restante/relay/sink"
)

// changing is a source of certificates that has another one from time to time.
type changing struct{ cert *tls.Certificate }

func (c *changing) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.cert == nil {
		return nil, errors.New("none yet")
	}
	return c.cert, nil
}

// Versions of TLS, the certificate, and REQUIRETLS may change while the server runs.
func TestTLS(t *testing.T) {
	source := &changing{}
	s := testServer(t, Options{Certificates: source, Offers: Offers{RequireTLS: true}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		<-done
	})
	var shown []byte
	// spoken is the version that a client of exactly one version gets, 0 for none.
	spoken := func(version uint16) uint16 {
		c, err := smtp.Dial(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if ok, _ := c.Extension("REQUIRETLS"); ok {
			t.Error("REQUIRETLS in plain")
		}
		if c.StartTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}) != nil {
			return 0
		}
		if ok, _ := c.Extension("REQUIRETLS"); !ok {
			t.Error("no REQUIRETLS within TLS")
		}
		state, _ := c.TLSConnectionState()
		shown = state.PeerCertificates[0].Raw
		return state.Version
	}
	if got := spoken(tls.VersionTLS13); got != 0 {
		t.Errorf("without a certificate: %s", tls.VersionName(got))
	}
	for range 2 {
		cert, err := sink.SelfSigned("mx2.example.test")
		if err != nil {
			t.Fatal(err)
		}
		source.cert = &cert
		if spoken(tls.VersionTLS13); string(shown) != string(cert.Certificate[0]) {
			t.Error("not the certificate that there is now")
		}
	}
	for _, least := range []uint16{0, tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS13} {
		s.SetMinTLS(least)
		if least == 0 {
			least = tls.VersionTLS12
		}
		for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			want := v
			if v < least {
				want = 0
			}
			if got := spoken(v); got != want {
				t.Errorf("%s where %s is the oldest: got %s", tls.VersionName(v), tls.VersionName(least), tls.VersionName(got))
			}
		}
	}
}
