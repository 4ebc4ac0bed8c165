package spool

import (
	"context"
	"fmt"
	"slices"
)

// begin waits for the store and compares it with what was folded.
func (f *follower) begin(ctx context.Context) error {
	err := f.retrying(ctx, "the store", func() error {
		if f.s.Cluster() == "" {
			return f.notYet()
		}
		return nil
	})
	if err != nil {
		return err
	}
	positions, err := f.beginFold(ctx)
	if err != nil {
		return err
	}
	f.from(positions)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journal = append(slices.Clone(f.s.journaled()), f.journal...)
	for _, b := range f.beside {
		for id, pos := range positions {
			b.know(id, pos.Seq)
		}
	}
	return nil
}

// from goes on from where the fold is.
func (f *follower) from(positions map[StreamID]Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, pos := range positions {
		f.tails[id] = &tail{id: id, pos: pos, broken: pos.Hash == unknownHash}
		f.applied[id] = pos.Seq
	}
}

// beginFold compares the store with what the first fold has of it, and returns from where the streams are read.
func (f *follower) beginFold(ctx context.Context) (positions map[StreamID]Position, err error) {
	err = f.retrying(ctx, "its own file", func() (err error) {
		if r, ok := f.fold.(Rebuildable); ok {
			if err := f.ours(ctx, r); err != nil {
				return err
			}
		}
		positions, err = f.fold.Positions(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	older := ""
	err = f.retrying(ctx, "the store", func() (err error) {
		older, err = f.older(ctx, positions)
		return err
	})
	if err != nil || older == "" {
		return positions, err
	}
	return f.beginAnew(ctx, older)
}

type clustered interface {
	Cluster(ctx context.Context) (string, error)
}

// ours refuses a fold of another cluster's store.
func (f *follower) ours(ctx context.Context, fold clustered) error {
	switch cluster, err := fold.Cluster(ctx); {
	case err != nil:
		return err
	case cluster != "" && cluster != f.s.Cluster():
		return fmt.Errorf("%w: the index was folded from cluster %s, but %s is cluster %s: is it the right store? If so, delete the index", ErrForeign, cluster, f.s.o.Store, f.s.Cluster())
	}
	return nil
}

func (f *follower) notYet() error {
	if err := f.s.vigil.down(); err != nil {
		return err
	}
	return ErrStoreDown
}
