package learn

import (
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
)

// askSubmission shows the password by AUTH (RFC 4954) and says QUIT.
func askSubmission(conn net.Conn, s Server, user, password string) error {
	c, err := smtp.NewClient(conn, s.Host)
	if err != nil {
		return err
	}
	if err := c.Hello("localhost"); err != nil { // who asks matters to nobody here
		return err
	}
	if !s.implicit() {
		if err := c.StartTLS(s.tls()); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	_, offered := c.Extension("AUTH")
	var auth smtp.Auth
	switch ways := " " + strings.ToUpper(offered) + " "; {
	case strings.Contains(ways, " PLAIN "):
		auth = saslPlain{user, password}
	case strings.Contains(ways, " LOGIN "):
		auth = &saslLogin{user, password, 0}
	default:
		return errors.New("the server offers no way to show it a password")
	}
	err = c.Auth(auth)
	var reply *textproto.Error
	if errors.As(err, &reply) {
		if reply.Code == 535 { // RFC 4954 4 and 6: the credentials are wrong; all else isn't about them
			return errRefused
		}
		return fmt.Errorf("the server answers %d %.120q", reply.Code, reply.Msg)
	}
	if err == nil {
		_ = c.Quit() // it has answered
	}
	return err
}

// saslPlain is RFC 4616. That of net/smtp looks for TLS by itself and doesn't see ours at port 465.
type saslPlain struct{ user, password string }

func (a saslPlain) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "PLAIN", []byte("\x00" + a.user + "\x00" + a.password), nil
}

func (a saslPlain) Next([]byte, bool) ([]byte, error) {
	return nil, nil
}

// saslLogin is what some servers have instead: the user, then the password, whatever the prompts say.
type saslLogin struct {
	user, password string
	step           int
}

func (a *saslLogin) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a *saslLogin) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	a.step++
	switch a.step {
	case 1:
		return []byte(a.user), nil
	case 2:
		return []byte(a.password), nil
	}
	return nil, errors.New("the server asks for more than a user and a password")
}
