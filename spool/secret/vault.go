package secret

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"restante/spool"
)

// Ledger is where a Vault writes.
type Ledger interface {
	Record(ctx context.Context, evs ...spool.Event) error
}

// Shelf is where a Vault reads: the index, which holds the last SecretKept event of each name.
type Shelf interface {
	Secret(ctx context.Context, name string) (spool.Event, bool, error)
	Secrets(ctx context.Context, prefix string) ([]spool.Event, error) // in the order of their names
}

// valueKey is the key of SecretKept's Data; without it the secret is forgotten.
const valueKey = "value"

// Vault keeps named secrets in the ledger, encrypted, so that all nodes of a cluster have them and a bare machine gets them
// back. The last write of a name wins. What this Vault has written it also reads, before the index knows.
type Vault struct {
	ring   *Keyring
	ledger Ledger
	shelf  Shelf

	mu  sync.Mutex
	own map[string]spool.Event // by name: written by us and not yet seen in the index
}

// NewVault returns a Vault.
func NewVault(ring *Keyring, ledger Ledger, shelf Shelf) *Vault {
	return &Vault{ring: ring, ledger: ledger, shelf: shelf, own: map[string]spool.Event{}}
}

// Keep encrypts and records a secret and returns when it is durable. by says who did it.
func (v *Vault) Keep(ctx context.Context, name, by string, plain []byte) error {
	text, err := v.ring.Encrypt(name, plain)
	if err != nil {
		return err
	}
	return v.record(ctx, name, spool.Event{ID: spool.NewID(), Type: spool.SecretKept, By: by, Address: name, Data: map[string]any{valueKey: text}})
}

// Forget records that a secret is gone. Its encrypted text stays in the ledger.
func (v *Vault) Forget(ctx context.Context, name, by string) error {
	return v.record(ctx, name, spool.Event{ID: spool.NewID(), Type: spool.SecretKept, By: by, Address: name})
}

func (v *Vault) record(ctx context.Context, name string, ev spool.Event) error {
	if err := v.ledger.Record(ctx, ev); err != nil {
		return fmt.Errorf("%s isn't kept: %w", name, err)
	}
	ev.Time = time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.own[name] = ev
	return nil
}

// Get returns a secret and when it was kept. fs.ErrNotExist when there is none, ErrWrongKey and ErrDamaged as Decrypt.
func (v *Vault) Get(ctx context.Context, name string) ([]byte, time.Time, error) {
	ev, ok, err := v.shelf.Secret(ctx, name)
	if err != nil {
		return nil, time.Time{}, err
	}
	if own, mine := v.newer(name, ev, ok); mine {
		ev, ok = own, true
	}
	text, kept := ev.Data[valueKey].(string)
	if !ok || !kept {
		return nil, time.Time{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	plain, err := v.ring.Decrypt(name, text)
	return plain, ev.Time, err
}

// newer returns what we have written ourselves, unless the index knows it or something later.
func (v *Vault) newer(name string, there spool.Event, ok bool) (spool.Event, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	own, mine := v.own[name]
	if mine && ok && (there.ID == own.ID || there.Time.After(own.Time)) {
		delete(v.own, name)
		return spool.Event{}, false
	}
	return own, mine
}

// Names lists the secrets whose names begin with prefix, in order.
func (v *Vault) Names(ctx context.Context, prefix string) ([]string, error) {
	evs, err := v.shelf.Secrets(ctx, prefix)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, ev := range evs {
		there[ev.Address] = ev.Data[valueKey] != nil
		if own, mine := v.newer(ev.Address, ev, true); mine {
			there[ev.Address] = own.Data[valueKey] != nil
		}
	}
	v.mu.Lock()
	for name, own := range v.own {
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix {
			there[name] = own.Data[valueKey] != nil
		}
	}
	v.mu.Unlock()
	var names []string
	for name, kept := range there {
		if kept {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Value returns the encrypted text of a SecretKept event, "" when it was forgotten.
func Value(ev spool.Event) string {
	text, _ := ev.Data[valueKey].(string)
	return text
}
