package smtpc

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"restante/relay/reply"
)

// maxPath bounds an address, far above the 256 octets of RFC 5321 4.5.3.1.3.
const maxPath = 1000

// unfit returns our own refusal of a message that this server can't take, or a zero reply.
func (c *Conn) unfit(m *Mail, rcpts []Rcpt) reply.Reply {
	if c.offers.Size > 0 && m.Size > c.offers.Size {
		return reply.New(552, reply.Enhanced{5, 3, 4}, "the message has %d octets, %s takes %d", m.Size, c.target.label(), c.offers.Size).With(ErrUnsupported)
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

// XClient tells the server whom the next messages come from (Postfix XCLIENT), and says EHLO again. It is for a connection
// outside a transaction whose server offers XCLIENT. A refusal is an error: messages must not go out under a former client's name.
func (c *Conn) XClient(ctx context.Context, o *Origin) error {
	defer c.watch(ctx)()
	return c.xclient(o)
}

func (c *Conn) xclient(o *Origin) error {
	if err := c.rset(); err != nil {
		return err
	}
	if len(c.offers.XClient) == 0 {
		return c.fail(StageXClient, reply.Reply{}, fmt.Errorf("XCLIENT is %w", ErrUnsupported))
	}
	r, err := c.command(StageXClient, "XCLIENT"+c.attributes(o, c.offers.XClient))
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return c.refuse(StageXClient, r)
	}
	before := c.offers
	if err := c.hello(); err != nil {
		return err
	}
	c.offers.StartTLS, c.offers.TLSFailed = before.StartTLS, before.TLSFailed
	return nil
}

// XForward tells the server whom the next message comes from, for its log (Postfix XFORWARD). A refusal is an error.
func (c *Conn) XForward(ctx context.Context, o *Origin) error {
	defer c.watch(ctx)()
	if err := c.rset(); err != nil {
		return err
	}
	if len(c.offers.XForward) == 0 {
		return c.fail(StageXForward, reply.Reply{}, fmt.Errorf("XFORWARD is %w", ErrUnsupported))
	}
	r, err := c.command(StageXForward, "XFORWARD"+c.attributes(o, c.offers.XForward))
	if err == nil && !r.Positive() {
		err = c.refuse(StageXForward, r)
	}
	return err
}

// attributes is " NAME=... ADDR=..." of those attributes that the server offers. Each is always sent, so that nothing of
// a former message stays. Never LOGIN; an address that would make the server trust the client is unavailable.
func (c *Conn) attributes(o *Origin, offered []string) string {
	const unavailable = "[UNAVAILABLE]"
	if o == nil {
		o = &Origin{}
	}
	values := map[string]string{"PROTO": "SMTP"}
	if addr := o.Addr.Unmap(); addr.IsValid() && !c.trusts(addr) {
		values["ADDR"] = addr.String()
		if addr.Is6() {
			values["ADDR"] = "IPV6:" + addr.WithZone("").String()
		}
		if o.Port > 0 {
			values["PORT"] = strconv.Itoa(o.Port)
		}
		values["NAME"] = xtext(o.Name)
	}
	values["HELO"] = xtext(o.Helo)
	if p := strings.ToUpper(o.Protocol); p != "" && p != "SMTP" {
		values["PROTO"] = "ESMTP" // also for ESMTPS, UTF8SMTP and the like (RFC 3848, RFC 6531)
	}
	var b strings.Builder
	for _, name := range []string{"NAME", "ADDR", "PORT", "PROTO", "HELO"} {
		if slices.Contains(offered, name) {
			fmt.Fprintf(&b, " %s=%s", name, cmp.Or(values[name], unavailable))
		}
	}
	return b.String()
}

// trusts reports addresses under which the server may treat a client as one of its own.
func (c *Conn) trusts(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() { // neither loopback, link-local, multicast nor unspecified is global unicast
		return true
	}
	if a.Is4() && netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a) { // RFC 6598
		return true
	}
	for _, p := range c.target.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// xtext encodes a value as in RFC 3461 4. One that is too long is cut.
func xtext(s string) string {
	if len(s) > 255 {
		s = s[:255]
	}
	var b strings.Builder
	for i := range len(s) {
		if ch := s[i]; ch > 0x20 && ch < 0x7f && ch != '+' && ch != '=' {
			b.WriteByte(ch)
			continue
		}
		fmt.Fprintf(&b, "+%02X", s[i])
	}
	return b.String()
}
