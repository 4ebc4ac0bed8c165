package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"restante/spool/batch"
	"restante/spool/blob"
)

// ReadCluster returns the id of the cluster that a store belongs to. ErrForeign when it is nobody's, or of a newer format.
func ReadCluster(ctx context.Context, store blob.Store) (string, error) {
	src := objects{store: store, codec: batch.New(), timeout: checkTimeout}
	b, _, err := src.get(ctx, rootKey, blob.Range{}, 64<<10)
	if errors.Is(err, blob.ErrNotExist) {
		return "", fmt.Errorf("%w: %s has no %s", ErrForeign, store, rootKey)
	}
	if err != nil {
		return "", err
	}
	var r root
	if err := json.Unmarshal(b, &r); err != nil || r.Cluster == "" {
		return "", fmt.Errorf("%w: %s in %s can't be read", ErrForeign, rootKey, store)
	}
	if r.Format > batch.Format {
		return "", fmt.Errorf("%w: %s is of format %d, this program knows up to %d: use a newer one", ErrForeign, store, r.Format, batch.Format)
	}
	return r.Cluster, nil
}

// ReadLedger calls each with all events of a store, stream by stream; one may come twice. It needs nothing but the store and
// may run beside a service. What can't be read is told to failed and passed over.
func ReadLedger(ctx context.Context, store blob.Store, each func(Event), failed func(key string, err error)) error {
	src := objects{store: store, codec: batch.New(), timeout: checkTimeout}
	ids, err := src.streams(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !id.Ledger {
			continue
		}
		seqs, err := src.seqs(ctx, id, 0, 0, nil)
		if err != nil {
			return err
		}
		type read struct {
			seq  uint64
			step Step
			err  error
		}
		if err := inOrder(ctx, seqs, func(ctx context.Context, seq uint64) read {
			st, _, err := src.step(ctx, id, seq)
			return read{seq, st, err}
		}, func(r read) error {
			if r.err != nil {
				failed(id.Key(r.seq), r.err)
				return ctx.Err()
			}
			for _, ev := range r.step.Events {
				each(ev)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
