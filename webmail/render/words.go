package render

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxWord  = 4 << 10  // octets of one encoded word; RFC 2047 2 says 75
	maxValue = 64 << 10 // octets of a field's value that are decoded to be shown
	maxShown = 2000     // octets of a decoded subject, name or file name before further cuts
)

// DecodeHeader decodes the encoded words (RFC 2047) of a header field's value as far as they can be, makes of
// unlabelled 8-bit octets what they most likely are, and returns printable UTF-8 on one line.
func DecodeHeader(value string) string {
	return cutString(oneLine(decodeWords(value)), maxShown)
}

// decodeWords decodes without cleaning.
func decodeWords(value string) string {
	if len(value) > maxValue {
		value = value[:maxValue]
	}
	if !strings.Contains(value, "=?") {
		text, _ := decodeCharset([]byte(value), "")
		return text
	}
	var out strings.Builder
	var run []byte // octets of adjacent words of one charset: characters are split between words by some
	runCharset := ""
	flush := func() {
		if len(run) > 0 {
			text, _ := decodeCharset(run, runCharset)
			out.WriteString(text)
			run = run[:0]
		}
	}
	for value != "" {
		i := strings.Index(value, "=?")
		if i < 0 {
			break
		}
		charset, octets, rest, ok := encodedWord(value[i:])
		if !ok {
			flush()
			text, _ := decodeCharset([]byte(value[:i+2]), "")
			out.WriteString(text)
			value = value[i+2:]
			continue
		}
		if gap := value[:i]; strings.Trim(gap, " \t\r\n") != "" || (len(run) == 0 && gap != "") {
			flush()
			text, _ := decodeCharset([]byte(gap), "")
			out.WriteString(text)
		}
		if !strings.EqualFold(charset, runCharset) {
			flush()
			runCharset = charset
		}
		run = append(run, octets...)
		value = rest
	}
	flush()
	text, _ := decodeCharset([]byte(value), "")
	out.WriteString(text)
	return out.String()
}

// encodedWord takes "=?charset?Q?text?=" off the front of s.
func encodedWord(s string) (charset string, octets []byte, rest string, ok bool) {
	charset, tail, ok := strings.Cut(s[2:], "?")
	if !ok || len(tail) < 2 || tail[1] != '?' || charset == "" || len(charset) > 60 {
		return "", nil, "", false
	}
	charset, _, _ = strings.Cut(charset, "*") // RFC 2231 5: a language
	end := strings.Index(tail[2:min(len(tail), 2+maxWord)], "?=")
	if end < 0 {
		return "", nil, "", false
	}
	text, rest := tail[2:2+end], tail[2+end+2:]
	// "=?x?Q?=41?=": the text may start with "=".
	if text == "" && strings.HasPrefix(tail[1:], "?=") {
		if more, after, found := strings.Cut(tail[3:], "?="); found && (tail[0] == 'q' || tail[0] == 'Q') {
			if len(more) >= 2 {
				if _, hex := unhex(more[0], more[1]); hex {
					text, rest = "="+more, after
				}
			}
		}
	}
	switch tail[0] {
	case 'q', 'Q':
		return charset, wordQ(text), rest, true
	case 'b', 'B':
		return charset, wordB(text), rest, true
	}
	return "", nil, "", false
}

func wordQ(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '_':
			b = append(b, ' ')
		case s[i] == '=' && i+2 < len(s):
			if v, ok := unhex(s[i+1], s[i+2]); ok {
				b = append(b, v)
				i += 2
				continue
			}
			b = append(b, '=')
		default:
			b = append(b, s[i])
		}
	}
	return b
}

func wordB(s string) []byte {
	clean := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c := s[i]; base64Value(c) >= 0 {
			clean = append(clean, c)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	for i, c := range clean { // the URL-safe alphabet too
		switch c {
		case '-':
			clean[i] = '+'
		case '_':
			clean[i] = '/'
		}
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, err := base64.RawStdEncoding.Decode(out, clean)
	if err != nil {
		return out[:max(n, 0)]
	}
	return out[:n]
}

// oneLine makes text fit for one line of a page: white space is one space, and what controls rather than says
// something is gone.
func oneLine(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) || r == '\u0085' || r == '\u2028' || r == '\u2029':
			space = b.Len() > 0
			continue
		case dropped(r):
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// dropped are characters that never help to read: controls, characters that turn the direction of what follows,
// tags, and what is no character.
func dropped(r rune) bool {
	switch {
	case r < ' ' || r >= 0x7f && r < 0xa0:
		return true
	case bidiControl(r):
		return r != '\u200e' && r != '\u200f' && r != '\u061c' // marks turn nothing but themselves
	case r == '\ufeff' || r >= 0xfff9 && r <= 0xfffb || r >= 0xe0000 && r <= 0xe0fff:
		return true
	case r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe:
		return true
	}
	return false
}

// bidiControl are the formatting characters of UAX 9.
func bidiControl(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}

// cutString cuts s to at most n octets, at a character, and says so.
func cutString(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
