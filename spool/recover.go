package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"restante/spool/blob"
)

const (
	sealRetry    = time.Minute // until a stream that couldn't be sealed is tried again
	sealWait     = 30 * time.Second
	headsChecked = 8 // of each root: streams whose heads are compared, beside those that aren't sealed
)

// recover seals the streams that earlier processes of this node have left open. Nothing waits for it:
// a stream without a seal only costs requests, and a batch that lands late is read like any other.
func (f *follower) recover(ctx context.Context) error {
	if time.Now().Before(f.nextSeal) {
		return nil
	}
	f.nextSeal = time.Now().Add(sealRetry)
	for _, t := range f.tails {
		if t.pos.Sealed || t.id.Node() != f.s.Node() || f.s.writing(t.id) {
			continue
		}
		// The wait is bounded, so that a store that is down keeps nothing else waiting.
		sctx, cancel := context.WithTimeout(ctx, sealWait)
		pos, err := f.s.seal(sctx, t.id, t.pos)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			f.log.Warn("a stream of an earlier process can't be sealed yet", "stream", t.id.String(), "err", err)
			continue
		}
		f.log.Info("a stream of an earlier process is sealed", "stream", t.id.String(), "batches", pos.Seq-1)
		f.know(t.id, pos.Seq)
	}
	return f.readKnown(ctx)
}

// older compares the heads of streams with what was folded, and says what is missing in the store, or "".
// The last batch of a stream is never deleted, so what is missing was there when it was folded.
func (f *follower) older(ctx context.Context, positions map[StreamID]Position) (string, error) {
	for _, id := range worthChecking(positions) {
		pos := positions[id]
		if pos.Seq == 0 || pos.Hash == unknownHash {
			continue
		}
		_, head, err := f.src.step(ctx, id, pos.Seq-1)
		for try := 1; lasting(err) && try < insistTries && sleep(ctx, 50*time.Millisecond<<try); try++ {
			_, head, err = f.src.step(ctx, id, pos.Seq-1)
		}
		switch {
		case errors.Is(err, blob.ErrNotExist):
			return fmt.Sprintf("%s was folded, but is not there", id.Key(pos.Seq-1)), nil
		case errors.Is(err, ErrDamaged), errors.Is(err, blob.ErrUnreadable):
			f.log.Error("an object of the store is damaged. Run `restante fsck`", "key", id.Key(pos.Seq-1), "err", err)
		case lasting(err) && ctx.Err() == nil && f.src.answers(ctx):
			// It was folded already; the heads of other streams tell an older store as well.
			f.log.Error("an object can't be read", "key", id.Key(pos.Seq-1), "err", err)
		case err != nil:
			return "", err
		case head.Chain != pos.Hash:
			return fmt.Sprintf("%s is not the one that was folded", id.Key(pos.Seq-1)), nil
		}
	}
	return "", nil
}

// worthChecking picks the streams that aren't sealed and the newest of the others: a store that was
// restored lacks what is newest.
func worthChecking(positions map[StreamID]Position) []StreamID {
	var open, sealed []StreamID
	for id, pos := range positions {
		if pos.Sealed {
			sealed = append(sealed, id)
		} else {
			open = append(open, id)
		}
	}
	slices.SortFunc(sealed, func(a, b StreamID) int { return strings.Compare(started(b), started(a)) })
	left := map[bool]int{true: headsChecked, false: headsChecked}
	for _, id := range sealed {
		if left[id.Ledger] > 0 {
			left[id.Ledger]--
			open = append(open, id)
		}
	}
	return open
}

// started is the ULID in a stream's name, which sorts by time.
func started(id StreamID) string { return strings.TrimPrefix(id.Name, id.Node()+"-") }

// beginAnew prepares for folding a store that lacks what was folded before. What happened to mail since
// may be lost with the ledger, so replay of every domain waits for an admin's word: the event that says
// so is durable before anything is forgotten.
func (f *follower) beginAnew(ctx context.Context, why string) (map[StreamID]Position, error) {
	r, ok := f.fold.(Rebuildable)
	if !ok {
		return nil, fmt.Errorf("%w: the store is older than the index: %s", ErrForeign, why)
	}
	f.s.o.Metrics.alert("store-older")
	f.log.Error("the store is older than the index, as if restored from a backup: the index is made anew, and replay waits for `restante replay resume`. "+
		"Mail that was delivered after the backup may look pending; compare with the primary before you resume", "store", f.s.o.Store.String(), "missing", why)
	_, err := f.pauseAll(ctx, r, "", "the store is older than what this node knew ("+why+"), as if restored from a backup; see what the primary has, then resume")
	if err != nil {
		return nil, err
	}
	err = f.retrying(ctx, "its own file", func() error { return r.Reset(ctx) })
	return map[StreamID]Position{}, err
}

// pauseAll makes replay of every domain that the fold knows wait for an admin's word.
func (f *follower) pauseAll(ctx context.Context, r Rebuildable, key, reason string) ([]Event, error) {
	var domains []string
	err := f.retrying(ctx, "its own file", func() (err error) {
		domains, err = r.Domains(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var evs []Event
	for _, d := range domains {
		evs = append(evs, Event{ID: NewID(), Time: f.s.clock.now(), Type: ReplayPaused, By: "recovery", Domain: d, Batch: key, Reason: reason})
	}
	return evs, f.retrying(ctx, "the ledger", func() error { return f.s.Record(ctx, evs...) })
}

// doubt is called before a damaged batch of the ledger is passed over. Deliveries that stood in it would look
// pending, and their mail would be sent again: so replay of every domain waits for an admin's word, once for each such
// batch, and the events that say so are durable before the batch is behind us. At the first reading the domains are known only with the
// mail: the stream waits for it.
func (f *follower) doubt(ctx context.Context, t *tail, key string) error {
	r, ok := f.fold.(Rebuildable)
	switch {
	case !ok || f.lead != nil || f.told[key]:
		return nil
	case f.early:
		f.later = append(f.later, t)
		return errStuck
	}
	f.s.o.Metrics.alert("ledger-damaged")
	f.log.Error("the ledger is damaged: deliveries may be unknown, and replay waits for `restante replay resume`. Compare with the primary before you resume", "key", key)
	evs, err := f.pauseAll(ctx, r, key, "the ledger is damaged at "+key+": deliveries may be unknown; see what the primary has, then resume")
	if err != nil {
		return err
	}
	f.told[key] = true
	return f.add(ctx, Step{Events: evs, Cluster: f.s.Cluster()})
}

// readLater goes on with the streams that waited for the mail.
func (f *follower) readLater(ctx context.Context, ahead map[*tail][]uint64) error {
	later := f.later
	f.later = nil
	for _, t := range later {
		seqs := slices.DeleteFunc(ahead[t], func(n uint64) bool { return n < t.pos.Seq })
		if err := f.readAll(ctx, t, seqs); err != nil {
			return err
		}
	}
	return f.apply(ctx)
}
