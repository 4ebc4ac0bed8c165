package secret

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"restante/spool/blob"
	"restante/spool/blob/mem"
)

func keyPath(t *testing.T) string { return filepath.Join(t.TempDir(), "cluster.key") }

func TestFirstNodeMakesTheKey(t *testing.T) {
	store, path := mem.New(), keyPath(t)
	made, fresh, err := Claim(t.Context(), store, path)
	if err != nil || !fresh {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	again, fresh, err := Claim(t.Context(), store, path)
	if err != nil || fresh || again.ID() != made.ID() {
		t.Errorf("at the second start: fresh %v, %v", fresh, err)
	}
	other := keyPath(t)
	if _, _, err := Claim(t.Context(), store, other); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), made.ID()) {
		t.Errorf("a second node without the key: %v", err)
	}
	if err := made.Save(other); err != nil {
		t.Fatal(err)
	}
	if r, _, err := Claim(t.Context(), store, other); err != nil || r.ID() != made.ID() {
		t.Errorf("a second node with it: %v", err)
	}
	wrong := keyPath(t)
	if _, err := Create(wrong); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Claim(t.Context(), store, wrong); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "copy the file") {
		t.Errorf("another key: %v", err)
	}
}

func TestTwoNodesAtOnceMakeOneKey(t *testing.T) {
	for range 20 {
		store := mem.New()
		var wg sync.WaitGroup
		var ids [4]string
		var errs [4]error
		for i := range ids {
			path := keyPath(t)
			wg.Go(func() {
				r, _, err := Claim(t.Context(), store, path)
				errs[i] = err
				if r != nil {
					ids[i] = r.ID()
				}
				if _, left := os.Stat(pending(path)); left == nil {
					t.Error("a pending key is left")
				}
			})
		}
		wg.Wait()
		made := 0
		for i := range ids {
			switch {
			case errs[i] == nil:
				made++
			case !errors.Is(errs[i], ErrNoKey):
				t.Error(errs[i])
			}
		}
		if made != 1 {
			t.Fatalf("%d keys: %v", made, ids)
		}
	}
}

// away is a store whose calls fail as told.
type away struct {
	blob.Store
	get, put error
	lands    bool // Put fails, and writes all the same
}

func (a *away) Get(ctx context.Context, key string, r blob.Range) (rc io.ReadCloser, i blob.Info, err error) {
	if a.get != nil {
		return nil, i, a.get
	}
	return a.Store.Get(ctx, key, r)
}

func (a *away) Put(ctx context.Context, key string, b blob.Body, c blob.Cond) (string, error) {
	if a.put != nil && a.lands {
		if _, err := a.Store.Put(ctx, key, b, c); err != nil {
			return "", err
		}
	}
	if a.put != nil {
		return "", a.put
	}
	return a.Store.Put(ctx, key, b, c)
}

func TestStoreAway(t *testing.T) {
	gone := errors.New("connection refused")
	store, path := &away{Store: mem.New(), get: gone, put: gone}, keyPath(t)
	if _, _, err := Claim(t.Context(), store, path); !errors.Is(err, gone) || errors.Is(err, ErrNoKey) {
		t.Errorf("%v", err)
	}
	store.get = nil
	if _, _, err := Claim(t.Context(), store, path); !errors.Is(err, gone) { // the outcome of the PUT isn't known
		t.Errorf("%v", err)
	}
	kept, err := Open(pending(path))
	if err != nil {
		t.Fatalf("the pending key is gone: %v", err)
	}
	store.lands = true
	r, fresh, err := Claim(t.Context(), store, path)
	if err != nil || !fresh || r.ID() != kept.ID() {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	store.get = gone
	if r, _, err := Claim(t.Context(), store, path); err != nil || r.ID() != kept.ID() {
		t.Errorf("with a key file and the store away: %v", err)
	}
}

func TestKilledBetween(t *testing.T) {
	store, path := mem.New(), keyPath(t)
	ring, err := Create(pending(path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), store, ring.ID()); err != nil { // killed here
		t.Fatal(err)
	}
	if r, _, err := Claim(t.Context(), store, path); err != nil || r.ID() != ring.ID() {
		t.Errorf("%v", err)
	}
	if _, err := Open(path); err != nil {
		t.Error(err)
	}
}
