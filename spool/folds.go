package spool

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// asideAfter is how often one of the other folds of Folds fails in a row before it is left behind.
const asideAfter = 10

// LeftBehind is a Fold that wants to know that Folds feeds it no longer, since it failed again and again, until Follow
// begins anew.
type LeftBehind interface {
	SetAside(err error)
}

// Folds feeds several folds from one Follow. Each keeps positions of its own: each stream is read from the smallest, and each fold
// passes over what it has, as every fold does. When the store is older than one of them, that one alone begins anew.
//
// The first is the one that the service can't do without: it is asked for the cluster and the domains, for its sake replay is
// paused, and what it can't apply is tried until it can. Another one that fails ten times in a row is left behind, and
// told so (LeftBehind): it must not hold up the first. A panic of it is such a failure.
func Folds(first Fold, others ...Fold) Fold {
	f := &folds{}
	for _, one := range append([]Fold{first}, others...) {
		f.all = append(f.all, &part{Fold: one})
	}
	return f
}

type folds struct{ all []*part }

// part is one of several folds.
type part struct {
	Fold
	mu    sync.Mutex
	fails int
	aside bool
}

// mainFold is the one that the service can't do without.
func mainFold(f Fold) Fold {
	if fs, ok := f.(*folds); ok {
		return fs.all[0].Fold
	}
	return f
}

// Positions returns the smallest position of each stream, and none of a stream that one of the folds doesn't know.
func (f *folds) Positions(ctx context.Context) (map[StreamID]Position, error) {
	var least map[StreamID]Position
	for _, p := range f.all {
		p.setAside(false)
		positions, err := p.Positions(ctx)
		if err != nil {
			return nil, err
		}
		least = smallest(least, positions)
	}
	return least, nil
}

// smallest merges positions; least is nil for the first.
func smallest(least, positions map[StreamID]Position) map[StreamID]Position {
	if least == nil {
		return positions
	}
	merged := map[StreamID]Position{}
	for id, a := range least {
		if b, ok := positions[id]; ok {
			if b.Seq < a.Seq {
				a = b
			}
			merged[id] = a
		}
	}
	return merged
}

// Apply gives the steps to each fold. Those that have them already pass over them when they come again after an error.
func (f *folds) Apply(ctx context.Context, steps []Step) error {
	var errs []error
	for i, p := range f.all {
		if p.isAside() {
			continue
		}
		apply := p.Apply
		if i > 0 {
			apply = p.safely
		}
		err := apply(ctx, steps)
		if err == nil {
			p.fails = 0
			continue
		}
		if i == 0 {
			return err
		}
		if p.fails++; p.fails < asideAfter || ctx.Err() != nil {
			errs = append(errs, err)
			continue
		}
		p.leave(fmt.Errorf("it failed %d times in a row: %w", p.fails, err))
	}
	return errors.Join(errs...)
}

// safely is Apply for folds that the service can do without: what one of them doesn't survive mustn't end the service, at each start
// again.
func (p *part) safely(ctx context.Context, steps []Step) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return p.Apply(ctx, steps)
}

// leave feeds the fold no longer.
func (p *part) leave(err error) {
	p.setAside(true)
	if l, ok := p.Fold.(LeftBehind); ok {
		l.SetAside(err)
	}
}

func (p *part) isAside() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aside
}

func (p *part) setAside(aside bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.aside = aside
	if !aside {
		p.fails = 0
	}
}

// SetLag tells those folds that want to know.
func (f *folds) SetLag(batches int, since time.Time) {
	for _, p := range f.all {
		if l, ok := p.Fold.(Lagging); ok {
			l.SetLag(batches, since)
		}
	}
}
