package setup

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"restante/cmd/internal/admin"
)

// maxGreeting bounds what a server says before we leave, in octets.
const maxGreeting = 64 << 10

// greeting is what a mail server says of itself.
type greeting struct {
	code   int
	banner string
	offers []string            // EHLO keywords, upper case
	certs  []*x509.Certificate // of its TLS, its own first; nil without TLS
	tlsErr error               // why there is no TLS although it is offered
	took   time.Duration       // until the banner
}

// name is what it calls itself.
func (g *greeting) name() string {
	first, _, _ := strings.Cut(g.banner, " ")
	return trim(first)
}

func (g *greeting) tls() string {
	switch {
	case len(g.certs) > 0:
		return "TLS"
	case g.tlsErr != nil:
		return "its TLS fails: " + brief(g.tlsErr)
	}
	return "no TLS"
}

// greetOnce is greet, with one conversation for all who ask for the same: domains share mail servers, which count connections.
func (s *run) greetOnce(ctx context.Context, address, serverName string) (*greeting, error) {
	key := address + " " + serverName
	s.mu.Lock()
	greet := s.greeted[key]
	if greet == nil {
		greet = sync.OnceValues(func() (*greeting, error) { return s.greet(ctx, address, serverName, false) })
		s.greeted[key] = greet
	}
	s.mu.Unlock()
	return greet()
}

// greet connects to an address, listens, says EHLO and, where offered, starts TLS without believing the certificate.
func (s *run) greet(ctx context.Context, address, serverName string, implicit bool) (*greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	nc, err := s.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	g := &greeting{}
	if implicit {
		if nc, err = g.secure(ctx, nc, serverName); err != nil {
			return nil, err
		}
	}
	err = g.talk(ctx, nc, s.node.Hostname, serverName, began)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return g, err
}

func (g *greeting) talk(ctx context.Context, nc net.Conn, us, serverName string, began time.Time) error {
	read := textproto.NewReader(bufio.NewReader(io.LimitReader(nc, maxGreeting)))
	var err error
	if g.code, g.banner, err = read.ReadResponse(0); err != nil && g.code == 0 {
		return fmt.Errorf("it says nothing: %w", err)
	}
	g.took = time.Since(began)
	if g.code != 220 {
		return nil
	}
	ask := func(line string) (string, error) {
		if _, err := io.WriteString(nc, line+"\r\n"); err != nil {
			return "", err
		}
		_, text, err := read.ReadResponse(2)
		return text, err
	}
	text, err := ask("EHLO " + us)
	if err != nil {
		return nil // an old or a strict server: it is there, that is all that was asked
	}
	for _, line := range strings.Split(text, "\n")[1:] {
		word, _, _ := strings.Cut(strings.ToUpper(line), " ")
		g.offers = append(g.offers, word)
	}
	if slices.Contains(g.offers, "STARTTLS") && g.certs == nil {
		if _, err := ask("STARTTLS"); err != nil {
			g.tlsErr = err
			return nil
		}
		if _, err := g.secure(ctx, nc, serverName); err != nil {
			g.tlsErr = err
		}
		return nil
	}
	_, _ = ask("QUIT") // nothing depends on it
	return nil
}

// secure makes the handshake. Whether the certificate is good is for others to say.
func (g *greeting) secure(ctx context.Context, nc net.Conn, serverName string) (net.Conn, error) {
	c := tls.Client(nc, &tls.Config{ServerName: serverName, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // looked at by verify
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	g.certs = c.ConnectionState().PeerCertificates
	return c, nil
}

// brief is an error for people.
func brief(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &op) && op.Timeout():
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to it from here"
	}
	return admin.Brief(err.Error())
}

// silent reports that nothing came back, which is what a firewall does; a refusal comes from the host itself.
func silent(err error) bool {
	return err != nil && !errors.Is(err, syscall.ECONNREFUSED) && (brief(err) == "no answer in time" || brief(err) == "there is no way to it from here")
}
