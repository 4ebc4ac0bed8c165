package spool

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s with every octet that is not part of valid UTF-8, and every control character,
// written as \xNN (octet by octet). What it returns is for people and for JSON, which would silently
// turn invalid octets into U+FFFD; it is never used to deliver.
func Printable(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 || unhappy(r) {
			for _, c := range []byte(s[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// unhappy reports runes that would act on a terminal or turn a line's direction.
func unhappy(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' ||
		(r >= '\u202a' && r <= '\u202e') || (r >= '\u2066' && r <= '\u2069')
}

// Octets is a size as people read it: 31.4 MB. It is cut, not rounded, so that what is below a bound such as 1 MB looks
// like it.
func Octets(n int64) string {
	units := []string{"KB", "MB", "GB", "TB", "PB", "EB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	i := 0
	for ; n >= 1_000_000; i++ {
		n /= 1000
	}
	return fmt.Sprintf("%d.%d %s", n/1000, n%1000/100, units[i])
}
