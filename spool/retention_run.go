package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restante/spool/blob"
)

const (
	overdueMax    = 5000 // pairs that expire in one run
	disposableMax = 500  // batches that one run deletes
	redeleteFor   = 30 * 24 * time.Hour
	rewriteTries  = 5

	clockBound = time.Hour // by how much the wall clock may go another way than the monotonic one
)

// ErrClock: the wall clock has jumped since the start, and what is past its term is judged by it.
var ErrClock = errors.New("the clock has jumped")

// epoch is the start of a process by both clocks.
type epoch struct {
	wall      time.Time // without a monotonic reading
	monotonic time.Time
}

func newEpoch() epoch {
	now := time.Now()
	return epoch{wall: now.Round(0), monotonic: now}
}

// jumped returns ErrClock when the wall clock has gone another way since then than the monotonic one. That covers
// the time since the last run too: the jump that was refused then isn't believed an hour later.
func (e epoch) jumped(now time.Time) error {
	off := now.Round(0).Sub(e.wall) - now.Sub(e.monotonic)
	if off.Abs() <= clockBound {
		return nil
	}
	return fmt.Errorf("%w by %s since this process began: nothing expires and nothing is deleted. Set the clock right; if it is right now, restart", ErrClock, ExactSpan(off.Abs()))
}

// Retain does one run of retention: pairs past their term expire, batches with only pairs that had ended before the run, past
// their terms, are deleted, deletions and erasures that were begun are finished. A batch is deleted only
// after an event that names it is durable. Ledgers are never deleted. While the wall clock and the monotonic one
// disagree about the time since Open, nothing expires and no batch goes (ErrClock). Call it now and then, with Follow
// running; when there is nothing to do it costs no request.
func (s *Spool) Retain(ctx context.Context, h Holdings, terms func(domain string) Terms) (RetainReport, error) {
	var rep RetainReport
	if !s.follow.redeleted.Load() {
		if err := s.redelete(ctx, h); err != nil {
			return rep, err
		}
	}
	if idle, err := idleHoldings(ctx, h, terms); idle || err != nil {
		return rep, err
	}
	lease, err := s.Lease(ctx, "retention")
	if err != nil {
		return rep, err
	}
	err = s.retain(ctx, h, terms, lease, &rep)
	return rep, errors.Join(err, lease.Release(ctx))
}

func idleHoldings(ctx context.Context, h Holdings, terms func(string) Terms) (bool, error) {
	overdue, err := h.Overdue(ctx, time.Now(), terms, 1)
	if err != nil || len(overdue) > 0 {
		return false, err
	}
	disposable, err := h.Disposable(ctx, time.Now(), terms, 1)
	if err != nil || len(disposable) > 0 {
		return false, err
	}
	begun, err := h.Erasures(ctx)
	return len(begun) == 0, err
}

func (s *Spool) retain(ctx context.Context, h Holdings, terms func(string) Terms, lease *Lease, rep *RetainReport) error {
	// What other nodes have done meanwhile, such as releasing a parked pair, counts.
	if err := s.Sync(ctx); err != nil {
		return err
	}
	begun, err := h.Erasures(ctx)
	if err != nil {
		return err
	}
	rep.Erased, err = s.rewrite(ctx, "retention", begun)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := s.epoch.jumped(now); err != nil {
		s.o.Metrics.alert("clock-jumped")
		return fmt.Errorf("retention: %w", err)
	}
	// Before anything expires: a batch goes with a later run than its last pair, so that a mistake can still be seen.
	disposable, err := h.Disposable(ctx, now, terms, disposableMax)
	if err != nil {
		return err
	}
	if err := s.expire(ctx, h, terms, now, rep); err != nil {
		return err
	}
	for _, d := range disposable {
		if !lease.Valid() {
			return errors.New("retention: the lease was lost; the next run goes on")
		}
		if err := s.dispose(ctx, d, rep); err != nil {
			return err
		}
	}
	return nil
}

// expire ends the pairs that are past their terms.
func (s *Spool) expire(ctx context.Context, h Holdings, terms func(string) Terms, now time.Time, rep *RetainReport) error {
	overdue, err := h.Overdue(ctx, now, terms, overdueMax)
	if err != nil {
		return err
	}
	for page := range slices.Chunk(overdue, 500) {
		evs := make([]Event, len(page))
		for i, p := range page {
			term := terms(p.Domain).Parked
			if p.State == StatePending {
				term = terms(p.Domain).Pending
			}
			evs[i] = Event{Type: Expired, By: "retention", Entry: p.Entry, Rcpt: p.Rcpt, Round: p.Round, Domain: p.Domain,
				Reason: fmt.Sprintf("%s for longer than %s", p.State, ExactSpan(term))}
		}
		if err := s.Record(ctx, evs...); err != nil {
			return err
		}
		rep.Expired += len(page)
	}
	return nil
}

// dispose deletes one batch: the event first, then big objects, then the batch.
func (s *Spool) dispose(ctx context.Context, d Disposable, rep *RetainReport) error {
	key := StreamID{Name: d.Stream}.Key(d.Seq)
	data := map[string]any{}
	for k, v := range d.Data {
		data[k] = v
	}
	if len(d.Big) > 0 {
		data["big"] = d.Big
	}
	err := s.Record(ctx, Event{Type: BatchDeleted, By: "retention", Batch: key, Data: data, Reason: fmt.Sprintf("%d pairs, all ended", d.Pairs)})
	if err != nil {
		return err
	}
	if err := s.deleteBatch(ctx, d); err != nil {
		return err
	}
	rep.Batches++
	rep.Pairs += d.Pairs
	rep.Big += len(d.Big)
	return nil
}

func (s *Spool) deleteBatch(ctx context.Context, d Disposable) error {
	id := StreamID{Name: d.Stream}
	for _, e := range d.Big {
		if err := s.o.Store.Delete(ctx, id.BigKey(e)); err != nil {
			return fmt.Errorf("delete %s: %w", id.BigKey(e), err)
		}
	}
	key := id.Key(d.Seq)
	s.follow.cache.drop(key, nil)
	if err := s.o.Store.Delete(ctx, key); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// redelete finishes, once a process, the deletions that a process before it may have been stopped in.
// Deleting what is gone costs nothing.
func (s *Spool) redelete(ctx context.Context, h Holdings) error {
	gone, err := h.Deleted(ctx, time.Now().Add(-redeleteFor))
	if err != nil {
		return err
	}
	for _, d := range gone {
		if err := s.deleteBatch(ctx, d); err != nil {
			return err
		}
	}
	s.follow.redeleted.Store(true)
	return nil
}

// Erase removes the bodies and addresses of entries from the store: an Erased event for each, then their
// batches are rewritten, in which the chain still verifies. What a crash interrupts the next Retain
// finishes. Pairs that are pending are lost by it: give them a Removed event before. All ids must be known.
func (s *Spool) Erase(ctx context.Context, h Holdings, by, reason string, ids ...string) error {
	found, err := h.Find(ctx, ids)
	if err != nil {
		return err
	}
	if missing := missingFrom(found, ids); len(missing) > 0 {
		return fmt.Errorf("nothing was erased: no such entry: %s", strings.Join(missing, ", "))
	}
	evs := make([]Event, len(found))
	for i, e := range found {
		evs[i] = Event{Type: Erased, By: by, Reason: reason, Entry: e.Entry}
	}
	if err := s.Record(ctx, evs...); err != nil {
		return err
	}
	_, err = s.rewrite(ctx, by, found)
	return err
}

func missingFrom(found []Erasure, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(found, func(e Erasure) bool { return e.Entry == id })
	})
}

// rewrite takes the bodies and addresses of entries out of their batches, and notes that it is done.
func (s *Spool) rewrite(ctx context.Context, by string, entries []Erasure) (int, error) {
	batches := map[string][]Erasure{}
	for _, e := range entries {
		key := StreamID{Name: e.Location.Stream}.Key(e.Location.Seq)
		batches[key] = append(batches[key], e)
	}
	var done []Event
	defer func() {
		if s.Record(ctx, done...) != nil {
			s.Note(done...) // to do it again would be harmless
		}
	}()
	for key, es := range batches {
		if err := s.rewriteBatch(ctx, key, es); err != nil {
			return len(done), fmt.Errorf("erase in %s: %w", key, err)
		}
		for _, e := range es {
			if e.Location.Big {
				big := StreamID{Name: e.Location.Stream}.BigKey(e.Entry)
				if err := s.o.Store.Delete(ctx, big); err != nil {
					return len(done), fmt.Errorf("delete %s: %w", big, err)
				}
			}
			done = append(done, Event{Type: Erased, By: by, Entry: e.Entry, Data: map[string]any{"done": true}})
		}
	}
	return len(done), nil
}

// rewriteBatch replaces a batch by one without the octets of some entries. Whatever the answer to the
// write was, the batch is read again: only what is there counts.
func (s *Spool) rewriteBatch(ctx context.Context, key string, es []Erasure) error {
	src := objects{store: s.o.Store, codec: s.codec, timeout: s.o.Limits.PutTimeout}
	var last error
	for try := range rewriteTries {
		if try > 0 {
			s.vigil.pause(ctx, try)
		}
		object, info, err := src.get(ctx, key, blob.Range{}, objectMax)
		if errors.Is(err, blob.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil {
			last = err
			continue
		}
		erased := true
		redacted, err := s.codec.Erase(object, func(id string, entry json.RawMessage) (json.RawMessage, bool) {
			if !slices.ContainsFunc(es, func(e Erasure) bool { return e.Entry == id }) {
				return nil, false
			}
			left, err := redact(entry)
			erased = erased && err == nil
			return left, err == nil
		})
		if err != nil || !erased {
			return fmt.Errorf("%w: the entry can't be read: %w", ErrDamaged, err)
		}
		if s.allErased(object, es) {
			s.follow.cache.drop(key, nil)
			return nil
		}
		_, last = s.o.Store.Put(ctx, key, bytes.NewReader(redacted), blob.Cond{Match: info.ETag})
		if last == nil {
			s.follow.cache.drop(key, nil)
			return nil
		}
	}
	return last
}

func (s *Spool) allErased(object []byte, es []Erasure) bool {
	toc, _, err := s.codec.TOC(object, int64(len(object)))
	if err != nil {
		return false
	}
	for _, row := range toc.Entries {
		if !row.Erased && slices.ContainsFunc(es, func(e Erasure) bool { return e.Entry == row.ID }) {
			return false
		}
	}
	return true
}

// redact is Erased on an entry's JSON.
func redact(entry json.RawMessage) (json.RawMessage, error) {
	e := new(Entry)
	if err := json.Unmarshal(entry, e); err != nil {
		return nil, err
	}
	return marshal(e.Erased())
}
