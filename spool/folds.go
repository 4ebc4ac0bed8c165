package spool

import "context"

// Folds feeds several folds from one Follow. The first is the one that the service can't do without.
func Folds(first Fold, others ...Fold) Fold { return &folds{all: append([]Fold{first}, others...)} }

type folds struct{ all []Fold }

func (f *folds) Positions(ctx context.Context) (map[StreamID]Position, error) {
	return f.all[0].Positions(ctx)
}

func (f *folds) Apply(ctx context.Context, steps []Step) error {
	for _, one := range f.all {
		if err := one.Apply(ctx, steps); err != nil {
			return err
		}
	}
	return nil
}
