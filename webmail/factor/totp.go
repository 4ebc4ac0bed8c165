package factor

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"restante/webmail/accounts"
)

// What authenticator apps take for granted (RFC 6238 and the otpauth URI): SHA-1, six digits, 30 s.
const (
	totpPeriod = 30 // seconds
	totpSkew   = 1  // steps that a clock may be off either way
	totpDigits = otp.DigitsSix
	seedBytes  = 20 // RFC 4226 4, R6: 160 bits are recommended
)

// seeds are written in base32 without padding, as in otpauth URIs.
var seeds = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewSeed returns a fresh seed for an authenticator app, in base32. Nothing is kept of it until ConfirmTOTP.
func NewSeed() string {
	var raw [seedBytes]byte
	rand.Read(raw[:])
	return seeds.EncodeToString(raw[:])
}

// SeedURI returns what the QR code of a seed holds.
func SeedURI(seed, issuer, account string) string {
	q := url.Values{"secret": {seed}, "issuer": {issuer}}
	// Apps read %20, not all of them "+".
	return "otpauth://totp/" + url.PathEscape(issuer+":"+account) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// TOTP says whether the account has a second step.
func (f *Factors) TOTP(account string) bool {
	r, ok := f.dir.Register(account, accounts.FieldTOTP, "")
	return ok && r.HasSecret()
}

// ConfirmTOTP sets the second step up, once the person has shown by a code that the app has the seed. ErrWrong: the code isn't of the seed.
func (f *Factors) ConfirmTOTP(ctx context.Context, account, seed, code string) error {
	raw, err := seeds.DecodeString(seed)
	if err != nil || len(raw) != seedBytes {
		return ErrWrong
	}
	f.steps.Lock()
	defer f.steps.Unlock()
	now := time.Now()
	step, err := match(seed, code, now, 0)
	if err != nil {
		return err
	}
	return f.dir.Record(ctx, account,
		accounts.Change{Account: account, Field: accounts.FieldTOTP, Secret: raw, Value: map[string]any{"since": now.UTC().Format(time.RFC3339)}},
		accounts.Change{Account: account, Field: fieldTOTPUsed, Value: stepUsed{step}})
}

// VerifyTOTP checks a code and uses it up: the same code, and any older one, is wrong afterwards. ErrWrong also when the account has no second step.
func (f *Factors) VerifyTOTP(ctx context.Context, account, code string) error {
	r, ok := f.dir.Register(account, accounts.FieldTOTP, "")
	if !ok {
		return ErrWrong
	}
	raw, err := f.dir.Reveal(r)
	if err != nil {
		return fmt.Errorf("the second step of %s can't be read: %w", account, err)
	}
	f.steps.Lock()
	defer f.steps.Unlock()
	var last stepUsed
	if r, ok := f.dir.Register(account, fieldTOTPUsed, ""); ok {
		if err := r.Decode(&last); err != nil {
			return fmt.Errorf("the second step of %s can't be read: %w", account, err)
		}
	}
	step, err := match(seeds.EncodeToString(raw), code, time.Now(), last.Step)
	if err != nil {
		return err
	}
	// Another node may have taken it a moment ago.
	err = f.dir.Once(ctx, fmt.Sprintf("totp-%x-%d", handle(account)[:16], step))
	if errors.Is(err, accounts.ErrUsed) {
		return ErrWrong
	}
	if err != nil {
		return fmt.Errorf("whether the code of %s was used can't be known: %w", account, err)
	}
	return f.dir.Record(ctx, account, accounts.Change{Account: account, Field: fieldTOTPUsed, Value: stepUsed{step}})
}

// RemoveTOTP takes the second step away. by is the account or an admin.
func (f *Factors) RemoveTOTP(ctx context.Context, account, by string) error {
	return f.dir.Record(ctx, by, accounts.Change{Account: account, Field: accounts.FieldTOTP})
}

type stepUsed struct {
	Step int64 `json:"step"`
}

// match returns the time step of a code, one after last and within the skew. RFC 6238 5.2: a code counts once.
func match(seed, code string, now time.Time, last int64) (int64, error) {
	code = strings.Join(strings.Fields(code), "")
	here := now.Unix() / totpPeriod
	for step := here - totpSkew; step <= here+totpSkew; step++ {
		want, err := hotp.GenerateCodeCustom(seed, uint64(step), hotp.ValidateOpts{Digits: totpDigits, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, fmt.Errorf("second step: %w", err)
		}
		if step > last && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, nil
		}
	}
	return 0, ErrWrong
}
