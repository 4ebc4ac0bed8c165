package dnsbl

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Code is one return code of a list, or a range of them: an IPv4 address of 127.0.0.0/8 in which each number may be a range.
type Code struct {
	low, high [4]byte
	text      string
}

// ParseCode reads "127.0.0.2", "127.0.0.4-7" or "127.0.0-255.1-3".
func ParseCode(s string) (Code, error) {
	c := Code{text: s}
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return Code{}, fmt.Errorf("%q is no return code", s)
	}
	for i, p := range parts {
		low, high, ranged := strings.Cut(p, "-")
		if !ranged {
			high = low
		}
		x, err1 := strconv.ParseUint(low, 10, 8)
		y, err2 := strconv.ParseUint(high, 10, 8)
		if err1 != nil || err2 != nil || x > y {
			return Code{}, fmt.Errorf("%q is no return code", s)
		}
		c.low[i], c.high[i] = byte(x), byte(y)
	}
	switch {
	case c.low[0] != 127 || c.high[0] != 127:
		return Code{}, fmt.Errorf("%q is no return code: those of lists begin with 127. (RFC 5782 2.1)", s)
	case c.Has(netip.AddrFrom4([4]byte{127, 255, 255, 254})):
		return Code{}, fmt.Errorf("%q takes in 127.255.255.0/24, with which lists say that they don't answer", s)
	}
	return c, nil
}

// Has reports that an answer is this code.
func (c Code) Has(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	for i, n := range a.As4() {
		if n < c.low[i] || n > c.high[i] {
			return false
		}
	}
	return true
}

// String is the code as it was written.
func (c Code) String() string { return c.text }
