package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"restante/relay/replay"
	"restante/spool"
	"restante/spool/index"
)

// undoLast is how long before the end of its delay a message can be taken back at the latest: recording that takes
// a moment.
const undoLast = 200 * time.Millisecond

// Undo takes back what was submitted of a writing, before its delay is over: all of it, for all recipients. When it returns
// nil that is durable, and nobody is given the message. Errors: ErrUnknown, ErrTooLate, ErrNotNow when the store can't be reached.
func (s *Service) Undo(ctx context.Context, account, writing string) error {
	account = strings.ToLower(account)
	w, err := s.sent.begin(ctx, account, writing)
	if err != nil {
		return err
	}
	defer w.end()
	if !w.kept {
		if err := s.o.Spool.Sync(ctx); err != nil {
			return &NotNow{Why: WhyStore, Err: err}
		}
		if err := s.find(ctx, w, index.Filter{Since: time.Now().Add(-MaxDelay - time.Hour)}); err != nil {
			return &NotNow{Why: WhyStore, Err: err}
		}
	}
	switch {
	case !w.kept:
		return ErrUnknown
	case w.removed:
		return nil
	case w.notBefore.IsZero(), time.Until(w.notBefore) < undoLast:
		return ErrTooLate
	}
	return s.remove(ctx, w)
}

func (s *Service) remove(ctx context.Context, w *writing) error {
	var evs []spool.Event
	for i, id := range w.entries {
		for rcpt := range w.rcpts[i] {
			evs = append(evs, spool.Event{Type: spool.Removed, By: w.account, Entry: id, Rcpt: rcpt, Reason: spool.TakenBack})
		}
	}
	err := s.o.Spool.Record(ctx, evs...)
	// Whoever delivers reads the ledger to its end after NotBefore and UndoSlack; half of that is for clocks that differ.
	if err == nil && time.Until(w.notBefore) > -replay.UndoSlack/2 {
		w.removed = true
		s.metrics.submitted("undone")
		return nil
	}
	if errors.Is(err, spool.ErrVoid) {
		return &NotNow{Why: WhyStore, Err: err}
	}
	return s.whetherRemoved(ctx, w, err)
}

// whetherRemoved looks what became of a writing whose undo came late, or of which nobody knows whether it came.
func (s *Service) whetherRemoved(ctx context.Context, w *writing, cause error) error {
	if err := s.o.Spool.Sync(ctx); err != nil {
		return &NotNow{Why: WhyStore, Err: errors.Join(cause, err)}
	}
	for _, id := range w.entries {
		v, err := s.o.Index.Entry(ctx, id)
		if err != nil {
			return &NotNow{Why: WhyStore, Err: fmt.Errorf("entry %s: %w", id, err)}
		}
		for _, p := range v.Pairs {
			if p.State != spool.StateRemoved {
				return ErrTooLate
			}
		}
	}
	w.removed = true
	return nil
}
