package spool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"restante/spool/blob"
)

// A fold beside the first that has not been handed something reads it from the store in goes of at most besideRead objects of a
// stream, each of which costs a LIST too, and between two it rests as long as the last took, at most besideRest: half of the time
// is others'.
const (
	besideRead = 100
	besideRest = time.Second
)

// Beside is a fold that the service can do without. Follow feeds it what the first has applied: nothing waits for it, what it has
// missed it reads from the store by itself, and what it can't apply, or doesn't survive, is tried until it can.
type Beside interface {
	Fold
	clustered // as in Rebuildable, and so is Reset
	Reset(ctx context.Context) error
	// SetBehind tells how far it is behind the first, whenever that may have changed.
	SetBehind(b Behind)
}

// Behind says how far a fold is behind the first. The zero Behind is one that isn't.
type Behind struct {
	Since   time.Time // when it last had all that the first had, or Follow began
	Batches int       // that the first has and it hasn't
	Err     error     // why it doesn't go on, nil while it does; it is tried again by itself
}

// Abreast returns once every fold beside the first has what the first had when it was called. It asks the store nothing. With no
// Follow running it blocks.
func (s *Spool) Abreast(ctx context.Context) error {
	return s.eachFollower(ctx, func(f *follower) error {
		for _, b := range f.beside {
			if err := b.sync(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// newBeside makes what feeds a fold beside that of lead.
func newBeside(lead *follower, fold Beside) *follower {
	f := newFollower(lead.s, fold)
	f.lead, f.ended, f.behindSince = lead, lead.ended, time.Now()
	f.tellBehind(nil)
	return f
}

// runBeside feeds the fold until ctx ends.
func (f *follower) runBeside(ctx context.Context) {
	if !f.persist(ctx, f.beginBeside) {
		return
	}
	for {
		f.tellBehind(nil) // before what may take long
		start, more := time.Now(), false
		if !f.persist(ctx, func(ctx context.Context) (err error) {
			more, err = f.pass(ctx)
			return err
		}) {
			return
		}
		if more && !sleep(ctx, min(max(applyPause, time.Since(start)), besideRest)) || !more && !f.restBeside(ctx) {
			return
		}
	}
}

// persist does it until it works; false when ctx ended first. What doesn't work for more than a moment is told to the fold.
func (f *follower) persist(ctx context.Context, do func(context.Context) error) bool {
	for fails := 1; ; fails++ {
		err := safely(ctx, do)
		if err == nil || ctx.Err() != nil {
			return ctx.Err() == nil
		}
		if fails >= insistTries {
			f.tellBehind(err)
		}
		if !sleep(ctx, min(insistPause, 50*time.Millisecond<<min(fails, 20))) {
			return false
		}
	}
}

// safely makes an error of a panic: what a fold that the service can do without doesn't survive mustn't end the service, at each
// start again.
func safely(ctx context.Context, do func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return do(ctx)
}

// beginBeside compares the store with what the fold has of it. When it is another or older one, the fold alone begins anew.
func (f *follower) beginBeside(ctx context.Context) error {
	fold, _ := f.fold.(Beside)
	err := f.ours(ctx, fold)
	if errors.Is(err, ErrForeign) {
		f.log.Warn("a fold of another store is made anew", "err", err)
		err = fold.Reset(ctx)
	}
	if err != nil {
		return err
	}
	positions, err := fold.Positions(ctx)
	if err != nil {
		return err
	}
	older, err := f.older(ctx, positions)
	if err != nil {
		return err
	}
	if older != "" {
		f.log.Warn("the store is older than what was folded of it: a fold is made anew", "missing", older)
		if err := fold.Reset(ctx); err != nil {
			return err
		}
		positions = nil
	}
	f.from(positions)
	return nil
}

// pass gives the fold what was handed over, and reads a little of what wasn't from the store, once the first fold has read that to
// its end. It is true when there is more to be read. After an error it is called again: what was read stands in f.steps, and what
// was dropped is read again.
func (f *follower) pass(ctx context.Context) (more bool, err error) {
	if err := f.apply(ctx); err != nil {
		return false, err
	}
	start := time.Now()
	f.mu.Lock()
	queue, syncs, want := f.queue, len(f.syncs), maps.Clone(f.heads)
	f.queue, f.handed = nil, 0
	f.mu.Unlock()
	caughtUp := f.lead.hasCaughtUp()
	for _, st := range queue {
		if err := f.handedOver(ctx, st); err != nil {
			return false, err
		}
	}
	if err := f.apply(ctx); err != nil {
		return false, err
	}
	if caughtUp {
		if more, err = f.readMissing(ctx, want); err != nil {
			return false, err
		}
	}
	var heard []chan struct{}
	if caughtUp && f.has(want) {
		f.mu.Lock()
		if f.behindSince = start; f.lag() == 0 { // all that has come since, too
			f.behindSince = time.Time{}
		}
		heard, f.syncs = f.syncs[:syncs], f.syncs[syncs:]
		f.mu.Unlock()
	}
	f.tellBehind(nil)
	for _, c := range heard {
		close(c)
	}
	return more, nil
}

// has reports whether all streams were applied that far.
func (f *follower) has(want map[StreamID]uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, head := range want {
		if f.applied[id] < head {
			return false
		}
	}
	return true
}

// readMissing reads some of what the first fold has of one stream, those of the ledger first, as far as want says. It is false
// when there is nothing to be read now.
func (f *follower) readMissing(ctx context.Context, want map[StreamID]uint64) (bool, error) {
	var missing []*tail
	for id, head := range want {
		if t := f.tail(id); !t.pos.Sealed && t.pos.Seq < head && !time.Now().Before(t.retry) {
			missing = append(missing, t)
		}
	}
	if len(missing) == 0 {
		return false, nil
	}
	t := slices.MinFunc(missing, func(a, b *tail) int { return strings.Compare(a.id.String(), b.id.String()) }) // "ledger/" is before "mail/"
	head := want[t.id]
	seqs, err := f.src.seqs(ctx, t.id, t.pos.Seq, besideRead, nil)
	if err != nil {
		return false, err
	}
	seqs = slices.DeleteFunc(seqs, func(n uint64) bool { return n >= head })
	if len(seqs) == 0 { // retention has deleted the last of them
		if !f.src.answers(ctx) {
			return false, fmt.Errorf("%s: %w", f.s.o.Store, ErrStoreDown)
		}
		f.skip(t, head)
		return true, nil
	}
	if err := f.readAll(ctx, t, seqs); err != nil {
		return false, err
	}
	if t.pos.Seq <= seqs[len(seqs)-1] && t.fails == 0 {
		return false, fmt.Errorf("%s was listed and can't be read: %w", t.id.Key(t.pos.Seq), blob.ErrNotExist)
	}
	return true, f.apply(ctx)
}

// restBeside waits until something is due; false when ctx ended.
func (f *follower) restBeside(ctx context.Context) bool {
	if !sleep(ctx, applyPause) {
		return false
	}
	var again <-chan time.Time
	for _, t := range f.tails {
		if t.fails > 0 {
			again = time.After(insistPause)
		}
	}
	select {
	case <-f.wake:
		return true
	case <-again:
		return true
	case <-ctx.Done():
		return false
	}
}

// tellBehind tells the fold how far it is behind, and what keeps it so.
func (f *follower) tellBehind(err error) {
	f.mu.Lock()
	for _, t := range f.troubles {
		if err == nil {
			err = fmt.Errorf("%s can't be read: %w", t.Key, t.Err)
		}
	}
	b := Behind{Batches: f.lag(), Since: f.behindSince, Err: err}
	f.mu.Unlock()
	if fold, ok := f.fold.(Beside); ok {
		fold.SetBehind(b)
	}
}

func (f *follower) hasCaughtUp() bool {
	select {
	case <-f.caughtUp:
		return true
	default:
		return false
	}
}
