package smtpc

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"restante/dns"
	"restante/relay/mailaddr"
	"restante/relay/reply"
)

// How a server is told whom a message comes from (Postfix XCLIENT_README, XFORWARD_README).
//
// XCLIENT puts the real client into our place: the server judges, logs and traces as if that had connected. XFORWARD is
// for its log alone. Both are said anew for every message, since one connection carries those of many clients.
//
// A client that isn't to be named (one under whose address the server may trust it) and mail that has none go out under our own
// name, without XCLIENT. To call the address unavailable is allowed, but policy services choke on it: Debian's policyd-spf
// ends, and Postfix answers 451 for good.

// XClient tells the server whom the next messages come from, and says EHLO in that client's name: the name is what
// checks of HELO look at, ours would not go with the client's address. It is for a connection outside a transaction
// whose server offers XCLIENT. A refusal is an error: messages must not go out under a former client's name. One with a
// reply in it may be about that client alone. So is, on a connection where XCLIENT was said before, a client that isn't to be named;
// on another one nothing is said.
func (c *Conn) XClient(ctx context.Context, o *Origin) error {
	defer c.watch(ctx)()
	return c.xclient(o)
}

func (c *Conn) xclient(o *Origin) error {
	if err := c.rset(); err != nil {
		return err
	}
	if len(c.offers.XClient) == 0 || c.withdrawn {
		return c.fail(StageXClient, reply.Reply{}, fmt.Errorf("XCLIENT is %w", ErrUnsupported))
	}
	if o == nil || !o.Addr.IsValid() || c.trusts(o.Addr.Unmap()) {
		return c.asOurselves()
	}
	r, err := c.command(StageXClient, "XCLIENT"+c.attributes(o, c.offers.XClient))
	switch {
	case err != nil:
		return err
	case r.Code == 501: // it can't read the address, as a Postfix with inet_protocols = ipv4 can't an IPv6 one
		return c.asOurselves()
	case r.Code != 220:
		return c.refuse(StageXClient, r)
	}
	before := c.offers
	c.spoken = true
	if err := c.greetAs(o.Helo); err != nil {
		return err
	}
	c.offers.StartTLS, c.offers.TLSFailed = before.StartTLS, before.TLSFailed
	if len(c.offers.XClient) == 0 {
		// Postfix asks whether the client's address may, not ours any more: this connection is for this client alone.
		c.offers.XClient, c.withdrawn = before.XClient, true
	}
	return nil
}

// Named reports that the server was told of a client: what it refuses by 5.7.x now is likely about that one.
func (c *Conn) Named() bool { return c.spoken }

// Spent reports that no further message can go over this connection: the server was told of a client and hears of no other.
func (c *Conn) Spent() bool { return c.withdrawn }

// asOurselves lets the next message go out under our own name, which takes a connection that had no other.
func (c *Conn) asOurselves() error {
	if c.spoken {
		return c.fail(StageXClient, reply.Reply{}, fmt.Errorf("to go back from a client's name to our own is %w", ErrUnsupported))
	}
	return nil
}

// greetAs says EHLO with the name that a client gave. With our own where that is no name, and where the server refuses it:
// then it has heard it in XCLIENT all the same.
func (c *Conn) greetAs(helo string) error {
	if name, ok := heloName(helo); ok {
		r, err := c.command(StageXClient, "EHLO "+name)
		switch {
		case err != nil:
			return err
		case r.Code == 250:
			c.announced(r, true)
			return nil
		case !r.Permanent():
			return c.refuse(StageXClient, r)
		}
	}
	return c.hello(StageXClient)
}

// heloName returns what a client said at HELO if it can be said again: a domain or an address literal (RFC 5321 4.1.1.1).
func heloName(helo string) (string, bool) {
	name, err := mailaddr.ParseDomain(helo)
	return name, err == nil
}

// XForward tells the server whom the next message comes from, for its log. A refusal is an error.
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
// a former message stays. Never LOGIN; an address that would make the server trust the client is unavailable. SOURCE
// says that nobody here wrote the message, so that its header isn't completed as a local one's.
func (c *Conn) attributes(o *Origin, offered []string) string {
	const unavailable = "[UNAVAILABLE]"
	if o == nil {
		o = &Origin{}
	}
	values := map[string]string{"PROTO": "SMTP", "SOURCE": "REMOTE"}
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
	values["HELO"], values["IDENT"] = xtext(o.Helo), xtext(o.ID)
	if p := strings.ToUpper(o.Protocol); p != "" && p != "SMTP" {
		values["PROTO"] = "ESMTP" // also for ESMTPS, UTF8SMTP and the like (RFC 3848, RFC 6531)
	}
	var b strings.Builder
	for _, name := range []string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"} {
		if slices.Contains(offered, name) {
			fmt.Fprintf(&b, " %s=%s", name, cmp.Or(values[name], unavailable))
		}
	}
	return b.String()
}

// trusts reports addresses under which the server may treat a client as one of its own.
func (c *Conn) trusts(a netip.Addr) bool {
	if !dns.Public(a) {
		return true
	}
	// The server's own address and ours, which it was told to let in.
	for _, end := range []net.Addr{c.nc.RemoteAddr(), c.nc.LocalAddr()} {
		if tcp, ok := end.(*net.TCPAddr); ok && tcp.AddrPort().Addr().Unmap().WithZone("") == a.WithZone("") {
			return true
		}
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
