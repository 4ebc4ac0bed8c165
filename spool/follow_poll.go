package spool

import (
	"context"
	"errors"
	"time"

	"restante/spool/blob"
)

// poll asks for the next object of each foreign stream that is due, and of all that aren't sealed when
// asked to. It is false when a stream of the ledger could not be read to its end.
func (f *follower) poll(ctx context.Context, all bool) (complete bool, err error) {
	now := time.Now()
	complete = true
	for _, t := range f.tails {
		if t.pos.Sealed || f.s.writing(t.id) || (!all && now.Before(t.next)) {
			continue
		}
		for !t.pos.Sealed {
			var r read
			r.seq = t.pos.Seq
			r.step, r.head, r.err = f.src.step(ctx, t.id, r.seq)
			if errors.Is(r.err, blob.ErrNotExist) {
				f.freed(t)
				break
			}
			if lasting(r.err) {
				if ctx.Err() != nil {
					return false, ctx.Err()
				}
				f.failed(t, r)
				complete = complete && !t.id.Ledger
				break
			}
			t.every = pollFirst
			if err := f.take(ctx, t, r); errors.Is(err, errStuck) {
				break
			} else if err != nil {
				return false, err
			}
			if t.pos.Sealed {
				f.nextList = time.Time{} // its writer begins another one
			}
		}
		f.schedule(t, now)
	}
	return complete, nil
}

// schedule says when a stream is asked again.
func (f *follower) schedule(t *tail, now time.Time) {
	switch {
	case t.every == 0:
		t.every = pollFirst
	case now.Sub(t.last) > asleepAfter:
		t.every = pollAsleep
	default:
		t.every = min(t.every*5/4, pollIdle)
	}
	t.next = now.Add(t.every)
	if t.retry.After(t.next) {
		t.next = t.retry
	}
}

// listEvery is rare when nobody else has written for a while.
func (f *follower) listEvery() time.Duration {
	for _, t := range f.tails {
		if t.id.Node() != f.s.Node() && time.Since(t.last) < busyFor && !t.last.IsZero() {
			return listBusy
		}
	}
	return listIdle
}

// rest waits until something is due; false when ctx ended.
func (f *follower) rest(ctx context.Context) bool {
	if !sleep(ctx, applyPause) {
		return false
	}
	next := f.nextList
	for _, t := range f.tails {
		switch {
		case t.pos.Sealed:
		case f.s.writing(t.id):
			if t.fails > 0 && t.retry.Before(next) {
				next = t.retry
			}
		case t.next.Before(next):
			next = t.next
		}
	}
	timer := time.NewTimer(max(time.Until(next), 0))
	defer timer.Stop()
	select {
	case <-f.wake:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
