package smtpc

import (
	"strconv"

	"restante/relay/reply"
)

// maxPath bounds an address, far above the 256 octets of RFC 5321 4.5.3.1.3.
const maxPath = 1000

// unfit returns our own refusal of a message that this server can't take, or a zero reply.
func (c *Conn) unfit(m *Mail, rcpts []Rcpt) reply.Reply {
	if c.offers.Size > 0 && m.Size > c.offers.Size {
		return reply.New(552, reply.Enhanced{5, 3, 4}, "the message has %d octets, %s takes %d", m.Size, c.target.label(), c.offers.Size).With(ErrUnsupported)
	}
	if m.RequireTLS && !c.offers.KeepsTLS() {
		// RFC 8689 4.2.1, 5: to give it on otherwise is what its sender has forbidden.
		return reply.New(550, reply.Enhanced{5, 7, 30}, "the message must stay within verified TLS (REQUIRETLS), and %s %s", c.target.label(), c.lacks()).With(ErrUnsupported)
	}
	if !c.offers.SMTPUTF8 {
		international := m.SMTPUTF8 || !ascii(m.From)
		for i := range rcpts {
			international = international || !ascii(rcpts[i].Address)
		}
		if international {
			return reply.New(553, reply.Enhanced{5, 6, 7}, "the message needs SMTPUTF8, which %s doesn't offer", c.target.label()).With(ErrUnsupported)
		}
	}
	if m.From == "" {
		return reply.Reply{}
	}
	return unfitPath(m.From, true)
}

// lacks says why a message with REQUIRETLS can't go to the server.
func (c *Conn) lacks() string {
	switch {
	case c.offers.TLS == "":
		return "was reached in plain"
	case c.offers.Verified == "":
		return "has a certificate that nothing vouches for"
	case c.offers.Misled:
		return "was found by MX records that aren't signed"
	}
	return "doesn't offer REQUIRETLS"
}

// unfitPath returns our own refusal of an address that would break the command it stands in, or a zero reply.
func unfitPath(path string, utf8 bool) reply.Reply {
	if !utf8 && !ascii(path) {
		return reply.New(553, reply.Enhanced{5, 6, 7}, "the address needs SMTPUTF8").With(ErrUnsupported)
	}
	quoted := false
	bad := path == "" || len(path) > maxPath
	for i := 0; i < len(path) && !bad; i++ {
		switch b := path[i]; {
		case b < 0x20 || b == 0x7f:
			bad = true
		case b == '\\' && quoted && i+1 < len(path) && path[i+1] >= 0x20 && path[i+1] != 0x7f:
			i++
		case b == '"':
			quoted = !quoted
		case !quoted && (b == ' ' || b == '<' || b == '>'):
			bad = true
		}
	}
	if bad || quoted {
		return reply.New(553, reply.Enhanced{5, 1, 3}, "the address can't be sent").With(ErrUnsupported)
	}
	return reply.Reply{}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// param reports that a value can stand in a parameter (RFC 5321 4.1.2 esmtp-value).
func param(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= maxPath
}

// appendMail appends the MAIL command with those parameters that were offered.
func (c *Conn) appendMail(b []byte, m *Mail, international bool) []byte {
	b = append(append(append(b, "MAIL FROM:<"...), m.From...), '>')
	if c.offers.SizeOffered && m.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), m.Size, 10)
	}
	if c.offers.EightBitMIME && param(m.Body) {
		b = append(append(b, " BODY="...), m.Body...)
	}
	c.utf8 = c.offers.SMTPUTF8 && (m.SMTPUTF8 || international || !ascii(m.From))
	if c.utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if m.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if c.offers.DSN {
		if param(m.Ret) {
			b = append(append(b, " RET="...), m.Ret...)
		}
		if param(m.EnvID) {
			b = append(append(b, " ENVID="...), m.EnvID...)
		}
	}
	return append(b, "\r\n"...)
}

// appendRcpt appends the RCPT command with those parameters that were offered.
func (c *Conn) appendRcpt(b []byte, r *Rcpt) []byte {
	b = append(append(append(b, "RCPT TO:<"...), r.Address...), '>')
	if c.offers.DSN {
		if param(r.Notify) {
			b = append(append(b, " NOTIFY="...), r.Notify...)
		}
		if param(r.ORcpt) {
			b = append(append(b, " ORCPT="...), r.ORcpt...)
		}
	}
	return append(b, "\r\n"...)
}
