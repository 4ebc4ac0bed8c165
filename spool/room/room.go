// Package room tells what room a disk has, and keeps some for what must be written even when it is full.
package room

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	// Size is how large a reserve is at most, in octets.
	Size = 4 << 20
	// Block is what its size is a multiple of. So much is given back beside what was asked for.
	Block = 64 << 10
	// share is the part of the disk that it is at most, and the part of what is free by which it grows at most.
	share = 8
)

// Steps are called with each change of the file, to do it or, in tests, to let it fail. nil: it is done.
type Steps struct {
	Grow, Shrink func(path string, do func() error) error
}

// Reserve is a file whose only use is its size: room of which parts are given back as they are needed. It grows again when there
// is room, from whatever a crash left of it.
type Reserve struct {
	path  string
	steps Steps
	lacks atomic.Int64 // octets to its full size

	mu   sync.Mutex
	size int64
}

// OpenReserve finds what there is of the reserve and makes the rest as far as there is room. It never fails: with none all works but
// for a disk that is full.
func OpenReserve(path string, s Steps) *Reserve {
	plain := func(_ string, do func() error) error { return do() }
	if s.Grow == nil {
		s.Grow = plain
	}
	if s.Shrink == nil {
		s.Shrink = plain
	}
	r := &Reserve{path: path, steps: s}
	if fi, err := os.Lstat(path); err == nil {
		r.size = fi.Size()
	}
	r.lacks.Store(Size) // Refill knows better
	r.Refill()
	return r
}

// Lacks is what is missing of its full size, in octets: room that isn't for others.
func (r *Reserve) Lacks() int64 { return max(0, r.lacks.Load()) }

// Refill lets it grow if it isn't whole. It is best effort, and costs nothing when there is nothing to do.
func (r *Reserve) Refill() {
	if r.Lacks() == 0 || !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	left, total, err := Free(filepath.Dir(r.path))
	if err != nil {
		return
	}
	whole := min(Size, blocks(total/share))
	if more := min(whole-r.size, blocks(left/share)); more > 0 {
		// An error leaves it shorter than wanted, which is counted.
		_ = r.steps.Grow(r.path, func() error { return r.grow(more) })
	}
	r.lacks.Store(whole - r.size)
}

// blocks rounds down.
func blocks(n int64) int64 { return n / Block * Block }

// grow writes octets that no file system can make smaller. They aren't synced: what a crash takes grows again.
func (r *Reserve) grow(more int64) error {
	w, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	b := make([]byte, Block)
	for to := r.size + more; err == nil && r.size < to; {
		rand.Read(b) // never fails
		var n int
		n, err = w.WriteAt(b[:min(Block, to-r.size)], r.size)
		r.size += int64(n)
	}
	return errors.Join(err, w.Close())
}

// Release gives so many octets back to the disk, and somewhat more; false when there is nothing to give.
func (r *Reserve) Release(octets int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size == 0 {
		return false
	}
	keep := blocks(max(0, r.size-octets-Block))
	err := r.steps.Shrink(r.path, func() error { return os.Truncate(r.path, keep) })
	if errors.Is(err, os.ErrNotExist) {
		keep, err = 0, nil // somebody was here before us
	}
	if err != nil {
		return false
	}
	r.lacks.Add(r.size - keep)
	r.size = keep
	return true
}
