package spool

import (
	"fmt"
	"strings"
	"time"
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

// Span is a duration or an age as people read it, in its greatest unit: 4 s, 47 min, 2 h, 3 days. It is cut, not rounded,
// and minutes go up to 119, hours to 47, so that it is never off by as much as half.
func Span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
}

// ExactSpan is a duration to the second, or to the millisecond below one: 51 min 37 s, 5 days, 200 ms. Limits and waits,
// which somebody has set or has to keep to, are told by it.
func ExactSpan(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	d = d.Round(time.Second)
	var parts []string
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		n := d / u.unit
		d -= n * u.unit
		switch {
		case n == 1 && u.name == "days":
			parts = append(parts, "1 day")
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
		}
	}
	return strings.Join(parts, " ")
}
