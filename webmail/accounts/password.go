package accounts

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Bounds of a password in octets.
const (
	PasswordMin = 8
	PasswordMax = 1024
)

// passwordValue is what the register "password" says beside the hash.
type passwordValue struct {
	Set  string `json:"set"`
	From string `json:"from,omitempty"` // of an import: the start of SHA-256 of the hash that was imported
}

// How a password came about.
const (
	SetByAdmin = "admin"
	SetBySelf  = "self"
	setImport  = "import"
)

// SetPassword gives an account a password; set says how it came about: SetByAdmin, SetBySelf. Errors: ErrNotFound, ErrInvalid, ErrBusy.
func (d *Directory) SetPassword(ctx context.Context, by, address, password, set string) error {
	if _, ok := d.Account(address); !ok {
		return fmt.Errorf("%s: %w", address, ErrNotFound)
	}
	if len(password) < PasswordMin || len(password) > PasswordMax || !utf8.ValidString(password) {
		return fmt.Errorf("%w: a password has %d to %d characters", ErrInvalid, PasswordMin, PasswordMax)
	}
	hash, err := d.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	return d.Record(ctx, by, passwordChange(address, hash, passwordValue{Set: set}))
}

// ForgetPassword takes an account's password away.
func (d *Directory) ForgetPassword(ctx context.Context, by, address string) error {
	return d.Record(ctx, by, Change{Account: address, Field: FieldPassword})
}

func passwordChange(address string, h Hash, v passwordValue) Change {
	return Change{Account: address, Field: FieldPassword, Value: v, Secret: []byte(h)}
}

// VerifyPassword returns nil when the account may sign in and this is its password. A wrong one, no account and no password take the same time
// and give ErrWrong. Other errors: ErrBusy, ctx's. The first good password replaces an imported hash by an argon2id one.
func (d *Directory) VerifyPassword(ctx context.Context, address, password string) error {
	a, ok := d.Account(address)
	r, has := d.Register(address, FieldPassword, "")
	hash := decoy
	if ok && a.Active() && has {
		plain, err := d.Reveal(r)
		if err != nil {
			return fmt.Errorf("password of %s: %w", address, err)
		}
		hash = Hash(plain)
	}
	if len(password) > PasswordMax {
		return ErrWrong
	}
	if err := d.CheckPassword(ctx, hash, password); err != nil {
		return err
	}
	if hash == decoy {
		return ErrWrong
	}
	if !hash.current() {
		d.rehash(ctx, a.Address, r, password)
	}
	return nil
}

// rehash replaces an imported hash. It may fail: the next sign-in tries again.
func (d *Directory) rehash(ctx context.Context, address string, was Register, password string) {
	hash, err := d.HashPassword(ctx, password)
	if err == nil {
		if !d.writing.TryLock() { // an import is under way: nobody waits for it to sign in
			return
		}
		defer d.writing.Unlock()
		now, ok := d.Register(address, FieldPassword, "")
		if !ok || now.id != was.id {
			return // it was changed at this moment
		}
		var v passwordValue
		if err = was.Decode(&v); err == nil {
			err = d.Record(ctx, address, passwordChange(address, hash, v))
		}
	}
	if err != nil && !errors.Is(err, ErrBusy) {
		d.log.Warn("imported password hash not replaced; the next sign-in tries again", "account", address, "err", err)
	}
}
