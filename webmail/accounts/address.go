package accounts

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// maxAddress is the greatest length of an address in octets (RFC 5321 4.5.3.1.3, less the brackets).
const maxAddress = 254

// Normal is the one form of an address: lower case, NFC, the domain in A-labels. Addresses with a quoted local part
// are refused; nobody signs in by one.
func Normal(s string) (string, error) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return "", fmt.Errorf("%q is no address: write for example anna@example.com", s)
	}
	if len(s) > maxAddress || !utf8.ValidString(s) {
		return "", fmt.Errorf("%.40q is no address: it is too long or not UTF-8", s)
	}
	local := norm.NFC.String(strings.ToLower(norm.NFC.String(s[:at])))
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune("\"(),:;<>@[\\]", r)
	}
	if strings.ContainsFunc(local, bad) || strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		return "", fmt.Errorf("%q is no address that one can sign in by: %q can't stand before the @", s, s[:at])
	}
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil || strings.Contains(domain, "..") || strings.HasSuffix(domain, ".") {
		return "", fmt.Errorf("%q is no address: %q is no domain", s, s[at+1:])
	}
	address := local + "@" + strings.ToLower(domain)
	if len(address) > maxAddress {
		return "", fmt.Errorf("%.40q is no address: it is too long", s)
	}
	return address, nil
}

// Untagged is an address without what follows a + in its local part (anna+shop@ is for anna@). It may be the address itself.
func Untagged(address string) string {
	local, domain, ok := strings.Cut(address, "@")
	if i := strings.IndexByte(local, '+'); ok && i > 0 {
		return local[:i] + "@" + domain
	}
	return address
}

// domainOf is what follows the @.
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
