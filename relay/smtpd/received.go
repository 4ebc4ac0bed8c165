package smtpd

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"restante/relay/mailaddr"
)

// Trace is what a Received field says (RFC 5321 4.4).
type Trace struct {
	Hostname string // ours
	Client   *Client
	ID       string
	Rcpts    []string // forward-paths; "for" is written only when there is exactly one: others are nobody's business
	Time     time.Time
}

// Received returns the Received field with its CRLF:
//
//	Received: from mail.example.org (mail.example.org [192.0.2.1])
//		(using TLS1.3 with cipher TLS_AES_128_GCM_SHA256)
//		by mx2.example.test (Restante) with ESMTPS id 01JD3YQ4T4W3X9V7M2K5N8R6ZC
//		for <anna@example.test>; Sat, 21 Nov 2026 09:12:04 +0000
//
// What the client said of itself is shown only if it is a domain, not ours, or an address literal; its verified name and
// its address are always shown. The protocol is a keyword of RFC 3848 or RFC 6531.
func Received(t Trace) []byte {
	var b bytes.Buffer
	b.Grow(320)
	c := t.Client
	b.WriteString("Received: from ")
	literal := "[unknown]"
	if ip, err := netip.ParseAddr(c.Addr); err == nil {
		literal = addressLiteral(ip)
	}
	// Filters follow the chain from our name on: one who claims to be us would have his own forged fields believed.
	if name, err := mailaddr.ParseDomain(c.Helo); err == nil && !strings.EqualFold(strings.TrimSuffix(name, "."), t.Hostname) {
		b.WriteString(name)
	} else {
		b.WriteString(literal)
	}
	b.WriteString(" (")
	if c.Name != "" {
		b.WriteString(c.Name)
		b.WriteByte(' ')
	}
	b.WriteString(literal)
	b.WriteString(")\r\n\t")
	if version, cipher, ok := strings.Cut(c.TLS, " "); ok {
		b.WriteString("(using " + version + " with cipher " + cipher + ")\r\n\t")
	}
	b.WriteString("by " + t.Hostname + " " + software)
	if c.Protocol != "" {
		b.WriteString(" with " + c.Protocol)
	}
	b.WriteString(" id " + t.ID)
	if len(t.Rcpts) == 1 && len(t.Rcpts[0]) <= mailaddr.MaxPath {
		b.WriteString("\r\n\tfor <" + t.Rcpts[0] + ">")
	}
	b.WriteString("; ")
	b.WriteString(t.Time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	b.WriteString("\r\n")
	return b.Bytes()
}

// addressLiteral writes ip as RFC 5321 4.1.3 does.
func addressLiteral(ip netip.Addr) string {
	if ip = ip.Unmap(); ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}

// protocol is the keyword for what was spoken. There is none for plain SMTP within TLS.
func protocol(esmtp, encrypted, utf8 bool) string {
	switch {
	case utf8 && encrypted:
		return "UTF8SMTPS"
	case utf8:
		return "UTF8SMTP"
	case esmtp && encrypted:
		return "ESMTPS"
	case esmtp:
		return "ESMTP"
	}
	return "SMTP"
}
