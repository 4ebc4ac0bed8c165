package secret

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// alphabet is Crockford's base 32: no I, L, O and U, which are taken for others when read from paper.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	keyCheck = 3 // octets of SHA-256 behind the key: 35 octets are 56 digits, in 14 groups of four
	group    = 4
)

// Text is the key as people read and type it: 14 groups of four digits, the last ones a checksum.
func (k Key) Text() string {
	sum := sha256.Sum256(k[:])
	digits := Base32(append(k[:], sum[:keyCheck]...))
	var b strings.Builder
	for i := 0; i < len(digits); i += group {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(digits[i:min(i+group, len(digits))])
	}
	return b.String()
}

// ParseKey reads a key as Text writes it. Case, spaces and hyphens don't matter, O is read as 0, I and L as 1.
func ParseKey(text string) (Key, error) {
	var k Key
	raw, err := FromBase32(text)
	if err != nil {
		return k, fmt.Errorf("no cluster key: %w", err)
	}
	if len(raw) != len(k)+keyCheck {
		return k, fmt.Errorf("no cluster key: it has 56 digits in 14 groups of four, not %d", len(strings.Map(digit, text)))
	}
	copy(k[:], raw)
	if sum := sha256.Sum256(k[:]); string(sum[:keyCheck]) != string(raw[len(k):]) {
		return Key{}, errors.New("no cluster key: its checksum is wrong, so something in it was mistyped")
	}
	return k, nil
}

// Base32 writes octets in Crockford's base 32, without padding.
func Base32(raw []byte) string {
	var b strings.Builder
	var acc uint
	bits := 0
	for _, c := range raw {
		acc, bits = acc<<8|uint(c), bits+8
		for bits >= 5 {
			bits -= 5
			b.WriteByte(alphabet[acc>>bits&31])
		}
		acc &= 1<<bits - 1
	}
	if bits > 0 {
		b.WriteByte(alphabet[acc<<(5-bits)&31])
	}
	return b.String()
}

// FromBase32 is the reverse of Base32, lenient about what people do to it.
func FromBase32(text string) ([]byte, error) {
	var raw []byte
	var acc uint
	bits := 0
	for _, r := range strings.Map(digit, text) {
		v := strings.IndexRune(alphabet, r)
		if v < 0 {
			return nil, fmt.Errorf("%q is no digit of it", r)
		}
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			raw = append(raw, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	if acc != 0 {
		return nil, errors.New("its last digit is wrong")
	}
	return raw, nil
}

// digit is the digit that was meant, -1 for what only separates.
func digit(r rune) rune {
	switch {
	case r == '-' || r == ' ' || r == '\t' || r == '\u00a0':
		return -1
	case r == 'o' || r == 'O':
		return '0'
	case r == 'i' || r == 'I' || r == 'l' || r == 'L':
		return '1'
	case r >= 'a' && r <= 'z':
		return r - 'a' + 'A'
	}
	return r
}
