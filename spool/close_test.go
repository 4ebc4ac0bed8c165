package spool

import (
	"context"
	"errors"
	"testing"
	"time"

	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// TestCloseWithoutStore: while the store is away a spool closes soon and without an error, since nothing that was answered
// depends on it; the next start finds everything and seals the streams.
func TestCloseWithoutStore(t *testing.T) {
	for name, action := range map[string]wrap.Action{"refuses": {Err: wrap.ErrDown}, "hangs": {Hang: true}} {
		for idle, pause := range map[string]time.Duration{"at once": 0, "after a while": time.Minute} {
			t.Run(name+" "+idle, func(t *testing.T) {
				bubble(t, func(t *testing.T, dir string) {
					store := mem.New()
					fault := wrap.NewFault(store)
					s := openSpool(t, fault, dir, Limits{})
					l := newLetter(1)
					if err := l.send(s); err != nil {
						t.Fatal(err)
					}
					fault.Script(func(wrap.Point) wrap.Action { return action })
					ev := Event{ID: NewID(), Type: Delivered, Entry: "x"}
					if err := s.Settle(ev); err != nil {
						t.Fatal(err)
					}
					s.Note(Event{Type: Learned})
					time.Sleep(pause)
					start := time.Now()
					closeSpool(t, s)
					if took := time.Since(start); took > 10*time.Second {
						t.Errorf("took %s", took)
					}
					fault.Clear()
					closeSpool(t, openSpool(t, store, dir, Limits{}))
					got := readAll(t, store)
					if _, ok := got.events[ev.ID]; !ok || len(got.mail) != 1 {
						t.Errorf("%d entries; the settled event came: %v", len(got.mail), ok)
					}
				})
			})
		}
	}
}

// TestCloseAfterTheCallerLeft: who has stopped waiting for a store that hangs doesn't keep a spool from closing soon.
func TestCloseAfterTheCallerLeft(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		fault.Script(func(wrap.Point) wrap.Action { return wrap.Action{Hang: true} })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Record(ctx, Event{Type: OutageClosed}); !errors.Is(err, ErrUnsettled) {
			t.Error(err)
		}
		start := time.Now()
		ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestGiveUp: a caller who waits for a store that hangs is told at once that nobody knows, and Close ends.
func TestGiveUp(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		fault.Script(func(wrap.Point) wrap.Action { return wrap.Action{Hang: true} })
		told := make(chan error, 1)
		go func() { told <- newLetter(1).send(s) }()
		time.Sleep(time.Second)
		start := time.Now()
		s.GiveUp()
		if err := <-told; !errors.Is(err, ErrUnsettled) {
			t.Error(err)
		}
		closeSpool(t, s)
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestAwaited: who has left, before the answer or after it, makes up for nobody who comes later.
func TestAwaited(t *testing.T) {
	for _, late := range []bool{false, true} {
		q, one, other := &queue{}, &item{answer: make(chan error, 1)}, &item{answer: make(chan error, 1)}
		q.push(one, time.Now())
		if late {
			q.release([]*item{one})
		}
		q.leave(one)
		if q.awaited() {
			t.Error("somebody waits, though the only one has left")
		}
		if !late {
			q.release([]*item{one})
		}
		q.push(other, time.Now())
		if !q.awaited() {
			t.Error("nobody waits, though another one came")
		}
	}
}
