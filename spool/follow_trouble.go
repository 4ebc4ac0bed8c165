package spool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"restante/spool/batch"
	"restante/spool/blob"
)

const (
	insistTries = 6           // readings of an object, over some seconds, before it counts as trouble
	insistPause = time.Minute // at most, between later ones
)

// Trouble is an object that can't be read for another reason than damage, such as a disk's error or a refused
// request, for more than a moment.
type Trouble struct {
	Key   string
	Err   error
	Since time.Time
	// Ledger: the first reading of the store, Sync and with them replay wait for it, since a delivery may stand in it.
	// Otherwise only the mail of this object and of those behind it in its stream is late.
	Ledger bool
}

// Trouble returns what Follow can't read at present, by key.
func (s *Spool) Trouble() []Trouble {
	all, _ := s.follow.list()
	byKey := map[string]Trouble{}
	for _, f := range all {
		f.mu.Lock()
		for _, t := range f.troubles {
			byKey[t.Key] = t
		}
		f.mu.Unlock()
	}
	list := make([]Trouble, 0, len(byKey))
	for _, t := range byKey {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Trouble) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// errStuck: a stream goes on later.
var errStuck = errors.New("the stream is held up by an object that can't be read")

// lasting reports an error that another reading may not have: neither damage nor absence.
func lasting(err error) bool {
	return err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, blob.ErrNotExist) && !errors.Is(err, batch.ErrNewer)
}

// insist reads an object again that the store didn't give. In the ledger it does so until that works: a
// delivery may stand there, and who doesn't know of it delivers again. Of a stream of mail, and for a fold beside the first, by
// which nobody delivers, the rest is left for later (errStuck) as long as the store gives other things: it is only late.
func (f *follower) insist(ctx context.Context, t *tail, r *read) error {
	for lasting(r.err) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.failed(t, *r)
		if (!t.id.Ledger || f.lead != nil) && t.fails >= insistTries && f.src.answers(ctx) {
			return errStuck
		}
		if !sleep(ctx, min(time.Second, 50*time.Millisecond<<min(t.fails, 5))) {
			return ctx.Err()
		}
		r.step, r.head, r.err = f.src.step(ctx, t.id, r.seq)
	}
	f.freed(t)
	return nil
}

// failed notes that an object could not be read.
func (f *follower) failed(t *tail, r read) {
	t.fails++
	if t.fails < insistTries {
		return
	}
	t.retry = time.Now().Add(min(insistPause, time.Second<<min(t.fails-insistTries, 10)))
	f.mu.Lock()
	defer f.mu.Unlock()
	tr := Trouble{Key: t.id.Key(r.seq), Err: r.err, Since: time.Now(), Ledger: t.id.Ledger}
	if was, ok := f.troubles[t.id]; ok && was.Key == tr.Key {
		tr.Since = was.Since
	} else {
		f.log.Error("an object can't be read and is waited for", "key", tr.Key, "err", r.err)
	}
	f.troubles[t.id] = tr
}

// freed notes that the next object of a stream was read.
func (f *follower) freed(t *tail) {
	if t.fails == 0 {
		return
	}
	t.fails, t.retry = 0, time.Time{}
	f.mu.Lock()
	defer f.mu.Unlock()
	if was, ok := f.troubles[t.id]; ok {
		f.log.Info("an object can be read again", "key", was.Key)
		delete(f.troubles, t.id)
	}
}

// answers reports whether the store gives an object that is certainly there: when it doesn't, it is the store that fails.
func (o objects) answers(ctx context.Context) bool {
	_, _, err := o.get(ctx, rootKey, blob.Range{}, 64<<10)
	return err == nil
}
