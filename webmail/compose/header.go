package compose

import (
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"
)

// header writes fields. It is the only way in which typed text gets into a header: a value is words,
// joined by single spaces or folded at them (RFC 5322 2.2.3); there is no way to pass a line break.
type header struct{ strings.Builder }

// field writes one field. Its name is ours; each word of value is visible ASCII, or it is left out.
func (h *header) field(name, value string) {
	h.WriteString(name + ":")
	column := len(name) + 1
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r <= ' ' }) {
		if strings.ContainsFunc(word, func(r rune) bool { return r > '~' }) || len(word) > lineLimit-len(name)-2 {
			continue // callers encode; this is the last guard
		}
		if column+1+len(word) > foldAt && column > len(name)+1 {
			h.WriteString("\r\n")
			column = 0
		}
		h.WriteString(" " + word)
		column += 1 + len(word)
	}
	h.WriteString("\r\n")
}

// text writes a field of free text (RFC 5322 3.2.5), encoded (RFC 2047) where it must be.
func (h *header) text(name, value string) { h.field(name, encodeText(oneLine(value))) }

// people writes a field of addresses, if there are any.
func (h *header) people(name string, people []Person) {
	var all []string
	for _, p := range people {
		if addr, why := CleanAddress(p.Addr); why == "" {
			all = append(all, mailbox(p.Name, addr))
		}
	}
	if len(all) > 0 {
		h.field(name, strings.Join(all, ", "))
	}
}

// ids writes a field of message-ids.
func (h *header) ids(name string, ids ...string) {
	var all []string
	for _, id := range ids {
		if id = cleanMessageID(id); id != "" {
			all = append(all, id)
		}
	}
	if len(all) > 0 {
		h.field(name, strings.Join(all, " "))
	}
}

// mailbox writes name and address as RFC 5322 3.4 has them.
func mailbox(name, addr string) string {
	name = CleanName(name)
	switch {
	case name == "":
		return addr
	case mustEncode(name):
		return encodeWords(name) + " <" + addr + ">"
	case strings.ContainsAny(name, `"\()<>[]:;@,.`):
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + addr + ">"
	}
	return name + " <" + addr + ">"
}

// mustEncode reports text that isn't plain ASCII, looks encoded already, or has words too long to be folded.
func mustEncode(s string) bool {
	if strings.Contains(s, "=?") || strings.ContainsFunc(s, func(r rune) bool { return r > '~' || r < ' ' }) {
		return true
	}
	for word := range strings.SplitSeq(s, " ") {
		if len(word) > foldAt-len("Subject: ") {
			return true
		}
	}
	return false
}

// encodeText encodes text for a field of free text: readable (Q) where most of it is ASCII.
func encodeText(s string) string {
	if !mustEncode(s) {
		return s
	}
	ascii := 0
	for i := range len(s) {
		if s[i] <= '~' {
			ascii++
		}
	}
	if ascii < len(s) && ascii*4 >= len(s)*3 { // pure ASCII would be left as it is
		return mime.QEncoding.Encode("utf-8", s)
	}
	return encodeWords(s)
}

// encodeWords encodes all of s in words of at most 75 octets (RFC 2047 2), whole characters in each (5.3).
// Base64 is right in every place where an encoded word may stand.
func encodeWords(s string) string {
	const most = 42 // octets: 56 in base64, with the marks 68, with the name of most fields still a line
	var words []string
	for s != "" {
		n := min(len(s), most)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// parameter writes a parameter of a MIME field with a value that may be any text, as RFC 2231 has it:
// quoted where it is plain, else encoded, in numbered pieces where it is long. It begins with ";".
func parameter(name, value string) string {
	plain := value != "" && len(value) <= 60
	for i := range len(value) {
		c := value[i]
		plain = plain && c >= ' ' && c <= '~' && c != '"' && c != '\\'
	}
	if plain && !strings.Contains(value, "  ") && value == strings.TrimSpace(value) {
		return "; " + name + `="` + value + `"`
	}
	var chunks []string
	var b strings.Builder
	for _, r := range value {
		e := percent(string(r))
		if b.Len()+len(e) > 50 {
			chunks = append(chunks, b.String())
			b.Reset()
		}
		b.WriteString(e)
	}
	chunks = append(chunks, b.String())
	if len(chunks) == 1 {
		return "; " + name + "*=utf-8''" + chunks[0]
	}
	var out strings.Builder
	for i, c := range chunks {
		charset := ""
		if i == 0 {
			charset = "utf-8''"
		}
		fmt.Fprintf(&out, "; %s*%d*=%s%s", name, i, charset, c)
	}
	return out.String()
}

// percent encodes one character; attribute-char of RFC 2231 7 stays as it is.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$&+-.^_`{|}~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
