// Package mem is a blob.Store in memory, for tests and for looking around: everything is gone with the process.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"restante/spool/blob"
)

// Store is a blob.Store in memory. It starts no goroutines and waits for nothing, so that it can be used
// inside a synctest bubble.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	keys    []string // sorted
	writes  int64    // makes ETags
}

type object struct {
	data     []byte // never changed in place
	etag     string
	modified time.Time
}

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]object{}} }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	if err := blob.CheckPut(ctx, key, cond); err != nil {
		return "", err
	}
	data := make([]byte, body.Size())
	if n, err := body.ReadAt(data, 0); n < len(data) {
		return "", fmt.Errorf("%s: body ended after %d of %d octets: %w: %w", key, n, len(data), err, blob.ErrNotWritten)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return "", fmt.Errorf("%s: %w: %w", key, err, blob.ErrNotWritten)
	}
	old, exists := s.objects[key]
	if cond.Absent && exists || !cond.Absent && old.etag != cond.Match {
		return "", fmt.Errorf("%s: %w", key, blob.ErrPrecondition)
	}
	if !exists {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	s.writes++
	o := object{data: data, etag: "m" + strconv.FormatInt(s.writes, 10), modified: time.Now()}
	s.objects[key] = o
	return o.etag, nil
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := blob.CheckGet(ctx, key, r); err != nil {
		return nil, blob.Info{}, err
	}
	s.mu.Lock()
	o, ok := s.objects[key]
	s.mu.Unlock()
	if !ok {
		return nil, blob.Info{}, fmt.Errorf("%s: %w", key, blob.ErrNotExist)
	}
	from, to, err := r.Resolve(int64(len(o.data)))
	if err != nil {
		return nil, blob.Info{}, fmt.Errorf("%s: %w", key, err)
	}
	return io.NopCloser(bytes.NewReader(o.data[from:to])), o.info(key), nil
}

func (o object) info(key string) blob.Info {
	return blob.Info{Key: key, Size: int64(len(o.data)), ETag: o.etag, Modified: o.modified}
}

// next returns the first key after `after` (or equal to it, when inclusive) that begins with prefix.
func (s *Store) next(prefix, after string, inclusive bool) (string, object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearch(s.keys, max(prefix, after))
	if found && !inclusive && s.keys[i] == after {
		i++
	}
	if i == len(s.keys) || !strings.HasPrefix(s.keys[i], prefix) {
		return "", object{}, false
	}
	return s.keys[i], s.objects[s.keys[i]], true
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := blob.CheckList(ctx, prefix, after); err != nil {
			yield(blob.Info{}, err)
			return
		}
		for {
			key, o, ok := s.next(prefix, after, false)
			if !ok {
				return
			}
			if err := context.Cause(ctx); err != nil {
				yield(blob.Info{}, err)
				return
			}
			if !yield(o.info(key), nil) {
				return
			}
			after = key
		}
	}
}

// Prefixes implements blob.Store.
func (s *Store) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := blob.CheckPrefix(ctx, prefix); err != nil {
			yield("", err)
			return
		}
		from := prefix
		for {
			key, _, ok := s.next(prefix, from, true)
			if !ok {
				return
			}
			segment, _, folder := strings.Cut(key[len(prefix):], "/")
			if !folder {
				from = key + "\x00"
				continue
			}
			if err := context.Cause(ctx); err != nil {
				yield("", err)
				return
			}
			if !yield(segment, nil) {
				return
			}
			from = prefix + segment + "0" // the octet after "/"
		}
	}
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[key]; ok {
		delete(s.objects, key)
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Delete(s.keys, i, i+1)
	}
	return nil
}

// Free implements blob.Spacer: there is always room.
func (s *Store) Free(context.Context) (free, total int64, err error) {
	return math.MaxInt64, math.MaxInt64, nil
}

// String implements blob.Store.
func (s *Store) String() string { return "mem:" }
