package local

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"restante/spool/blob"
)

// The reserve is a file whose only use is its size: room that is given back, a part at a time, to those Puts of Options.Reserve
// that meet a full disk. It grows again when there is room, from whatever a crash left of it.
const (
	reserveName  = ".reserve"
	reserveSize  = 4 << 20
	reserveShare = 8        // it is at most this part of the disk, and grows by at most this part of what is free
	reserveBlock = 64 << 10 // it is a multiple of that, and a Put is given so much beside the size of its object
)

type reserve struct {
	lacks atomic.Int64 // octets to its full size

	mu   sync.Mutex
	size int64 // of the file
}

// openReserve finds what there is of the reserve and makes the rest as far as there is room. A store without it works.
func (s *Store) openReserve() {
	if len(s.options.Reserve) == 0 {
		return
	}
	if fi, err := os.Lstat(s.reservePath()); err == nil {
		s.reserve.size = fi.Size()
	}
	s.reserve.lacks.Store(reserveSize) // refill knows better
	s.refill()
}

func (s *Store) reservePath() string { return filepath.Join(s.dir, reserveName) }

// reserved reports whether the reserve is for this key.
func (s *Store) reserved(key string) bool {
	return slices.ContainsFunc(s.options.Reserve, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// refill lets the reserve grow if it isn't whole. It is best effort: the next Put or Free tries again.
func (s *Store) refill() {
	r := &s.reserve
	if r.lacks.Load() <= 0 || !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	s.naming.Lock()
	closed := s.closed
	s.naming.Unlock()
	left, total, err := free(s.dir)
	if err != nil || closed {
		return
	}
	whole := min(reserveSize, blocks(total/reserveShare))
	if more := min(whole-r.size, blocks(left/reserveShare)); more > 0 {
		// An error leaves it shorter than wanted, which is counted.
		_ = s.step(ReserveGrow, s.reservePath(), func() error { return r.grow(s.reservePath(), more) })
	}
	r.lacks.Store(whole - r.size)
}

// blocks rounds down.
func blocks(n int64) int64 { return n / reserveBlock * reserveBlock }

// grow writes octets that no file system can make smaller. They aren't synced: what a crash takes grows again.
func (r *reserve) grow(path string, more int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	b := make([]byte, reserveBlock)
	for to := r.size + more; err == nil && r.size < to; {
		rand.Read(b) // never fails
		var n int
		n, err = f.WriteAt(b[:min(reserveBlock, to-r.size)], r.size)
		r.size += int64(n)
	}
	return closing(f, err)
}

// release makes room for an object of this size out of the reserve; false when it can't.
func (s *Store) release(size int64) bool {
	r := &s.reserve
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size == 0 {
		return false
	}
	keep := blocks(max(0, r.size-size-reserveBlock))
	err := s.step(ReserveShrink, s.reservePath(), func() error { return os.Truncate(s.reservePath(), keep) })
	if missing(err) {
		keep, err = 0, nil // somebody was here before us
	}
	if err != nil {
		return false
	}
	r.lacks.Add(r.size - keep)
	r.size = keep
	return true
}

// spared returns why there is no room for an object that the reserve isn't for: what was released is for others.
func (s *Store) spared(size int64) error {
	lacks := s.reserve.lacks.Load()
	if lacks <= 0 {
		return nil
	}
	if left, _, err := free(s.dir); err == nil && left-size < lacks {
		return fmt.Errorf("%w: the last %d octets are kept for other objects", blob.ErrNoSpace, lacks)
	}
	return nil
}

// putReserved is put, with the reserve for the keys that it is for.
func (s *Store) putReserved(key string, body blob.Body, cond blob.Cond, g *gate) (string, error) {
	tag, err := s.put(key, body, cond, g)
	if full(err) && !g.passed() && s.reserved(key) && s.release(body.Size()) {
		return s.put(key, body, cond, g)
	}
	if err == nil {
		s.refill()
	}
	return tag, err
}

// Free implements blob.Spacer for the file system of the folder. What the reserve lacks is not counted as left.
func (s *Store) Free(ctx context.Context) (left, total int64, err error) {
	type room struct{ left, total int64 }
	r, err := async(ctx, func() (r room, err error) {
		s.refill()
		r.left, r.total, err = free(s.dir)
		return r, err
	}, nil)
	return max(0, r.left-max(0, s.reserve.lacks.Load())), r.total, err
}
