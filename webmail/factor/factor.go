// Package factor keeps what an account proves itself by besides its password: a second step from an authenticator app
// (TOTP, RFC 6238), and the devices that were made ready on a good day, each by a passkey (WebAuthn) or by a key that its
// browser keeps.
//
// All of it stands in the registers of package accounts:
//
//	totp            secret: the seed; value {"since": RFC 3339}
//	totp-used       value {"step": n}: no code of time step n or before counts any more
//	device          key: id of the device; value: its facts and the SHA-256 of its key (type kept); until
//	passkey         key: credential id, base64url; value: its facts and the credential, all of it public; until
//	device-removed  key: id of a device of either kind; value true, for ever: a use that another node records later can't bring it back
//
// A use writes the device's register again, with a later until.
// A device is good for Term after it was made or last used.
package factor

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/webauthn"

	"restante/spool"
	"restante/webmail/accounts"
)

// Limits of this package.
const (
	Term       = 90 * 24 * time.Hour // a device is good for that long after it was made or last used
	MaxDevices = 20                  // of one account
	renewAfter = 24 * time.Hour      // a use is recorded as often as that at most
	maxName    = 60                  // octets of a device's name
)

// Fields of package accounts that only this package uses.
const (
	fieldTOTPUsed = accounts.Field("totp-used")
	fieldRemoved  = accounts.Field("device-removed")
)

// Errors that a person may run into.
var (
	ErrWrong   = errors.New("this is not right")
	ErrTooMany = fmt.Errorf("there are %d devices already: remove one first", MaxDevices)
)

// Factors reads and writes what devices and second steps there are. It is safe for use by several goroutines.
type Factors struct {
	dir   *accounts.Directory
	mu    sync.Mutex
	spent map[string]time.Time // challenges that were answered, until they run out
	steps sync.Mutex           // held from a TOTP code's check to its register
}

// New returns the factors of the directory's accounts.
func New(dir *accounts.Directory) *Factors {
	return &Factors{dir: dir, spent: map[string]time.Time{}}
}

// Kind says what a device proves itself by.
type Kind string

// The kinds.
const (
	Passkey Kind = "passkey" // bound to the device or the person's key chain, unlocked by the person
	Key     Kind = "key"     // kept by one browser as a cookie
)

// Device is one device of an account.
type Device struct {
	ID      string
	Account string
	Kind    Kind
	Name    string // "Firefox on Linux", until the person calls it otherwise
	Site    string // host name that it signs in to; a passkey opens no other
	Made    time.Time
	Used    time.Time // zero: never since
	Until   time.Time
}

// kept is the value of the registers device and passkey.
type kept struct {
	Name       string               `json:"name"`
	Site       string               `json:"site,omitempty"`
	Made       time.Time            `json:"made"`
	Used       time.Time            `json:"used,omitzero"`
	Hash       string               `json:"hash,omitempty"`       // of a key: SHA-256 of the token, hex
	Credential *webauthn.Credential `json:"credential,omitempty"` // of a passkey
}

// Devices returns the account's devices that are good now, the last used or made first.
func (f *Factors) Devices(account string) []Device {
	var list []Device
	for _, field := range []accounts.Field{accounts.FieldDevice, accounts.FieldPasskey} {
		for _, r := range f.dir.Registers(account, field) {
			if d, _, ok := f.device(r); ok {
				list = append(list, d)
			}
		}
	}
	slices.SortFunc(list, func(a, b Device) int {
		return cmp.Or(later(b.Used, b.Made).Compare(later(a.Used, a.Made)), strings.Compare(a.ID, b.ID))
	})
	return list
}

// device reads a register; false when the device was removed or the register can't be read.
func (f *Factors) device(r accounts.Register) (Device, kept, bool) {
	var k kept
	if r.Decode(&k) != nil {
		return Device{}, k, false
	}
	if _, gone := f.dir.Register(r.Account, fieldRemoved, r.Key); gone {
		return Device{}, k, false
	}
	kind := Key
	if r.Field == accounts.FieldPasskey {
		kind = Passkey
	}
	return Device{ID: r.Key, Account: r.Account, Kind: kind, Name: k.Name, Site: k.Site, Made: k.Made, Used: k.Used, Until: r.Until}, k, true
}

// Device returns one device of the account that is good now; false when there is none.
func (f *Factors) Device(account, id string) (Device, bool) {
	for _, d := range f.Devices(account) {
		if d.ID == id {
			return d, true
		}
	}
	return Device{}, false
}

// Remove takes a device away; nobody signs in by it any more, on any node. by is who wants it.
func (f *Factors) Remove(ctx context.Context, account, id, by string) error {
	d, ok := f.Device(account, id)
	if !ok {
		return ErrWrong
	}
	field := accounts.FieldDevice
	if d.Kind == Passkey {
		field = accounts.FieldPasskey
	}
	return f.dir.Record(ctx, by,
		accounts.Change{Account: account, Field: fieldRemoved, Key: id, Value: true},
		accounts.Change{Account: account, Field: field, Key: id})
}

// AddKey makes a device that signs in by a key, and returns the token that its browser is to keep.
func (f *Factors) AddKey(ctx context.Context, account, name, site string) (token string, d Device, err error) {
	if len(f.Devices(account)) >= MaxDevices {
		return "", Device{}, ErrTooMany
	}
	var raw [32]byte
	rand.Read(raw[:])
	id, key := spool.NewID(), base64.RawURLEncoding.EncodeToString(raw[:])
	now := time.Now().UTC()
	k := kept{Name: nameOf(name), Site: site, Made: now, Hash: hash(key)}
	c := accounts.Change{Account: account, Field: accounts.FieldDevice, Key: id, Value: k, Until: now.Add(Term)}
	if err := f.dir.Record(ctx, account, c); err != nil {
		return "", Device{}, err
	}
	return id + "." + key, Device{ID: id, Account: account, Kind: Key, Name: k.Name, Site: site, Made: now, Until: c.Until}, nil
}

// FindKey returns the device of a token; false when it is unknown, removed, or its term is over.
func (f *Factors) FindKey(token string) (Device, bool) {
	id, key, _ := strings.Cut(token, ".")
	r, ok := f.dir.Find(accounts.FieldDevice, id)
	if !ok {
		return Device{}, false
	}
	d, k, ok := f.device(r)
	if !ok || subtle.ConstantTimeCompare([]byte(k.Hash), []byte(hash(key))) != 1 {
		return Device{}, false
	}
	return d, true
}

// Used renews a device's term: somebody has signed in by it. It is recorded lazily, once a day at most.
func (f *Factors) Used(d Device) error {
	field := accounts.FieldDevice
	if d.Kind == Passkey {
		field = accounts.FieldPasskey
	}
	r, ok := f.dir.Register(d.Account, field, d.ID)
	if !ok {
		return ErrWrong
	}
	_, k, ok := f.device(r)
	if !ok {
		return ErrWrong
	}
	return f.renew(r, k)
}

func (f *Factors) renew(r accounts.Register, k kept) error {
	now := time.Now().UTC()
	if now.Sub(k.Used) < renewAfter {
		return nil
	}
	k.Used = now
	return f.dir.Note(r.Account, accounts.Change{Account: r.Account, Field: r.Field, Key: r.Key, Value: k, Until: now.Add(Term)})
}

// nameOf makes a device's name fit.
func nameOf(name string) string {
	name = strings.Join(strings.Fields(spool.Printable(name)), " ")
	for len(name) > maxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return name
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
