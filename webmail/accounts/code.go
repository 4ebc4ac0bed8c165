package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"restante/spool"
)

// Codes on paper.
const (
	codesCount = 10 // on a sheet
	saltLength = 16 // octets

	// CodeLetters is the number of letters and digits of a code, of 32 each: 50 bits, so that guessing from very many
	// addresses at once comes to nothing within an outage.
	CodeLetters = 10
)

// alphabet is Crockford's: no I, L, O and U, so that nothing is misread from paper.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// Sheet is a sheet of codes just made. The codes are known to nobody else: they can't be shown again.
type Sheet struct {
	Account Account   `json:"account"`
	ID      string    `json:"id"`
	Made    time.Time `json:"made"`
	Codes   []string  `json:"codes"` // "K7QM-2XNP"
}

// Codes says how an account's sheet stands.
type Codes struct {
	Sheet string    `json:"sheet"`
	Made  time.Time `json:"made"`
	Left  int       `json:"left"`
	Count int       `json:"count"`
}

// sheetValue and sheetSecret are what the register "codes" holds.
type sheetValue struct {
	Sheet string `json:"sheet"`
	Count int    `json:"count"`
}

type sheetSecret struct {
	Salt  []byte   `json:"salt"`
	Codes [][]byte `json:"codes"`
}

// MakeCodes makes a sheet of ten codes for each of the accounts; a sheet that one had before is void from then on.
// Errors: ErrNotFound; with any error none of the sheets is returned, and some of the accounts may have a new one that nobody has seen.
func (d *Directory) MakeCodes(ctx context.Context, by string, addresses ...string) ([]Sheet, error) {
	sheets := make([]Sheet, 0, len(addresses))
	changes := make([]Change, 0, len(addresses))
	for _, address := range addresses {
		a, ok := d.Account(address)
		if !ok {
			return nil, fmt.Errorf("%s: %w", address, ErrNotFound)
		}
		s := Sheet{Account: a, ID: spool.NewID(), Made: time.Now().UTC().Round(0), Codes: make([]string, codesCount)}
		secret := sheetSecret{Salt: make([]byte, saltLength), Codes: make([][]byte, codesCount)}
		_, _ = rand.Read(secret.Salt) // never fails
		for i := range s.Codes {
			s.Codes[i] = newCode()
			secret.Codes[i] = codeSum(secret.Salt, s.Codes[i])
		}
		b, err := json.Marshal(secret)
		if err != nil {
			return nil, fmt.Errorf("codes of %s: %w", address, err)
		}
		sheets = append(sheets, s)
		changes = append(changes, Change{Account: address, Field: FieldCodes, Value: sheetValue{Sheet: s.ID, Count: codesCount}, Secret: b})
	}
	if err := d.Record(ctx, by, changes...); err != nil {
		return nil, err
	}
	return sheets, nil
}

// VoidCodes makes an account's sheet void, for one that was lost.
func (d *Directory) VoidCodes(ctx context.Context, by, address string) error {
	if _, ok := d.Register(address, FieldCodes, ""); !ok {
		return nil
	}
	return d.Record(ctx, by, Change{Account: address, Field: FieldCodes})
}

// Codes says how an account's sheet stands; false when it has none.
func (d *Directory) Codes(address string) (Codes, bool) {
	r, ok := d.Register(address, FieldCodes, "")
	var v sheetValue
	if !ok || r.Decode(&v) != nil {
		return Codes{}, false
	}
	c := Codes{Sheet: v.Sheet, Made: r.Time, Count: v.Count, Left: v.Count}
	for i := range v.Count {
		if _, used := d.Register(address, FieldCodeUsed, usedKey(v.Sheet, i+1)); used {
			c.Left--
		}
	}
	return c, true
}

// UseCode uses up one code of the account's sheet and returns the open outage that it counts in. Case, spaces and hyphens don't matter.
// Errors: ErrWrong, ErrUsed, ErrNoOutage, or that the store can't be reached. How often one may try is the caller's to limit.
func (d *Directory) UseCode(ctx context.Context, address, code string) (outage string, err error) {
	a, ok := d.Account(address)
	r, has := d.Register(address, FieldCodes, "")
	var v sheetValue
	if !ok || !a.Active() || !has || r.Decode(&v) != nil {
		return "", ErrWrong
	}
	plain, err := d.Reveal(r)
	if err != nil {
		return "", fmt.Errorf("codes of %s: %w", address, err)
	}
	var s sheetSecret
	if err := json.Unmarshal(plain, &s); err != nil {
		return "", fmt.Errorf("codes of %s: %w", address, err)
	}
	number, sum := 0, codeSum(s.Salt, code)
	for i, one := range s.Codes {
		if subtle.ConstantTimeCompare(one, sum) == 1 {
			number = i + 1
		}
	}
	if number == 0 {
		return "", ErrWrong
	}
	key := usedKey(v.Sheet, number)
	if _, used := d.Register(address, FieldCodeUsed, key); used {
		return "", ErrUsed
	}
	open := false
	if d.o.Outage != nil {
		outage, open = d.o.Outage(a.Domain())
	}
	if !open {
		return "", ErrNoOutage
	}
	if err := d.claim(ctx, "code-"+v.Sheet+"-"+strconv.Itoa(number)); err != nil {
		return "", err
	}
	if err := d.Record(ctx, address, Change{Account: address, Field: FieldCodeUsed, Key: key, Value: true}); err != nil {
		return "", err
	}
	return outage, nil
}

func usedKey(sheet string, number int) string { return sheet + "/" + strconv.Itoa(number) }

func newCode() string {
	b := make([]byte, CodeLetters)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = alphabet[b[i]%32]
	}
	return string(b[:CodeLetters/2]) + "-" + string(b[CodeLetters/2:])
}

// codeSum is what is kept of a code. A slow hash would add little: the sum stands encrypted in the ledger, and
// who has the cluster key and the store has the mail too.
func codeSum(salt []byte, code string) []byte {
	m := hmac.New(sha256.New, salt)
	m.Write([]byte(normalCode(code)))
	return m.Sum(nil)
}

// normalCode reads a code as people type it.
func normalCode(code string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
		default:
			return -1
		}
		switch r {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		}
		return r
	}, code)
}

// Once returns nil to the first in the cluster who uses what is named, ErrUsed to all others, for ever. Names are of [A-Za-z0-9._-].
func (d *Directory) Once(ctx context.Context, name string) error { return d.claim(ctx, name) }

// claim returns nil to the first in the cluster who uses what is named, else ErrUsed.
func (d *Directory) claim(ctx context.Context, name string) error {
	if d.o.Claim != nil {
		first, err := d.o.Claim(ctx, name)
		if err == nil && !first {
			err = ErrUsed
		}
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims[name] {
		return ErrUsed
	}
	d.claims[name] = true
	return nil
}
