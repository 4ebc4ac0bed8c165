package spool

import (
	"context"
	"errors"
	"fmt"
)

// errAside: a fold that isn't the main one can't be used.
var errAside = errors.New("left behind")

// beginFolds compares the store with what each fold has of it, and returns from where the streams are read.
func (f *follower) beginFolds(ctx context.Context) (map[StreamID]Position, error) {
	fs, ok := f.fold.(*folds)
	if !ok {
		return f.beginFold(ctx, f.fold, true)
	}
	var positions map[StreamID]Position
	for i, p := range fs.all {
		p.setAside(false)
		its, err := f.beginFold(ctx, p.Fold, i == 0)
		if errors.Is(err, errAside) {
			p.leave(err)
			continue
		}
		if err != nil {
			return nil, err
		}
		positions = smallest(positions, its)
	}
	return positions, nil
}

// beginFold compares the store with what one fold has of it, and returns that fold's positions. Where the store is older, or
// another, the main fold is careful (beginAnew), and another one just begins anew.
func (f *follower) beginFold(ctx context.Context, fold Fold, main bool) (map[StreamID]Position, error) {
	r, rebuildable := fold.(Rebuildable)
	var positions map[StreamID]Position
	tries := 0
	err := f.retrying(ctx, "its own file", func() (err error) {
		defer func() {
			if tries++; err != nil && !main && tries >= asideAfter && !errors.Is(err, ErrForeign) {
				err = fmt.Errorf("%w: %w", errAside, err)
			}
		}()
		if rebuildable {
			if err := f.ours(ctx, r); err != nil && (main || !errors.Is(err, ErrForeign)) {
				return err
			} else if err != nil {
				f.log.Warn("a fold of another store is made anew", "err", err)
				if err := r.Reset(ctx); err != nil {
					return err
				}
			}
		}
		positions, err = fold.Positions(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	older := ""
	err = f.retrying(ctx, "the store", func() error {
		var err error
		older, err = f.older(ctx, positions)
		return err
	})
	if err != nil || older == "" {
		return positions, err
	}
	if main {
		return f.beginAnew(ctx, older)
	}
	if !rebuildable {
		return nil, fmt.Errorf("%w: the store is older than what was folded: %s", ErrForeign, older)
	}
	f.log.Warn("the store is older than what was folded of it: a fold is made anew", "missing", older)
	err = f.retrying(ctx, "its own file", func() error { return r.Reset(ctx) })
	return map[StreamID]Position{}, err
}

// main is the fold that the service can't do without, if it can be made anew.
func (f *follower) main() (Rebuildable, bool) {
	r, ok := mainFold(f.fold).(Rebuildable)
	return r, ok
}
