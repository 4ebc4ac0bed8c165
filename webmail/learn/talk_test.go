package learn

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// script is a server that says one line after each line it reads, and hangs up after the last.
func script(t *testing.T, greeting string, answers ...string) net.Conn {
	t.Helper()
	us, them := net.Pipe()
	t.Cleanup(func() { us.Close() })
	_ = us.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		defer them.Close()
		r := bufio.NewReader(them)
		if _, err := them.Write([]byte(greeting)); err != nil || greeting == "" {
			return
		}
		for _, a := range answers {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			if _, err := them.Write([]byte(a)); err != nil {
				return
			}
		}
	}()
	return us
}

func TestOddIMAPServers(t *testing.T) {
	hello, caps := "* OK hi\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nr1 OK done\r\n"
	long := strings.Repeat("x", maxLine+1)
	for name, c := range map[string]struct {
		greeting string
		answers  []string
		refused  bool // it says that the password is wrong; else it can't be known
	}{
		"busy":               {"* BYE come back later\r\n", nil, false},
		"signed in already":  {"* PREAUTH hi\r\n", nil, false},
		"no IMAP":            {"220 mail ESMTP\r\n", nil, false},
		"gone":               {"", nil, false},
		"long line":          {"* OK " + long + "\r\n", nil, false},
		"endless":            {hello, []string{strings.Repeat("* X\r\n", maxLines+1)}, false},
		"no way":             {hello, []string{"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nr1 OK done\r\n"}, false},
		"caps refused":       {hello, []string{"r1 NO\r\n"}, false},
		"backend down":       {hello, []string{caps, "+ \r\n", "r2 NO [UNAVAILABLE] Temporary authentication failure.\r\n"}, false},
		"too many":           {hello, []string{caps, "+ \r\n", "r2 NO [LIMIT] slow down\r\n"}, false},
		"wrong":              {hello, []string{caps, "+ \r\n", "r2 NO [AUTHENTICATIONFAILED] no\r\n"}, true},
		"wrong, says no why": {hello, []string{caps, "+ \r\n", "r2 NO LOGIN failed.\r\n"}, true},
		"expired":            {hello, []string{caps, "+ \r\n", "r2 NO [EXPIRED] change it\r\n"}, true},
		"doesn't understand": {hello, []string{caps, "r2 BAD what?\r\n"}, false},
		"another's answer":   {hello, []string{caps, "+ \r\n", "r1 OK\r\nr3 OK\r\n"}, false},
		"hangs up":           {hello, []string{caps, "+ \r\n"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := askIMAP(t.Context(), script(t, c.greeting, c.answers...), Server{Protocol: IMAP, Port: 993}, "u", "p")
			if err == nil || errors.Is(err, errRefused) != c.refused {
				t.Errorf("%v, want refused = %v", err, c.refused)
			}
		})
	}
	t.Run("TLS injection", func(t *testing.T) {
		conn := script(t, hello, "r1 OK begin\r\nr2 OK injected\r\n")
		if err := askIMAP(t.Context(), conn, Server{Protocol: IMAP, Port: 143}, "u", "p"); err == nil || !strings.Contains(err.Error(), "before TLS") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no STARTTLS", func(t *testing.T) {
		conn := script(t, hello, "r1 BAD what?\r\n")
		if err := askIMAP(t.Context(), conn, Server{Protocol: IMAP, Port: 143}, "u", "p"); err == nil || errors.Is(err, errRefused) {
			t.Errorf("%v", err)
		}
	})
}

func TestTooMuchTalk(t *testing.T) {
	us, them := net.Pipe()
	go func() {
		for {
			if _, err := them.Write([]byte(strings.Repeat("x", 1000))); err != nil {
				return
			}
		}
	}()
	c := &capped{us, maxTalk}
	n := 0
	b := make([]byte, 4096)
	for {
		k, err := c.Read(b)
		if n += k; err != nil {
			break
		}
	}
	us.Close()
	if n != maxTalk {
		t.Errorf("read %d octets, want %d", n, maxTalk)
	}
}

// submission is a server for AUTH.
type submission struct {
	smtp.Session
	code int
}

func (s submission) NewSession(*smtp.Conn) (smtp.Session, error) { return s, nil }
func (s submission) AuthMechanisms() []string                    { return []string{sasl.Plain} }
func (s submission) Logout() error                               { return nil }
func (s submission) Reset()                                      {}
func (s submission) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.code != 0 {
			return &smtp.SMTPError{Code: s.code, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "not now"}
		}
		if user != anna || password != "correct horse" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func TestSubmission(t *testing.T) {
	cert := newCertificate(t, t.TempDir())
	pair, err := tls.LoadX509KeyPair(cert.cert, cert.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		code     int
		password string
		want     func(error) bool
	}{
		{"right", 0, "correct horse", func(err error) bool { return err == nil }},
		{"wrong", 0, "wrong", func(err error) bool { return errors.Is(err, errRefused) }},
		{"temporary", 454, "correct horse", func(err error) bool { return err != nil && !errors.Is(err, errRefused) }},
	} {
		for _, implicit := range []bool{false, true} {
			srv := smtp.NewServer(submission{code: c.code})
			srv.ErrorLog = log.New(io.Discard, "", 0)
			srv.Domain, srv.TLSConfig = "mail.example.test", &tls.Config{Certificates: []tls.Certificate{pair}}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := l.Addr().(*net.TCPAddr).Port
			s := Server{Protocol: Submission, Host: "mail.example.test", Port: port, Roots: cert.roots, Addr: "127.0.0.1"}
			if implicit {
				l = tls.NewListener(l, srv.TLSConfig)
				s.Port = 465
			}
			done := make(chan struct{})
			go func() { defer close(done); _ = srv.Serve(l) }()
			if err := askAt(t, s, port, c.password); !c.want(err) {
				t.Errorf("%s, implicit %v: %v", c.name, implicit, err)
			}
			s.Host = "other.example.test"
			if err := askAt(t, s, port, c.password); err == nil || errors.Is(err, errRefused) {
				t.Errorf("certificate of another name, implicit %v: %v", implicit, err)
			}
			srv.Close()
			<-done
		}
	}
}

// askAt is ask at a port that isn't the server's own.
func askAt(t *testing.T, s Server, port int, password string) error {
	if s.Port == port {
		return ask(t.Context(), s, anna, password)
	}
	return talk(t, port, func(conn net.Conn) error {
		secured := tls.Client(conn, s.tls())
		if err := secured.HandshakeContext(t.Context()); err != nil {
			return err
		}
		return askSubmission(secured, s, anna, password)
	})
}
