package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// Hash is a password's hash as it is kept: "$argon2id$v=19$m=...,t=...,p=...$salt$hash" (RFC 9106), or, from an import,
// "$2y$..." (bcrypt), "$6$..." (SHA-512 crypt), "$apr1$..." (Apache), "{SSHA}..." (RFC 2307 with salt).
type Hash string

// The cost of our own hashes: OWASP's first choice for argon2id, 19 MiB and about 30 ms on one core.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashLength  = 32
)

// hashCost is how our own hashes begin.
const hashCost = "$argon2id$v=19$m=19456,t=2,p=1$"

// Limits of the computing of hashes. In sum they take 4 x 19 MiB for our own, and foreignMemory for one imported hash at a time.
const (
	hashesAtOnce = 4
	hashWait     = 5 * time.Second
)

// decoy is compared where there is nothing to compare, so that it takes as long. No password fits it.
const decoy = Hash(hashCost + "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")

// hashing bounds what is computed at a time.
type hashing struct {
	own     chan struct{}
	foreign chan struct{}
}

func newHashing() *hashing {
	return &hashing{own: make(chan struct{}, hashesAtOnce), foreign: make(chan struct{}, 1)}
}

// take waits for a place; free gives it back.
func (h *hashing) take(ctx context.Context, own bool) (free func(), err error) {
	places := h.foreign
	if own {
		places = h.own
	}
	t := time.NewTimer(hashWait)
	defer t.Stop()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-t.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// current: it is what HashPassword makes.
func (h Hash) current() bool { return strings.HasPrefix(string(h), hashCost) }

// HashPassword makes a hash, within the limits on how many are made at a time. Errors: ErrBusy, ctx's.
func (d *Directory) HashPassword(ctx context.Context, password string) (Hash, error) {
	free, err := d.hashes.take(ctx, true)
	if err != nil {
		return "", err
	}
	defer free()
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails
	return ownHash(password, salt), nil
}

func ownHash(password string, salt []byte) Hash {
	key := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashLength)
	b := base64.RawStdEncoding
	return Hash(hashCost + b.EncodeToString(salt) + "$" + b.EncodeToString(key))
}

// CheckPassword returns nil when the password fits the hash, else ErrWrong, or ErrBusy or ctx's error when nothing was checked.
func (d *Directory) CheckPassword(ctx context.Context, h Hash, password string) error {
	free, err := d.hashes.take(ctx, h.current())
	if err != nil {
		return err
	}
	defer free()
	ok, err := h.fits(password)
	if err != nil {
		return err
	}
	if !ok {
		return ErrWrong
	}
	return nil
}

func (h Hash) fits(password string) (bool, error) {
	if !h.current() {
		return fitsForeign(string(h), password)
	}
	salt, _, ok := strings.Cut(string(h[len(hashCost):]), "$")
	raw, err := base64.RawStdEncoding.DecodeString(salt)
	if !ok || err != nil {
		return false, fmt.Errorf("the hash %.12s... is damaged", string(h))
	}
	return subtle.ConstantTimeCompare([]byte(ownHash(password, raw)), []byte(h)) == 1, nil
}
