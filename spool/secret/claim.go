package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"restante/spool/blob"
)

// ObjectKey is the object that says which cluster key belongs to a store: {"key":"<id>","created":...}. It is put if
// absent by the first node that has a key and never changed, so that two nodes can't make a key each.
const ObjectKey = "key.json"

// claimTime bounds each call to the store.
const claimTime = 30 * time.Second

type claim struct {
	Key     string    `json:"key"`
	Created time.Time `json:"created"`
}

// Claim returns the keyring of the cluster whose store it is: the one in the key file, or, in a store that has none yet, a
// fresh one, which is in the key file before the store names it. fresh says that it was made by this call. Errors:
// ErrNoKey when the store has a key that isn't here, ErrWrongKey when the file holds another; others come from the store and may
// pass. While the store doesn't answer a key file is believed.
func Claim(ctx context.Context, store blob.Store, path string) (ring *Keyring, fresh bool, err error) {
	ring, err = Open(path)
	if err != nil && !errors.Is(err, ErrNoKey) {
		return nil, false, err
	}
	id, named := claimed(ctx, store)
	switch {
	case errors.Is(named, blob.ErrNotExist) && ring == nil:
		return makeKey(ctx, store, path)
	case errors.Is(named, blob.ErrNotExist):
		id, named = put(ctx, store, ring.ID())
	}
	switch {
	case named != nil && ring != nil:
		return ring, false, nil
	case named != nil:
		return nil, false, fmt.Errorf("which cluster key the store has isn't known yet: %w", named)
	case ring == nil:
		return finish(path, id)
	case !ring.has(id):
		return nil, false, fmt.Errorf("%w: the store has key %s, %s holds %s; copy the file from another node, or run `restante recover` with the recovery card", ErrWrongKey, id, path, ring.ID())
	}
	return ring, false, nil
}

func (r *Keyring) has(id string) bool {
	for _, k := range r.keys {
		if k.id == id {
			return true
		}
	}
	return false
}

// pending is where a fresh key waits until the store names it.
func pending(path string) string { return path + ".new" }

// makeKey makes a key for a store that has none. One that an earlier try has left is used again: the store may name it by now.
func makeKey(ctx context.Context, store blob.Store, path string) (*Keyring, bool, error) {
	ring, err := Open(pending(path))
	if errors.Is(err, ErrNoKey) {
		ring, err = Create(pending(path))
	}
	if err != nil {
		return nil, false, err
	}
	id, err := put(ctx, store, ring.ID())
	if err != nil {
		return nil, false, fmt.Errorf("the cluster key isn't settled yet: %w", err)
	}
	return finish(path, id)
}

// finish puts a pending key in its place if it is the one that the store names.
func finish(path, id string) (*Keyring, bool, error) {
	ring, err := Open(pending(path))
	if err != nil || !ring.has(id) {
		if err == nil { // another node was first: this one was never used
			err = os.Remove(pending(path))
		} else if errors.Is(err, ErrNoKey) {
			err = nil
		}
		return nil, false, errors.Join(fmt.Errorf("%w at %s, but the store has key %s: copy the file from another node, or run `restante recover` with the recovery card", ErrNoKey, path, id), err)
	}
	if err := os.Link(pending(path), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("can't write the cluster key: %w", err)
	}
	if err := os.Remove(pending(path)); err != nil {
		return nil, false, fmt.Errorf("can't write the cluster key: %w", err)
	}
	ring, err = Open(path)
	return ring, err == nil, err
}

// put names a key in the store unless it has one, and returns the one that it then has.
func put(ctx context.Context, store blob.Store, id string) (string, error) {
	text, err := json.Marshal(claim{id, time.Now().UTC()})
	if err != nil {
		return "", err
	}
	short, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	_, err = store.Put(short, ObjectKey, bytes.NewReader(append(text, '\n')), blob.Cond{Absent: true})
	there, read := claimed(ctx, store) // what is there decides, whatever Put has said
	if read != nil {
		return "", errors.Join(err, read)
	}
	return there, nil
}

// claimed reads which key the store names.
func claimed(ctx context.Context, store blob.Store) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	body, _, err := store.Get(ctx, ObjectKey, blob.Range{})
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(body, maxKeyFile))
	if err = errors.Join(err, body.Close()); err != nil {
		return "", err
	}
	var c claim
	if err := json.Unmarshal(text, &c); err != nil || c.Key == "" {
		return "", fmt.Errorf("%s in the store can't be read: restore it from a backup of the store", ObjectKey)
	}
	return c.Key, nil
}
