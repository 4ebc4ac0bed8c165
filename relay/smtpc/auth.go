package smtpc

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"restante/relay/reply"
)

// Login is how to authenticate to a server (RFC 4954). It never prints its password.
type Login struct {
	User     string
	Password string
}

// String names the user alone.
func (l Login) String() string { return l.User + " (password redacted)" }

// GoString is String.
func (l Login) GoString() string { return l.String() }

// LogValue is String.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.String()) }

// ErrPlainLogin says that a password would have to go out unprotected.
var ErrPlainLogin = errors.New("a password is sent over verified TLS or to this machine only")

// maxInitial bounds a command with an initial response (RFC 4954 4); what is longer is sent after a challenge.
const maxInitial = 512

// login authenticates with AUTH PLAIN (RFC 4616) or, where only that is offered, LOGIN. A refusal ends the conversation.
func (c *Conn) login() error {
	l := c.target.Login
	if l == nil {
		return nil
	}
	if _, secure := c.nc.(*tls.Conn); !(secure && c.target.TLS.Mode == TLSRequired) && !c.local() {
		return c.fail(StageAuth, reply.Reply{}, ErrPlainLogin)
	}
	if strings.ContainsAny(l.User+l.Password, "\x00\r\n") {
		return c.fail(StageAuth, reply.Reply{}, errors.New("user or password holds a NUL or a line end"))
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + l.User + "\x00" + l.Password))
	user, password := base64.StdEncoding.EncodeToString([]byte(l.User)), base64.StdEncoding.EncodeToString([]byte(l.Password))
	switch {
	case slices.Contains(c.offers.Auth, "PLAIN") && len("AUTH PLAIN \r\n")+len(plain) <= maxInitial:
		return c.authenticate("AUTH PLAIN " + plain)
	case slices.Contains(c.offers.Auth, "PLAIN"):
		return c.authenticate("AUTH PLAIN", plain)
	case slices.Contains(c.offers.Auth, "LOGIN"):
		return c.authenticate("AUTH LOGIN", user, password)
	case len(c.offers.Auth) == 0:
		return c.fail(StageAuth, reply.Reply{}, fmt.Errorf("AUTH is %w", ErrUnsupported))
	}
	return c.fail(StageAuth, reply.Reply{}, fmt.Errorf("AUTH PLAIN and LOGIN are %w, it offers %s", ErrUnsupported, strings.Join(c.offers.Auth, " ")))
}

// local reports that the server is on this machine, so that nothing of what is sent leaves it.
func (c *Conn) local() bool {
	a, ok := rawOf(c.nc).RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

// authenticate sends the lines of a SASL exchange, one after each challenge.
func (c *Conn) authenticate(lines ...string) error {
	for i, line := range lines {
		if err := c.ready(StageAuth); err != nil {
			return err
		}
		c.out = append(append(c.out, line...), "\r\n"...)
		c.flush() // read tells
		r, err := c.read(StageAuth, c.commandTimeout())
		switch last := i == len(lines)-1; {
		case err != nil:
			return err
		case r.Transient() || r.Permanent():
			return c.fail(StageAuth, r, nil)
		case last && r.Positive(), !last && r.Code == 334:
		default:
			return c.misfit(StageAuth, r)
		}
	}
	return nil
}
