package submit

import (
	"context"

	"restante/spool"
	"restante/spool/index"
)

// view is the index as the engine sees it: the pairs that are delivered here, by the engine's names of their domains.
type view struct {
	Index
	takes func(*spool.Pair) bool
}

func (v view) keep(ps []spool.Pair) []spool.Pair {
	kept := ps[:0]
	for _, p := range ps {
		if !v.takes(&p) {
			continue
		}
		if p.Domain != spool.Smarthost {
			p.Domain = submissionName(p.Domain)
		}
		kept = append(kept, p)
	}
	return kept
}

func (v view) Pending(ctx context.Context, domain string, after index.Cursor, limit int) ([]spool.Pair, index.Cursor, error) {
	ps, next, err := v.Index.Pending(ctx, hostedName(domain), after, limit)
	return v.keep(ps), next, err
}

func (v view) List(ctx context.Context, f index.Filter) ([]spool.Pair, index.Cursor, error) {
	f.Domain = hostedName(f.Domain)
	ps, next, err := v.Index.List(ctx, f)
	return v.keep(ps), next, err
}

func (v view) Entry(ctx context.Context, id string) (*index.View, error) {
	e, err := v.Index.Entry(ctx, id)
	if err == nil {
		e.Pairs = v.keep(e.Pairs)
	}
	return e, err
}

func (v view) Summary(ctx context.Context, domain string) (index.Summary, error) {
	return v.Index.Summary(ctx, hostedName(domain))
}

// byRecovery is who pauses are by that package spool makes when the store is older than the index, or deliveries may be missing in it.
const byRecovery = "recovery"

// Paused is that of the engine's domain; what package spool says of a hosted domain holds for its submission server too, since what was
// delivered there may look pending as well.
func (v view) Paused(ctx context.Context, domain string) (spool.Event, bool, error) {
	ev, paused, err := v.Index.Paused(ctx, domain)
	hosted := hostedName(domain)
	if paused || err != nil || hosted == domain {
		return ev, paused, err
	}
	if other, paused, err := v.Index.Paused(ctx, hosted); err != nil || paused && other.By == byRecovery {
		return other, paused, err
	}
	return ev, false, nil
}
