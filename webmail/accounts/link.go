package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// What a link is for.
const (
	LinkSignIn   = "sign-in"  // given by an admin: it signs in
	LinkPractice = "practice" // sent by mail on a good day: it enrols a device
)

// Bounds of the time of a link.
const (
	LinkDefault = 24 * time.Hour
	LinkMax     = 31 * 24 * time.Hour
)

// tokenLength is the octets of a link's token: 24 letters and digits, short enough for an SMS.
const tokenLength = 15

// Link is a one-time link. Its URL is https://<host>/signin/link/<token>.
type Link struct {
	Account string    `json:"account"`
	ID      string    `json:"id"`
	Purpose string    `json:"purpose"`
	Token   string    `json:"token,omitempty"` // of one just made; it is kept nowhere
	Until   time.Time `json:"until"`
	By      string    `json:"by,omitempty"`
}

// linkValue is what the register "link" holds.
type linkValue struct {
	Hash    string `json:"hash"`
	Purpose string `json:"purpose"`
}

// tokens is how tokens are written: lower-case letters and digits, so that no mail or SMS program breaks the link.
var tokens = base32.StdEncoding.WithPadding(base32.NoPadding)

// MakeLinks makes one link for each account, good for the duration (0: LinkDefault). Errors: ErrNotFound, ErrInvalid.
func (d *Directory) MakeLinks(ctx context.Context, by, purpose string, good time.Duration, addresses ...string) ([]Link, error) {
	if good == 0 {
		good = LinkDefault
	}
	if good < 0 || good > LinkMax {
		return nil, fmt.Errorf("%w: a link is good for at most %d days", ErrInvalid, LinkMax/(24*time.Hour))
	}
	var links []Link
	var changes []Change
	until := time.Now().Add(good).UTC().Truncate(time.Second)
	for _, address := range addresses {
		a, ok := d.Account(address)
		if !ok {
			return nil, fmt.Errorf("%s: %w", address, ErrNotFound)
		}
		if a.Disabled {
			return nil, fmt.Errorf("%w: %s is disabled", ErrInvalid, address)
		}
		b := make([]byte, tokenLength)
		_, _ = rand.Read(b) // never fails
		token := strings.ToLower(tokens.EncodeToString(b))
		id, hash := linkNames(token)
		links = append(links, Link{Account: address, ID: id, Purpose: purpose, Token: token, Until: until, By: by})
		changes = append(changes, Change{Account: address, Field: FieldLink, Key: id, Value: linkValue{Hash: hash, Purpose: purpose}, Until: until})
	}
	if err := d.Record(ctx, by, changes...); err != nil {
		return nil, err
	}
	return links, nil
}

// Link says whose link a token is, without using it up. Errors: ErrWrong, ErrUsed, ErrExpired.
func (d *Directory) Link(token string) (Link, error) {
	id, hash := linkNames(token)
	d.mu.RLock()
	account := d.where[ref{FieldLink, id}]
	var r Register
	if p := d.people[account]; p != nil {
		r = p.registers[FieldLink][id]
	}
	d.mu.RUnlock()
	var v linkValue
	if r.Decode(&v) != nil || subtle.ConstantTimeCompare([]byte(v.Hash), []byte(hash)) != 1 {
		return Link{}, ErrWrong
	}
	if a, ok := d.Account(account); !ok || !a.Active() {
		return Link{}, ErrWrong
	}
	link := Link{Account: account, ID: id, Purpose: v.Purpose, Until: r.Until, By: r.By}
	if _, used := d.Register(account, FieldLinkUsed, id); used {
		return link, ErrUsed
	}
	if r.over(time.Now()) {
		return link, ErrExpired
	}
	return link, nil
}

// UseLink uses up a link; only a POST may do that, since mail programs fetch links to preview them. Errors: those of Link,
// or that the store can't be reached.
func (d *Directory) UseLink(ctx context.Context, token string) (Link, error) {
	link, err := d.Link(token)
	if err != nil {
		return link, err
	}
	if err := d.claim(ctx, "link-"+link.ID); err != nil {
		return link, err
	}
	return link, d.Record(ctx, link.Account, Change{Account: link.Account, Field: FieldLinkUsed, Key: link.ID, Value: true})
}

// Links returns an account's links that can still be used.
func (d *Directory) Links(address string) []Link {
	var list []Link
	for _, r := range d.Registers(address, FieldLink) {
		var v linkValue
		if _, used := d.Register(address, FieldLinkUsed, r.Key); used || r.Decode(&v) != nil {
			continue
		}
		list = append(list, Link{Account: address, ID: r.Key, Purpose: v.Purpose, Until: r.Until, By: r.By})
	}
	return list
}

// VoidLinks makes all links of an account void.
func (d *Directory) VoidLinks(ctx context.Context, by, address string) error {
	var changes []Change
	for _, l := range d.Links(address) {
		changes = append(changes, Change{Account: address, Field: FieldLink, Key: l.ID})
	}
	return d.Record(ctx, by, changes...)
}

// linkNames are id and hash of a token, neither of which leads back to it.
func linkNames(token string) (id, hash string) {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(token))))
	hash = hex.EncodeToString(sum[:])
	return hash[:16], hash
}
