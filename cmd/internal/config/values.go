package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Size is a number of octets, written "50MB" (1 KB is 1,000 octets, 1 KiB is 1,024).
type Size int64

// Units of Size.
const (
	KB  Size = 1000
	MB  Size = 1000 * KB
	GB  Size = 1000 * MB
	TB  Size = 1000 * GB
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// sizeUnits is ordered: String takes the first unit that divides the value.
var sizeUnits = []struct {
	name string
	size Size
}{{"TB", TB}, {"GB", GB}, {"MB", MB}, {"GiB", GiB}, {"MiB", MiB}, {"KB", KB}, {"KiB", KiB}, {"B", 1}}

// ParseSize reads "50MB", "1 GiB", "4096" or "128B".
func ParseSize(s string) (Size, error) {
	text := strings.TrimSpace(s)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.ToLower(text[len(digits):])
	scale := Size(1)
	if unit != "" {
		scale = 0
		for _, u := range sizeUnits {
			name := strings.ToLower(u.name)
			if unit == name || unit == strings.TrimSuffix(name, "b") && name != "b" {
				scale = u.size
			}
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || scale == 0 || n < 0 || math.IsNaN(n) || n*float64(scale) > 1<<60 {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return Size(math.Round(n * float64(scale))), nil
}

// String is the shortest exact form.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range sizeUnits {
		if s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a time.Duration that may be written with days and weeks: "14d", "1d12h", "10s".
type Duration time.Duration

// unset marks a duration of [domain.retention] that [retention] fills in.
const unset = Duration(math.MinInt64)

func dur(d time.Duration) Duration { return Duration(d) }

// Std is the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// ParseDuration reads Go's durations, with "d" and "w" before them, and "0".
func ParseDuration(s string) (Duration, error) {
	rest := strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if rest == "" || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		return 0, fmt.Errorf("%q is no duration", s)
	}
	var sum float64
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		before, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(before, 64)
		if err != nil || n < 0 || !(n < 1e6) {
			return 0, fmt.Errorf("%q is no duration", s)
		}
		sum += n * float64(u.unit)
		rest = after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%q is no duration", s)
		}
		sum += float64(d)
	}
	if sum > float64(100*365*24*time.Hour) {
		return 0, fmt.Errorf("%q is more than 100 years", s)
	}
	return Duration(sum), nil
}

// String is the shortest form: "14d", "1h30m", "10s".
func (d Duration) String() string {
	if d == unset {
		return ""
	}
	v := time.Duration(d)
	day := 24 * time.Hour
	var b strings.Builder
	if v >= day {
		fmt.Fprintf(&b, "%dd", v/day)
		v %= day
	}
	if v == 0 && b.Len() > 0 {
		return b.String()
	}
	text := v.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return b.String() + text
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Secret is a string that never shows itself in logs or dumps.
type Secret string

// redacted is what a Secret prints as.
const redacted = "**redacted**"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the secret from %#v too.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// ParsePrimary reads one entry of a domain's primary list: "mx", a host, `[host]`, an IPv4 or IPv6
// address, each but the first with an optional port (25).
func ParsePrimary(s string) (Primary, error) {
	p := Primary{Port: 25}
	text := strings.TrimSpace(s)
	if strings.EqualFold(text, "mx") {
		p.MX = true
		return p, nil
	}
	if strings.Contains(text, "://") {
		return p, fmt.Errorf("%q is a URL", s)
	}
	if a, err := netip.ParseAddr(text); err == nil { // a bare IPv6 address has colons of its own
		p.Host = a.String()
		return p, nil
	}
	host, port := text, ""
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return p, fmt.Errorf("%q has no closing bracket", s)
		}
		host = text[1:end]
		if rest := text[end+1:]; rest != "" {
			if rest[0] != ':' {
				return p, fmt.Errorf("%q has something other than a port after the bracket", s)
			}
			port = rest[1:]
		}
	} else if h, after, ok := strings.Cut(text, ":"); ok {
		host, port = h, after
	}
	if port != "" || strings.HasSuffix(text, ":") {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return p, fmt.Errorf("%q is no port", port)
		}
		p.Port = n
	}
	if a, err := netip.ParseAddr(strings.TrimPrefix(host, "IPv6:")); err == nil {
		p.Host = a.String()
		return p, nil
	}
	name, err := ParseHost(host)
	if err != nil {
		return p, err
	}
	p.Host = name
	return p, nil
}

// Address is host:port as net.Dial wants it, "mx" for one from DNS.
func (p Primary) Address() string {
	if p.MX {
		return "mx"
	}
	return net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
}

// ParseHost checks a host name (LDH labels, at most 253 octets) and returns it in lower case without a
// final dot.
func ParseHost(s string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), ".")
	if name == "" {
		return "", errors.New("there is no host name")
	}
	if len(name) > 253 {
		return "", fmt.Errorf("%q is longer than 253 octets", s)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%q is no host name", s)
		}
		for i := range len(label) {
			c := label[i]
			if c != '-' && c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
				return "", fmt.Errorf("%q is no host name", s)
			}
		}
	}
	return name, nil
}

// checkListen accepts "address:port" and ":port".
func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is no address with a port", s)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			return fmt.Errorf("%q is no IP address", host)
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q is no port", port)
	}
	return nil
}
