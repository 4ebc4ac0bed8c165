package spool

import "context"

// following is the state behind Follow: what was committed and not yet folded.
type following struct{}

// committed is told of each batch that this process has settled, and of events that stand in the
// journal while the ledger can't be written (zero Step.Stream). It never blocks.
func (s *Spool) committed(Step) {}

// folded blocks until every Fold that Follow runs has applied the stream up to the position, or ctx ends.
// With no Follow running it blocks.
func (s *Spool) folded(ctx context.Context, _ StreamID, _ Position) error {
	<-ctx.Done()
	return ctx.Err()
}

// Follow feeds the fold with all streams until ctx ends.
func (s *Spool) Follow(ctx context.Context, f Fold) error { <-ctx.Done(); return ctx.Err() }
