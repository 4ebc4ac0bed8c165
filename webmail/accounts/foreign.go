package accounts

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// What an imported hash may cost; a dearer one is refused at import.
const (
	foreignMemory = 256 << 10 // KiB, argon2id
	foreignTime   = 16        // passes, argon2id
	foreignBcrypt = 15        // 2^n, bcrypt
	foreignRounds = 1_000_000 // SHA-512 crypt
)

// errScheme: the hash is of no scheme that is known.
var errScheme = errors.New("known are ARGON2ID, BLF-CRYPT (bcrypt), SHA512-CRYPT, SSHA and apr1")

// ParseHash reads a hash as Dovecot ("{BLF-CRYPT}$2y$...") and htpasswd ("$apr1$...", "{SSHA}...") write it.
func ParseHash(s string) (Hash, error) {
	s = strings.TrimSpace(s)
	if scheme, rest, ok := strings.Cut(strings.TrimPrefix(s, "{"), "}"); ok && strings.HasPrefix(s, "{") {
		name, form, _ := strings.Cut(strings.ToUpper(scheme), ".")
		switch name {
		case "ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "CRYPT", "APR1", "APR-MD5":
			s = rest
		case "SSHA":
			return parseSSHA(rest, form)
		default:
			return "", fmt.Errorf("passwords by {%.20s} can't be taken over: %w", scheme, errScheme)
		}
	}
	if strings.HasPrefix(s, "$apr1$") {
		if salt, sum, ok := strings.Cut(s[len("$apr1$"):], "$"); !ok || len(salt) > 8 || len(sum) != 22 {
			return "", errors.New("the apr1 hash is damaged")
		}
		return Hash(s), nil
	}
	if _, err := decodeForeign(s); err != nil {
		return "", err
	}
	return Hash(s), nil
}

// parseSSHA reads what follows {SSHA}: base64, or hexadecimal, of a SHA-1 and its salt.
func parseSSHA(text, form string) (Hash, error) {
	var raw []byte
	var err error
	switch form {
	case "", "B64", "BASE64":
		raw, err = base64.StdEncoding.DecodeString(text)
	case "HEX":
		raw, err = hex.DecodeString(text)
	default:
		return "", fmt.Errorf("{SSHA.%s} is not known", form)
	}
	if err != nil || len(raw) <= sha1.Size || len(raw) > 128 {
		return "", errors.New("the SSHA hash is damaged")
	}
	return Hash("{SSHA}" + base64.StdEncoding.EncodeToString(raw)), nil
}

// decodeForeign reads a hash in modular crypt format, within the limits on its cost.
func decodeForeign(s string) (algorithm.Digest, error) {
	if err := affordable(s); err != nil {
		return nil, err
	}
	var decode algorithm.DecodeFunc
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		decode = argon2.DecodeVariant(argon2.VariantID)
	case strings.HasPrefix(s, "$2y$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2a$"):
		decode = bcrypt.DecodeVariant(bcrypt.VariantStandard)
	case strings.HasPrefix(s, "$6$"):
		decode = shacrypt.DecodeVariant(shacrypt.VariantSHA512)
	default:
		return nil, fmt.Errorf("the hash is of no scheme that is known: %w", errScheme)
	}
	d, err := decode(s)
	if err != nil {
		return nil, fmt.Errorf("the hash is damaged: %w", err)
	}
	return d, nil
}

// affordable refuses hashes that would cost too much to verify.
func affordable(s string) error {
	parts := strings.Split(s, "$")
	for i, part := range parts {
		for option := range strings.SplitSeq(part, ",") {
			name, value, ok := strings.Cut(option, "=")
			if !ok || i > 3 {
				continue
			}
			n, err := strconv.Atoi(value)
			limit := map[string]int{"m": foreignMemory, "t": foreignTime, "p": 64, "rounds": foreignRounds}[name]
			if limit > 0 && (err != nil || n > limit || n < 1) {
				return fmt.Errorf("the hash costs too much to verify: %s is over %d", option, limit)
			}
		}
	}
	if strings.HasPrefix(s, "$2") && len(parts) > 2 {
		if n, err := strconv.Atoi(parts[2]); err != nil || n > foreignBcrypt {
			return fmt.Errorf("the hash costs too much to verify: bcrypt cost %.5q is over %d", parts[2], foreignBcrypt)
		}
	}
	return nil
}

func fitsForeign(h, password string) (bool, error) {
	switch {
	case strings.HasPrefix(h, "{SSHA}"):
		raw, err := base64.StdEncoding.DecodeString(h[len("{SSHA}"):])
		if err != nil || len(raw) < sha1.Size {
			return false, errors.New("the SSHA hash is damaged")
		}
		sum := sha1.Sum(append([]byte(password), raw[sha1.Size:]...))
		return subtle.ConstantTimeCompare(sum[:], raw[:sha1.Size]) == 1, nil
	case strings.HasPrefix(h, "$apr1$"):
		salt, _, _ := strings.Cut(h[len("$apr1$"):], "$")
		return subtle.ConstantTimeCompare([]byte(apr1(password, salt)), []byte(h)) == 1, nil
	}
	d, err := decodeForeign(h)
	if err != nil {
		return false, err
	}
	return d.MatchAdvanced(password)
}

// apr1 is Apache's variant of MD5 crypt, as apr_md5_encode makes it.
func apr1(password, salt string) string {
	const magic = "$apr1$"
	inner := md5.Sum([]byte(password + salt + password))
	var b bytes.Buffer
	b.WriteString(password + magic + salt)
	for n := len(password); n > 0; n -= md5.Size {
		b.Write(inner[:min(n, md5.Size)])
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			b.WriteByte(0)
		} else {
			b.WriteByte(password[0])
		}
	}
	sum := md5.Sum(b.Bytes())
	for i := range 1000 {
		b.Reset()
		first, last := password, string(sum[:])
		if i%2 == 0 {
			first, last = last, first
		}
		b.WriteString(first)
		if i%3 != 0 {
			b.WriteString(salt)
		}
		if i%7 != 0 {
			b.WriteString(password)
		}
		b.WriteString(last)
		sum = md5.Sum(b.Bytes())
	}
	const digits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := []byte(magic + salt + "$")
	put := func(v uint32, n int) {
		for range n {
			out = append(out, digits[v&63])
			v >>= 6
		}
	}
	for _, i := range [][3]int{{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}} {
		put(uint32(sum[i[0]])<<16|uint32(sum[i[1]])<<8|uint32(sum[i[2]]), 4)
	}
	put(uint32(sum[11]), 2)
	return string(out)
}
