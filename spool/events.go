package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"restante/spool/batch"
)

// lazyMax bounds the lazy events that wait while the ledger can't be written; more are dropped.
const lazyMax = 20000

// aheadMax is how far another node's clock may be ahead for its times to be adopted.
const aheadMax = 5 * time.Minute

// clock gives event times: later than any seen, so that the last writer is the last.
type clock struct {
	mu   sync.Mutex
	last time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := time.Now().UTC().Round(0)
	if !t.After(c.last) {
		t = c.last.Add(1)
	}
	c.last = t
	return t
}

// seen adopts the time of an event, unless it is too far ahead of our own clock.
func (c *clock) seen(t time.Time) {
	if time.Until(t) > aheadMax {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.last) {
		c.last = t
	}
}

// events makes an item of events after filling their ids and times.
func (s *Spool) events(evs []Event) (*item, error) {
	it := &item{events: make([]Event, len(evs)), lines: make([]batch.Line, len(evs))}
	for i, ev := range evs {
		if ev.ID == "" {
			ev.ID = NewID()
		}
		if ev.Time.IsZero() {
			ev.Time = s.clock.now()
		}
		b, err := marshal(ev)
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", ev.Type, err)
		}
		it.events[i], it.lines[i] = ev, batch.Line{ID: ev.ID, JSON: b}
		it.size += int64(len(b)) + 1
	}
	return it, nil
}

// Record puts events into the ledger and returns nil when they are durable. It fills ID and Time.
// ErrVoid: certainly not recorded. ErrUnsettled: not known, also when ctx ends first; to record the same
// events again is harmless.
func (s *Spool) Record(ctx context.Context, evs ...Event) error {
	if len(evs) == 0 {
		return nil
	}
	it, err := s.events(evs)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	if err := s.vigil.down(); err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	answer := make(chan error, 1)
	it.answer = answer
	if !s.ledger.add(it) {
		return fmt.Errorf("%w: %w", ErrVoid, ErrClosed)
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		s.ledger.leave(it)
		return fmt.Errorf("%w: %w", ErrUnsettled, context.Cause(ctx))
	}
}

// Note records events lazily: with the next batch of the ledger, or within LazyWait. A killed process may lose them.
func (s *Spool) Note(evs ...Event) {
	if len(evs) == 0 {
		return
	}
	it, err := s.events(evs)
	if err != nil {
		s.log.Error("event can't be written", "err", err)
		return
	}
	it.due = time.Now().Add(s.o.Limits.LazyWait)
	if s.ledger.waiting() > lazyMax || !s.ledger.add(it) {
		s.o.Metrics.alert("lazy-dropped")
	}
}

// Settle records the outcome of one delivery: nil once it stands in the journal, from where it goes to
// the ledger in the background, or, failing that, in the ledger. On an error replay must stop.
func (s *Spool) Settle(ev Event) error {
	it, err := s.events([]Event{ev})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVoid, err)
	}
	part, jerr := s.journal.write(it.lines[0].JSON)
	if jerr == nil {
		it.part = part
		it.due = time.Now().Add(s.o.Limits.SettleGather)
		s.ledger.add(it) // when it is too late for this life's ledger, the next life reads the journal
		return nil
	}
	s.o.Metrics.alert("journal-unwritable")
	s.log.Error("journal can't be written, deliveries now wait for the ledger", "err", jerr)
	ctx, cancel := context.WithTimeout(s.ctx, s.o.Limits.SettleTimeout)
	defer cancel()
	if err := s.Record(ctx, it.events...); err != nil {
		return errors.Join(err, jerr)
	}
	return nil
}
