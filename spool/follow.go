package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What the hand-over from the writers may hold before steps are dropped and read again from the store.
const (
	handItems   = 20000  // entries and events
	journalKeep = 100000 // events that stand in the journal only; they can't be read again from the store
)

// following is the state behind Follow: what is fed, by one follower for each call.
type following struct {
	cache     objectCache // of Fetch
	redeleted atomic.Bool // Retain has finished what earlier processes began
	mu        sync.Mutex
	followers map[*follower]struct{}
	started   chan struct{} // closed when a follower comes; nil: nobody waits for one
}

// list returns the followers, and a channel that is closed when there is another one.
func (f *following) list() ([]*follower, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*follower, 0, len(f.followers))
	for w := range f.followers {
		all = append(all, w)
	}
	if f.started == nil {
		f.started = make(chan struct{})
	}
	return all, f.started
}

func (f *following) add(w *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == nil {
		f.followers = map[*follower]struct{}{}
	}
	f.followers[w] = struct{}{}
	if f.started != nil {
		close(f.started)
		f.started = nil
	}
}

func (f *following) remove(w *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, w)
}

// committed is told of each batch that this process has settled, and of events that stand in the
// journal while the ledger can't be written (zero Step.Stream). It never blocks.
func (s *Spool) committed(st Step) {
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()
	for f := range s.follow.followers {
		f.hand(st)
	}
}

// folded blocks until the first fold that Follow feeds has applied the stream up to the position, or ctx ends.
// With no Follow running it blocks.
func (s *Spool) folded(ctx context.Context, id StreamID, pos Position) error {
	return s.eachFollower(ctx, func(f *follower) error { return f.await(ctx, id, pos.Seq) })
}

// Sync returns once everything that was durable in the store when it was called, in any stream of any
// node, has been folded by the first fold that Follow feeds; for the others see Abreast. Whoever has just taken over
// a lease calls it before acting. With no Follow running it blocks.
func (s *Spool) Sync(ctx context.Context) error {
	return s.eachFollower(ctx, func(f *follower) error { return f.sync(ctx) })
}

// CaughtUp returns once the first reading of the store, which a rebuild of the first fold makes long, has come to its end.
func (s *Spool) CaughtUp(ctx context.Context) error {
	return s.eachFollower(ctx, func(f *follower) error {
		select {
		case <-f.caughtUp:
			return nil
		case <-f.ended:
			return errFollowEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

var errFollowEnded = errors.New("nothing follows the store any more")

func (s *Spool) eachFollower(ctx context.Context, do func(*follower) error) error {
	for {
		all, another := s.follow.list()
		done := 0
		for _, f := range all {
			err := do(f)
			if errors.Is(err, errFollowEnded) {
				continue
			}
			if err != nil {
				return err
			}
			done++
		}
		if done > 0 {
			return nil
		}
		select {
		case <-another:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Lagging is a Fold that wants to know how far behind it is.
type Lagging interface {
	// SetLag tells how many batches are known of and not yet folded, and since when the oldest waits.
	SetLag(batches int, since time.Time)
}

// Rebuildable is a first fold that can begin anew. Follow asks for it when the store is older than the fold:
// then it was restored from a backup, or it is not the store that was folded.
type Rebuildable interface {
	// Cluster returns the cluster whose store was folded, "" if none was.
	Cluster(ctx context.Context) (string, error)
	// Domains returns the domains that the fold knows.
	Domains(ctx context.Context) ([]string, error)
	// Reset forgets the positions and all that was folded, except events about entries: a delivery
	// that the store has forgotten did happen.
	Reset(ctx context.Context) error
}

// Follow feeds the first fold with all streams until ctx ends, and then returns nil. It waits for a store
// that is down. First it looks whether the store is the one that was folded before (ErrForeign if it
// belongs to another cluster), then the ledger is read to its end, then the mail, so that nothing
// that was delivered ever looks pending; then dead streams of this node are sealed and all streams are
// followed: those of this process by what its writers hand over, others by asking for their next batch.
//
// The others are fed beside it, each by itself, with what the first has applied: see Beside.
func (s *Spool) Follow(ctx context.Context, first Fold, others ...Beside) error {
	ctx, cancel := context.WithCancel(ctx)
	f := newFollower(s, first)
	for _, o := range others {
		f.beside = append(f.beside, newBeside(f, o))
	}
	defer close(f.ended)
	defer f.running.Wait()
	defer cancel()
	s.follow.add(f)
	defer s.follow.remove(f)
	err := f.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// hand takes a step over from a writer. It never blocks; what doesn't fit is read from the store later.
func (f *follower) hand(st Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(st.Entries) + len(st.Events)
	if st.Stream.IsZero() && f.lead == nil {
		if len(f.journal)+n <= journalKeep {
			f.journal = append(f.journal, st.Events...)
		} else {
			f.log.Error("so many deliveries wait for the ledger that the index can't be told of all: they stand in the journal, and come with the next start", "events", n)
		}
	} else {
		if st.Position.Seq > f.heads[st.Stream] {
			f.heads[st.Stream] = st.Position.Seq
		}
		if f.handed+n <= handItems || len(f.queue) == 0 {
			f.queue = append(f.queue, st)
			f.handed += n
		}
	}
	if f.behindSince.IsZero() {
		f.behindSince = time.Now()
	}
	f.poke()
}

// poke wakes the loop.
func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// await blocks until the stream is applied up to seq.
func (f *follower) await(ctx context.Context, id StreamID, seq uint64) error {
	for {
		f.mu.Lock()
		done := f.applied[id] >= seq
		moved := f.moved
		if !done && f.heads[id] < seq {
			f.heads[id] = seq
		}
		f.mu.Unlock()
		if done {
			return nil
		}
		f.poke()
		select {
		case <-moved:
		case <-f.ended:
			return errFollowEnded
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to be folded up to %d: %w", id, seq, ctx.Err())
		}
	}
}

// sync asks the loop to list and read everything once more.
func (f *follower) sync(ctx context.Context) error {
	req := make(chan struct{})
	f.mu.Lock()
	f.syncs = append(f.syncs, req)
	f.mu.Unlock()
	f.poke()
	select {
	case <-req:
		return nil
	case <-f.ended:
		return errFollowEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}
