package spool

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// sendTogether appends letters that have one body.
func sendTogether(s *Spool, letters []*letter) error {
	body := NewBody("", 1<<20)
	defer body.Close()
	if _, err := body.Write([]byte(letters[0].text)); err != nil {
		return err
	}
	var all []Appending
	for i, l := range letters {
		l.text = letters[0].text
		l.entry.Kind = []Kind{Outbound, Local, Copy}[i%3]
		all = append(all, Appending{Entry: l.entry, Trace: []byte(l.trace), Body: body})
	}
	err := s.AppendAll(context.Background(), all...)
	for _, l := range letters {
		l.err = err
	}
	return err
}

// manyTogether appends groups of small and of big messages at once, among single ones.
func manyTogether(s *Spool) (groups [][]*letter, singles []*letter) {
	var all sync.WaitGroup
	for i := range 6 {
		group := []*letter{newLetter(300 + i%2*8000), newLetter(0), newLetter(0)}
		groups = append(groups, group)
		all.Go(func() { _ = sendTogether(s, group) })
		for range 2 {
			l := newLetter(100)
			singles = append(singles, l)
			all.Go(func() { _ = l.send(s) })
		}
	}
	all.Wait()
	return groups, singles
}

// TestAppendAllCrash crashes at every call to the store: of each group all entries are kept or none, whatever else goes on,
// and although batches are smaller than groups.
func TestAppendAllCrash(t *testing.T) {
	limits := crashLimits
	limits.BatchCount, limits.LanesMax = 2, 3
	points := 1
	for n := 0; n <= points; n++ {
		dir := dirs(t, 1)[0]
		synctest.Test(t, func(t *testing.T) {
			store := mem.New()
			fault := wrap.NewFault(store)
			s := openSpool(t, fault, dir, limits)
			first := len(fault.Points())
			if n > 0 {
				fault.CrashAt(first + n)
			}
			groups, singles := manyTogether(s)
			if n == 0 {
				closeSpool(t, s)
				points = len(fault.Points()) - first
			} else {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_ = s.Close(ctx)
				cancel()
			}
			judgeTogether(t, store, groups, singles, n == 0)
		})
		if t.Failed() {
			t.Fatalf("crash point %d of %d", n, points)
		}
	}
	t.Logf("%d crash points", points)
}

func judgeTogether(t *testing.T, store *mem.Store, groups [][]*letter, singles []*letter, whole bool) {
	t.Helper()
	c := readAll(t, store)
	c.judge(t, singles)
	for _, group := range groups {
		c.judge(t, group)
		there := 0
		for _, l := range group {
			if _, ok := c.mail[l.entry.ID]; ok {
				there++
			}
		}
		if there != 0 && there != len(group) {
			t.Errorf("%d of %d entries are kept", there, len(group))
		}
		if whole && (group[0].err != nil || there == 0) {
			t.Errorf("without any fault: %v, %d kept", group[0].err, there)
		}
	}
}

// A group goes to a new stream as a whole when somebody has ended the old one.
func TestAppendAllAfterSeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{300, 9000} {
			store := mem.New()
			s := openSpool(t, store, t.TempDir(), crashLimits)
			if err := newLetter(100).send(s); err != nil {
				t.Fatal(err)
			}
			id, pos, _ := s.mail.streams()[0].position()
			if _, err := s.seal(t.Context(), id, pos); err != nil {
				t.Fatal(err)
			}
			group := []*letter{newLetter(size), newLetter(0), newLetter(0)}
			if err := sendTogether(s, group); err != nil {
				t.Error(err)
			}
			closeSpool(t, s)
			judgeTogether(t, store, [][]*letter{group}, nil, true)
		}
	})
}

func TestAppendAllRefused(t *testing.T) {
	s := openSpool(t, mem.New(), t.TempDir(), Limits{})
	defer closeSpool(t, s)
	if err := s.AppendAll(t.Context()); err != nil {
		t.Error(err)
	}
	bad := []*letter{newLetter(100), newLetter(0)}
	bad[1].entry.ID = "../x"
	if err := sendTogether(s, bad); !errors.Is(err, ErrVoid) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body := NewBody("", 100)
	if err := s.AppendAll(ctx, Appending{Entry: newLetter(0).entry, Body: body}); !errors.Is(err, ErrVoid) {
		t.Error(err)
	}
}
