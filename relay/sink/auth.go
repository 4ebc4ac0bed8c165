package sink

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
)

// implicit begins TLS before the banner.
func (c *session) implicit() error {
	cfg, err := c.s.tlsConfig()
	if err != nil {
		return err
	}
	t := tls.Server(c.raw, cfg)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.nc, c.env.TLS = t, true
	return nil
}

// doAuth is AUTH PLAIN (RFC 4616), with an initial response or after a challenge, and LOGIN.
func (c *session) doAuth(line, arg string) error {
	if c.s.o.Login == nil || c.offers == nil || len(c.offers.Auth) == 0 {
		c.s.violation(c, "AUTH wasn't offered")
		return c.answer("503 5.5.1 Not offered")
	}
	if !c.env.TLS && !c.s.o.PlainLogin {
		c.s.violation(c, "a password in plain")
	}
	mech, first, _ := strings.Cut(arg, " ")
	var user, password string
	var err error
	switch strings.ToUpper(mech) {
	case "PLAIN":
		if first == "" {
			if first, err = c.challenge(""); err != nil {
				return err
			}
		}
		b, _ := base64.StdEncoding.DecodeString(first) // what isn't one is no login
		parts := strings.SplitN(string(b), "\x00", 3)
		if len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	case "LOGIN":
		for i, into := range []*string{&user, &password} {
			text, err := c.challenge([]string{"VXNlcm5hbWU6", "UGFzc3dvcmQ6"}[i])
			if err != nil {
				return err
			}
			b, _ := base64.StdEncoding.DecodeString(text)
			*into = string(b)
		}
	default:
		return c.answer("504 5.5.4 Unknown mechanism")
	}
	return c.step(StageAuth, line, func() string {
		if !c.s.o.Login(user, password) {
			return "535 5.7.8 Authentication failed"
		}
		c.env.User = user
		return "235 2.7.0 Authenticated"
	})
}

func (c *session) challenge(text string) (string, error) {
	c.mustBeLast("AUTH")
	if err := c.answer("334 " + text); err != nil {
		return "", err
	}
	line, err := c.line()
	return string(line), err
}
