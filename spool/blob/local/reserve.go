package local

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"restante/spool/blob"
	"restante/spool/room"
)

// reserveName is the file that is the reserve: room for those Puts of Options.Reserve that meet a full disk.
const reserveName = ".reserve"

// openReserve makes the reserve as far as there is room. A store without it works.
func (s *Store) openReserve() {
	if len(s.options.Reserve) == 0 {
		return
	}
	step := func(op Op) func(string, func() error) error {
		return func(path string, do func() error) error { return s.step(op, path, do) }
	}
	s.reserve = room.OpenReserve(s.reservePath(), room.Steps{Grow: step(ReserveGrow), Shrink: step(ReserveShrink)})
}

func (s *Store) reservePath() string { return filepath.Join(s.dir, reserveName) }

// reserved reports whether the reserve is for this key.
func (s *Store) reserved(key string) bool {
	return slices.ContainsFunc(s.options.Reserve, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// refill lets the reserve grow if it isn't whole. It is best effort: the next Put or Free tries again.
func (s *Store) refill() {
	s.naming.Lock()
	closed := s.closed
	s.naming.Unlock()
	if s.reserve != nil && !closed {
		s.reserve.Refill()
	}
}

// lacks is what the reserve lacks, in octets.
func (s *Store) lacks() int64 {
	if s.reserve == nil {
		return 0
	}
	return s.reserve.Lacks()
}

// spared returns why there is no room for an object that the reserve isn't for: what was released is for others.
func (s *Store) spared(size int64) error {
	lacks := s.lacks()
	if lacks == 0 {
		return nil
	}
	if left, _, err := room.Free(s.dir); err == nil && left-size < lacks {
		return fmt.Errorf("%w: the last %d octets are kept for other objects", blob.ErrNoSpace, lacks)
	}
	return nil
}

// putReserved is put, with the reserve for the keys that it is for.
func (s *Store) putReserved(key string, body blob.Body, cond blob.Cond, g *gate) (string, error) {
	tag, err := s.put(key, body, cond, g)
	if full(err) && !g.passed() && s.reserved(key) && s.reserve.Release(body.Size()) {
		return s.put(key, body, cond, g)
	}
	if err == nil {
		s.refill()
	}
	return tag, err
}

// Free implements blob.Spacer for the file system of the folder. What the reserve lacks is not counted as left.
func (s *Store) Free(ctx context.Context) (left, total int64, err error) {
	type space struct{ left, total int64 }
	d, err := async(ctx, func() (d space, err error) {
		s.refill()
		d.left, d.total, err = room.Free(s.dir)
		return d, err
	}, nil)
	return max(0, d.left-s.lacks()), d.total, err
}
