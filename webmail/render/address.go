package render

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxNameShown = 200 // octets of a person's name
	maxAddr      = 320 // octets of an address (RFC 5321 4.5.3.1: 64 and 255)
	maxNesting   = 20  // levels of comments
	// maxDomain is the greatest length in octets of a domain that is brought to its ASCII form, which takes time that grows with
	// the square of it. The longest there is has 253 characters of 4 octets.
	maxDomain = 1020
)

// parseAddresses reads an address list (RFC 5322 3.4) of any quality: what lies between commas, or semicolons as
// some write them, is an address each. Names are decoded only after the list is taken apart, so that a comma in an
// encoded word separates nothing. odd says that something of it was no address.
func parseAddresses(value string, most int) (list []Address, odd bool) {
	if len(value) > maxValue*4 {
		value, odd = value[:maxValue*4], true
	}
	group := ""
	for _, piece := range splitAddresses(value) {
		if len(list) >= most {
			return list, true
		}
		text := piece.text
		if piece.group != "" {
			group = cutString(oneLine(decodeWords(phrase(piece.group))), maxNameShown)
		}
		if strings.TrimSpace(text) != "" {
			a := parseAddress(text)
			a.Group = group
			if a.Addr == "" {
				odd = true
			}
			if a.Addr != "" || a.Name != "" {
				list = append(list, a)
			}
		}
		if piece.endsGroup {
			group = ""
		}
	}
	return list, odd
}

type addressPiece struct {
	text, group string
	endsGroup   bool
}

// splitAddresses cuts at commas and semicolons outside quotes, comments and angle brackets, and at the colon
// after a group's name.
func splitAddresses(s string) []addressPiece {
	var all []addressPiece
	var group string
	start, depth := 0, 0
	quoted, angle := false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (quoted || depth > 0):
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
			if quoted && strings.IndexByte(s[i+1:min(len(s), i+1+maxValue/8)], '"') < 0 {
				quoted = false // a quote that never ends is a character
			}
		case quoted:
		case c == '(' && depth < maxNesting:
			depth++
			if depth == 1 && strings.IndexByte(s[i:min(len(s), i+maxValue/8)], ')') < 0 {
				depth = 0
			}
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '<':
			angle = strings.IndexByte(s[i:min(len(s), i+maxAddr*2)], '>') >= 0
		case c == '>':
			angle = false
		case angle:
		case c == ':' && !strings.Contains(s[start:i], "@") && group == "" && !strings.EqualFold(strings.TrimSpace(s[start:i]), "mailto"):
			group = s[start:i]
			start = i + 1
		case c == ',' || c == ';':
			all = append(all, addressPiece{s[start:i], group, c == ';'})
			group = ""
			start = i + 1
		}
	}
	return append(all, addressPiece{s[start:], group, false})
}

// parseAddress reads one address with its name.
func parseAddress(s string) Address {
	var a Address
	bare, comment := takeComments(s)
	name := bare
	if open := lastAngle(bare); open >= 0 {
		inside, after, _ := strings.Cut(bare[open+1:], ">")
		a.Addr = cleanAddr(inside)
		name = bare[:open] + " " + after
		if a.Addr == "" && strings.TrimSpace(inside) != "" {
			name = s
		}
	} else if i := strings.LastIndexByte(bare, '@'); i > 0 {
		from := strings.LastIndexAny(bare[:i], " \t") + 1
		if q := strings.LastIndex(bare[:i], `"`); q > 0 && q == i-1 { // "quoted local part"@x
			from = max(strings.LastIndex(bare[:q], `"`), 0)
		}
		to := len(bare)
		if j := strings.IndexAny(bare[i:], " \t"); j >= 0 {
			to = i + j
		}
		a.Addr = cleanAddr(bare[from:to])
		name = bare[:from] + " " + bare[to:]
	}
	raw := decodeWords(phrase(name))
	if strings.TrimSpace(raw) == "" {
		raw = decodeWords(comment)
	}
	a.Name = cutString(oneLine(raw), maxNameShown)
	if strings.EqualFold(a.Name, a.Addr) {
		a.Name = ""
	}
	a.Suspicious = suspicion(raw, a.Addr)
	return a
}

// lastAngle finds the "<" of the address: the last one outside quotes.
func lastAngle(s string) int {
	at, quoted := -1, false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case '<':
			if !quoted {
				at = i
			}
		}
	}
	if at < 0 && strings.HasSuffix(strings.TrimSpace(s), ">") {
		at = strings.LastIndexByte(s, '<') // an unbalanced quote before it
	}
	return at
}

// takeComments removes (comments) outside quotes and returns the last one.
func takeComments(s string) (rest, comment string) {
	if !strings.Contains(s, "(") {
		return s, ""
	}
	var out, in strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			if depth > 0 {
				in.WriteByte(s[i])
			} else {
				out.WriteByte(c)
				out.WriteByte(s[i])
			}
			continue
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			if depth++; depth == 1 {
				in.Reset()
				continue
			}
		case c == ')' && !quoted && depth > 0:
			if depth--; depth == 0 {
				continue
			}
		}
		if depth > 0 {
			in.WriteByte(c)
		} else {
			out.WriteByte(c)
		}
	}
	if depth > 0 { // it never ended: it is text
		return s, ""
	}
	return out.String(), in.String()
}

// phrase takes the quotes off a name.
func phrase(s string) string {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, `"`) {
		if len(s) > 1 && s[0] == '\'' && s[len(s)-1] == '\'' {
			return s[1 : len(s)-1]
		}
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] != '"':
			b.WriteByte(s[i])
		}
	}
	return strings.Trim(strings.TrimSpace(b.String()), "'")
}

// cleanAddr makes local@domain of what stood in the brackets, "" when it is nothing like it. The domain comes out
// in its ASCII form, lower case, so that an answer can be sent there.
func cleanAddr(s string) string {
	s = strings.Trim(s, " \t\r\n<>")
	if strings.HasPrefix(s, "@") { // a route (RFC 5322 4.4)
		if _, after, ok := strings.Cut(s, ":"); ok {
			s = after
		}
	}
	s = strings.TrimPrefix(s, "mailto:")
	if !utf8.ValidString(s) {
		s = guess([]byte(s))
	}
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || i == len(s)-1 {
		return ""
	}
	local, domain := strings.TrimSpace(s[:i]), strings.Trim(s[i+1:], " \t.")
	keep := func(s string, spaces bool) string {
		return strings.Map(func(r rune) rune {
			if dropped(r) || bidiControl(r) || r == '<' || r == '>' || !spaces && r == ' ' {
				return -1
			}
			return r
		}, s)
	}
	if len(s) > maxAddr+maxDomain {
		return ""
	}
	local, domain = keep(local, strings.HasPrefix(local, `"`)), strings.ToLower(keep(domain, false))
	if ascii, err := idna.Punycode.ToASCII(domain); err == nil {
		domain = ascii
	}
	if local == "" || domain == "" || len(local)+len(domain) >= maxAddr || strings.ContainsAny(domain, "@,;\"()") {
		return ""
	}
	return local + "@" + domain
}
