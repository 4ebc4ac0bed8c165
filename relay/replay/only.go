package replay

import (
	"context"

	"restante/spool"
	"restante/spool/index"
)

// Only is an index that shows only the pairs that mine says yes to, for one of several engines that share the pairs of a
// domain. Sums are those of all.
func Only(x Index, mine func(*spool.Pair) bool) Index { return only{x, mine} }

type only struct {
	Index
	mine func(*spool.Pair) bool
}

func (o only) Pending(ctx context.Context, domain string, after index.Cursor, limit int) ([]spool.Pair, index.Cursor, error) {
	ps, next, err := o.Index.Pending(ctx, domain, after, limit)
	return o.keep(ps), next, err
}

func (o only) List(ctx context.Context, f index.Filter) ([]spool.Pair, index.Cursor, error) {
	ps, next, err := o.Index.List(ctx, f)
	return o.keep(ps), next, err
}

func (o only) Entry(ctx context.Context, id string) (*index.View, error) {
	v, err := o.Index.Entry(ctx, id)
	if err == nil {
		v.Pairs = o.keep(v.Pairs)
	}
	return v, err
}

func (o only) keep(ps []spool.Pair) []spool.Pair {
	kept := ps[:0]
	for i := range ps {
		if o.mine(&ps[i]) {
			kept = append(kept, ps[i])
		}
	}
	return kept
}
