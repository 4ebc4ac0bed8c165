package spool

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// shelf is a Holdings with one parked pair that is overdue, and its batch, which may go once the pair has expired.
type shelf struct {
	fold  *sinkFold
	entry string
}

func (h shelf) expired() bool {
	h.fold.mu.Lock()
	defer h.fold.mu.Unlock()
	for _, ev := range h.fold.events {
		if ev.Type == Expired {
			return true
		}
	}
	return false
}

func (h shelf) Overdue(context.Context, time.Time, func(string) Terms, int) ([]Pair, error) {
	if h.expired() {
		return nil, nil
	}
	return []Pair{{Entry: h.entry, State: StateParked}}, nil
}

func (h shelf) Disposable(context.Context, time.Time, func(string) Terms, int) ([]Disposable, error) {
	h.fold.mu.Lock()
	loc, there := h.fold.mail[h.entry]
	h.fold.mu.Unlock()
	if !there || !h.expired() {
		return nil, nil
	}
	return []Disposable{{Stream: loc.Stream, Seq: loc.Seq, Pairs: 1}}, nil
}

func (h shelf) Deleted(context.Context, time.Time) ([]Disposable, error) { return nil, nil }
func (h shelf) Erasures(context.Context) ([]Erasure, error)              { return nil, nil }
func (h shelf) Find(context.Context, []string) ([]Erasure, error)        { return nil, nil }

// TestRetainClock: a wall clock that has jumped lets nothing expire and nothing go; and what expires in one run
// is deleted in a later one.
func TestRetainClock(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		fold := follow(t, s)
		l := newLetter(100)
		if err := l.send(s); err != nil {
			t.Fatal(err)
		}
		h := shelf{fold, l.entry.ID}
		terms := func(string) Terms { return Terms{Delivered: time.Hour, Parked: time.Hour} }
		deleted := func() bool {
			return slices.ContainsFunc(fault.Points(), func(p wrap.Point) bool { return p.Op == "delete" && p.Key[:5] == "mail/" })
		}
		began := s.epoch
		for _, jump := range []time.Duration{30 * 24 * time.Hour, 61 * time.Minute, -61 * time.Minute} {
			s.epoch.wall = began.wall.Add(-jump)
			for range 2 {
				if rep, err := s.Retain(t.Context(), h, terms); !errors.Is(err, ErrClock) || rep != (RetainReport{}) {
					t.Errorf("after a jump of %s: %+v, %v", jump, rep, err)
				}
				time.Sleep(time.Hour)
			}
		}
		s.epoch = began
		rep, err := s.Retain(t.Context(), h, terms)
		if err != nil || rep.Expired != 1 || rep.Batches != 0 || deleted() {
			t.Errorf("first run: %+v, %v", rep, err)
		}
		if rep, err = s.Retain(t.Context(), h, terms); err != nil || rep.Batches != 1 || !deleted() {
			t.Errorf("second run: %+v, %v", rep, err)
		}
		closeSpool(t, s)
	})
}
