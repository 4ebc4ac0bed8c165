// Package mailaddr reads the addresses of an SMTP envelope (RFC 5321 4.1.2, RFC 6531 3.3) strictly and
// brings every spelling of one mailbox to one value: quoted local parts lose needless quotes, source
// routes are dropped, domains become lower-case A-labels. What is compared is what is passed on: String
// is made from the value, never from what the peer wrote, so that no spelling can mean one domain to
// the check and another one to the next server.
//
// Deliberate deviations, all towards taking real mail: an underscore is accepted in domain labels, and
// local parts may be longer than 64 octets as long as the path keeps to 256 (RFC 5321 4.5.3.1.3;
// VERP senders need it).
package mailaddr

import (
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// MaxPath is the greatest length of a path in octets, its angle brackets included (RFC 5321 4.5.3.1.3).
const MaxPath = 256

// Limits of a domain in octets (RFC 5321 4.5.3.1.2, RFC 1035 2.3.4).
const (
	maxDomain = 255
	maxLabel  = 63
	// maxUnicode is that of a domain before it is brought to A-labels, which takes time that grows with the square of it:
	// a label has less than 63 characters, of 4 octets at most.
	maxUnicode = 4 * maxDomain
)

// Errors that Parse returns, wrapped or as they are. ErrUTF8 is kept apart since SMTP answers it with
// another code (RFC 6531 3.5: 553 5.6.7).
var (
	ErrSyntax = errors.New("malformed address")
	ErrLong   = errors.New("address longer than 254 octets")
	ErrUTF8   = errors.New("address is not valid UTF-8")
	ErrDomain = errors.New("malformed domain")
)

// Address is a mailbox. The zero Address is the null reverse-path.
type Address struct {
	Local  string // unquoted, as it is compared; may hold any character that a quoted string may
	Domain string // lower-case A-labels, or an address literal in brackets as netip writes it: "[192.0.2.1]", "[IPv6:2001:db8::1]"
}

// Parse reads a mailbox or a path without its angle brackets: `local@domain`, `"quo ted"@domain`,
// `local@[192.0.2.1]`, `@relay1,@relay2:local@domain` (the source route is dropped, RFC 5321 C).
func Parse(s string) (Address, error) {
	switch {
	case len(s) > MaxPath-2:
		return Address{}, ErrLong
	case !utf8.ValidString(s):
		return Address{}, ErrUTF8
	}
	s, err := dropRoute(s)
	if err != nil {
		return Address{}, err
	}
	local, rest, err := parseLocal(s)
	if err != nil {
		return Address{}, err
	}
	if rest == "" || rest[0] != '@' || hidden(local) {
		return Address{}, ErrSyntax
	}
	domain, err := ParseDomain(rest[1:])
	if err != nil {
		return Address{}, err
	}
	a := Address{Local: local, Domain: domain}
	if len(a.String()) > MaxPath-2 { // A-labels are longer than U-labels
		return Address{}, ErrLong
	}
	return a, nil
}

// dropRoute takes an a-d-l (RFC 5321 4.1.2, "@one,@two:") off the front of a path.
func dropRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	// Not in its domains, nor within a literal of IPv6 (which is not allowed there) can a colon stand.
	route, mailbox, ok := strings.Cut(s, ":")
	if !ok {
		return "", ErrSyntax
	}
	for hop := range strings.SplitSeq(route, ",") {
		name, at := strings.CutPrefix(hop, "@")
		if !at {
			return "", ErrSyntax
		}
		if _, err := ParseDomain(name); err != nil {
			return "", err
		}
	}
	return mailbox, nil
}

// parseLocal reads a dot-string or a quoted-string and returns its meaning and what follows.
func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return parseQuoted(s[1:])
	}
	end := strings.IndexByte(s, '@')
	if end <= 0 || !dotString(s[:end]) {
		return "", "", ErrSyntax
	}
	return s[:end], s[end:], nil
}

// parseQuoted reads what follows the opening quote.
func parseQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			if b.Len() == 0 { // grammatical, but no mailbox that anybody has
				return "", "", ErrSyntax
			}
			return b.String(), s[i+1:], nil
		case c == '\\':
			i++
			if i == len(s) || s[i] < ' ' || s[i] >= 0x7f { // RFC 5321 4.1.2: quoted-pairSMTP
				return "", "", ErrSyntax
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", "", ErrSyntax
		default:
			b.WriteByte(c)
		}
	}
	return "", "", ErrSyntax
}

// dotString reports whether s is atoms joined by single dots (RFC 5321 4.1.2, with the octets of
// RFC 6531 3.3 in atoms).
func dotString(s string) bool {
	dot := true
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if dot {
				return false
			}
			dot = true
			continue
		case !atext(c):
			return false
		}
		dot = false
	}
	return !dot
}

// atext reports whether an octet may stand in an atom.
func atext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// hidden reports whether s holds C1 controls, line separators, overrides of the writing direction or a byte
// order mark: nothing that a mailbox is named with, and all of it means mischief in logs, headers and on screens.
func hidden(s string) bool {
	for _, r := range s {
		switch {
		case r >= 0x80 && r < 0xa0, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0xfeff:
			return true
		}
	}
	return false
}

// ParseDomain reads a domain name or an address literal and returns the form that Address.Domain has:
// two names are equal exactly when their forms are.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return unicodeDomain(s)
		}
	}
	return asciiDomain(s)
}

// unicodeDomain turns U-labels into A-labels (RFC 5890). The mapping is that of UTS 46 for look-ups,
// nontransitional, so that full-width letters and ideographic full stops can't spell a second domain.
func unicodeDomain(s string) (string, error) {
	switch {
	case len(s) > maxUnicode:
		return "", ErrDomain
	case !utf8.ValidString(s):
		return "", ErrUTF8
	}
	profile := idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
		idna.StrictDomainName(false), idna.VerifyDNSLength(true))
	ascii, err := profile.ToASCII(s)
	if err != nil {
		return "", ErrDomain
	}
	return asciiDomain(ascii)
}

func asciiDomain(s string) (string, error) {
	if s == "" || len(s) > maxDomain {
		return "", ErrDomain
	}
	lower := false
	label := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if label == 0 || s[i-1] == '-' {
				return "", ErrDomain
			}
			label = 0
			continue
		case c >= 'A' && c <= 'Z':
			lower = true
		case c == '-':
			if label == 0 {
				return "", ErrDomain
			}
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		default:
			return "", ErrDomain
		}
		if label++; label > maxLabel {
			return "", ErrDomain
		}
	}
	if label == 0 || s[len(s)-1] == '-' {
		return "", ErrDomain
	}
	if lower {
		s = strings.ToLower(s)
	}
	return s, nil
}

// parseLiteral reads an address literal (RFC 5321 4.1.3). General-address-literals have no tags
// registered but IPv6, so all others are malformed.
func parseLiteral(s string) (string, error) {
	if len(s) < 3 || s[len(s)-1] != ']' {
		return "", ErrDomain
	}
	text := s[1 : len(s)-1]
	v6 := len(text) > 5 && strings.EqualFold(text[:5], "IPv6:")
	if v6 {
		text = text[5:]
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || v6 == ip.Is4() {
		return "", ErrDomain
	}
	if v6 {
		return "[IPv6:" + ip.String() + "]", nil
	}
	return "[" + ip.String() + "]", nil
}

// IsZero reports the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// IsLiteral reports that the domain is an address literal; no hosted domain ever is.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.Domain, "[") }

// ASCII reports that the address can be sent without SMTPUTF8. Domains always can.
func (a Address) ASCII() bool {
	for i := range len(a.Local) {
		if a.Local[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Routed reports that the local part carries a route of its own: the percent hack, a bang path, an @
// within quotes. A next server may act on it (user%other.example@ours.example), so such a recipient
// is never treated as ours.
func (a Address) Routed() bool { return strings.ContainsAny(a.Local, "%!@") }

// String is the address in wire form, quoted where it must be; "" for the null reverse-path. It never
// holds control characters, whatever Parse was given.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if dotString(a.Local) {
		return a.Local + "@" + a.Domain
	}
	var b strings.Builder
	b.Grow(len(a.Local) + len(a.Domain) + 4)
	b.WriteByte('"')
	for i := range len(a.Local) {
		if c := a.Local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.Local[i])
	}
	b.WriteString(`"@`)
	b.WriteString(a.Domain)
	return b.String()
}

// Key is the address for comparison: equal keys mean one mailbox. The local part is folded to lower
// case, which RFC 5321 2.4 leaves to the receiving domain and nobody distinguishes, and to NFC.
func (a Address) Key() string {
	if a.IsZero() {
		return ""
	}
	local := a.Local
	if a.ASCII() {
		local = strings.ToLower(local)
	} else {
		local = norm.NFC.String(strings.ToLower(norm.NFC.String(local)))
	}
	return local + "@" + a.Domain
}
