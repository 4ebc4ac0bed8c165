package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"restante/spool/secret"
)

// keyAgain is the pause after the cluster key could not be found.
const keyAgain = 10 * time.Second

// keys is the cluster key, as soon as it is known: a node takes and keeps mail without it, and a store that is down at the start
// doesn't say whose key it has.
type keys struct {
	ring  atomic.Pointer[secret.Keyring]
	known chan struct{} // closed when ring is set

	mu  sync.Mutex
	why error // not yet
}

func newKeys() *keys {
	return &keys{known: make(chan struct{}), why: errors.New("the cluster key is still being looked for")}
}

// Encrypt is the keyring's.
func (k *keys) Encrypt(purpose string, plain []byte) (string, error) {
	r, err := k.get()
	if err != nil {
		return "", err
	}
	return r.Encrypt(purpose, plain)
}

// Decrypt is the keyring's.
func (k *keys) Decrypt(purpose, text string) ([]byte, error) {
	r, err := k.get()
	if err != nil {
		return nil, err
	}
	return r.Decrypt(purpose, text)
}

// get returns the keyring, or why there is none.
func (k *keys) get() (*secret.Keyring, error) {
	if r := k.ring.Load(); r != nil {
		return r, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return nil, k.why
}

// wait returns the keyring once there is one.
func (k *keys) wait(ctx context.Context) (*secret.Keyring, error) {
	select {
	case <-k.known:
		return k.ring.Load(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// find looks for the key until it is there. A wrong one, or none where there should be one, may be mended while we run.
func (a *App) findKey(ctx context.Context) error {
	path := a.cfg.Load().Secrets.KeyFile
	said := ""
	for {
		ring, fresh, err := secret.Claim(ctx, a.store, path)
		if err == nil {
			a.keys.ring.Store(ring)
			close(a.keys.known)
			if fresh {
				card := "restante recovery-card"
				if a.cfg.Load().Dev {
					card += " --dev"
				}
				a.log.Info("made the cluster key; print it with `"+card+"` and keep that in a safe place", "file", path, "key", ring.ID())
			}
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		a.keys.mu.Lock()
		a.keys.why = err
		a.keys.mu.Unlock()
		if text := err.Error(); text != said { // said once, not every ten seconds
			said = text
			a.log.Error("there is no cluster key: mail is taken and kept, but nobody can sign in or send", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(keyAgain):
		}
	}
}

// keyTrouble says what is wrong with the key, "" when nothing is.
func (a *App) keyTrouble() string {
	_, err := a.keys.get()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("nobody can sign in to the webmail or send from it: %v", err)
}
