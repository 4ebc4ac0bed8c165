package wrap

import (
	"context"
	"fmt"
	"io"
	"iter"

	"restante/spool/blob"
)

// Limit lets at most n calls run at once, so that a burst doesn't open a thousand connections to the store; others wait, or end with
// their ctx (a Put then with blob.ErrNotWritten). A Get counts until its reader is there, a list while a page may be under way:
// between what it yields it holds no place.
func Limit(s blob.Store, n int) blob.Store {
	return &limit{Store: s, places: make(chan struct{}, n)}
}

type limit struct {
	blob.Store
	places chan struct{}
}

func (l *limit) enter(ctx context.Context) error {
	select {
	case l.places <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for other calls to the store: %w", context.Cause(ctx))
	}
}

func (l *limit) leave() { <-l.places }

// Put implements blob.Store.
func (l *limit) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	if err := l.enter(ctx); err != nil {
		return "", fmt.Errorf("put %s: %w: %w", key, err, blob.ErrNotWritten)
	}
	defer l.leave()
	return l.Store.Put(ctx, key, body, cond)
}

// Get implements blob.Store.
func (l *limit) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := l.enter(ctx); err != nil {
		return nil, blob.Info{}, fmt.Errorf("get %s: %w", key, err)
	}
	defer l.leave()
	return l.Store.Get(ctx, key, r)
}

// Delete implements blob.Store.
func (l *limit) Delete(ctx context.Context, key string) error {
	if err := l.enter(ctx); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	defer l.leave()
	return l.Store.Delete(ctx, key)
}

// List implements blob.Store.
func (l *limit) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return limited(ctx, l, l.Store.List(ctx, prefix, after))
}

// Prefixes implements blob.Store.
func (l *limit) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return limited(ctx, l, l.Store.Prefixes(ctx, prefix))
}

func limited[T any](ctx context.Context, l *limit, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		next, stop := iter.Pull2(all)
		defer stop()
		for {
			if err := l.enter(ctx); err != nil {
				var zero T
				yield(zero, fmt.Errorf("list: %w", err))
				return
			}
			v, err, ok := next()
			l.leave()
			if !ok || !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Free implements blob.Spacer.
func (l *limit) Free(ctx context.Context) (free, total int64, err error) {
	return blob.Space(ctx, l.Store)
}

// Close closes the store beneath.
func (l *limit) Close() error { return blob.Close(l.Store) }
