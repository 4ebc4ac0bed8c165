package wrap

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	"restante/spool/blob"
)

// RetryOptions of Retry. The zero value is 5 tries over about 2 seconds.
type RetryOptions struct {
	Tries int           // of one call; 0: 5
	First time.Duration // wait before the second try, doubled before each one after it, less up to half at random; 0: 150 ms
	Max   time.Duration // the longest such wait; 0: 2 s
}

// Retry repeats calls that failed, where repeating can do no harm: reads, lists and deletes, and a Put only after blob.ErrNotWritten. A Put whose
// outcome is unknown is left to the caller to settle. A Get whose reader fails goes on at the octet where it stopped, in
// the same version of the object; a list goes on after the last key.
func Retry(s blob.Store, o RetryOptions) blob.Store {
	if o.Tries == 0 {
		o.Tries = 5
	}
	if o.First == 0 {
		o.First = 150 * time.Millisecond
	}
	if o.Max == 0 {
		o.Max = 2 * time.Second
	}
	return &retry{Store: s, o: o}
}

type retry struct {
	blob.Store
	o RetryOptions
}

// final reports errors that another try would only give again.
func final(err error) bool {
	for _, e := range []error{blob.ErrNotExist, blob.ErrPrecondition, blob.ErrNoSpace, blob.ErrUnreadable, blob.ErrRange, blob.ErrInvalid, blob.ErrUnfit} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// pause waits before try n+1 (n from 1) and reports whether there is to be one.
func (r *retry) pause(ctx context.Context, n int, err error) bool {
	if n >= r.o.Tries || final(err) || ctx.Err() != nil {
		return false
	}
	d := min(r.o.First<<(n-1), r.o.Max)
	t := time.NewTimer(d - rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Put implements blob.Store.
func (r *retry) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	for n := 1; ; n++ {
		etag, err := r.Store.Put(ctx, key, body, cond)
		if err == nil || !errors.Is(err, blob.ErrNotWritten) || !r.pause(ctx, n, err) {
			return etag, err
		}
	}
}

// Delete implements blob.Store.
func (r *retry) Delete(ctx context.Context, key string) error {
	for n := 1; ; n++ {
		err := r.Store.Delete(ctx, key)
		if err == nil || !r.pause(ctx, n, err) {
			return err
		}
	}
}

// Get implements blob.Store.
func (r *retry) Get(ctx context.Context, key string, rng blob.Range) (io.ReadCloser, blob.Info, error) {
	for n := 1; ; n++ {
		rd, info, err := r.Store.Get(ctx, key, rng)
		if err == nil {
			from, to, err := rng.Resolve(info.Size)
			if err != nil {
				return nil, blob.Info{}, errors.Join(err, rd.Close())
			}
			return &resumer{retry: r, ctx: ctx, rd: rd, info: info, at: from, end: to}, info, nil
		}
		if !r.pause(ctx, n, err) {
			return nil, blob.Info{}, err
		}
	}
}

// resumer is a reader that asks again for the rest when it fails.
type resumer struct {
	retry   *retry
	ctx     context.Context
	rd      io.ReadCloser
	info    blob.Info
	at, end int64
	tries   int // since the last octet
}

func (r *resumer) Read(p []byte) (int, error) {
	for {
		n, err := r.rd.Read(p)
		r.at += int64(n)
		if n > 0 {
			r.tries = 0
			return n, nil // an error comes again with the next Read
		}
		if err == nil || errors.Is(err, io.EOF) && r.at >= r.end {
			return 0, err
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if r.tries++; !r.retry.pause(r.ctx, r.tries, err) {
			return 0, err
		}
		if rerr := r.resume(); final(rerr) {
			return 0, errors.Join(err, rerr)
		}
	}
}

// resume opens the rest. When that fails for now, the old reader's error will lead here again.
func (r *resumer) resume() error {
	rd, info, err := r.retry.Store.Get(r.ctx, r.info.Key, blob.Range{Offset: r.at, Length: r.end - r.at})
	if err != nil {
		return err
	}
	if info.ETag != r.info.ETag || info.Size != r.info.Size {
		return errors.Join(blob.ErrUnreadable, errors.New("the object changed while it was read"), rd.Close())
	}
	r.rd.Close() // has failed already
	r.rd = rd
	return nil
}

func (r *resumer) Close() error { return r.rd.Close() }

// List implements blob.Store.
func (r *retry) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return again(ctx, r, after,
		func(after string) iter.Seq2[blob.Info, error] { return r.Store.List(ctx, prefix, after) },
		func(i blob.Info) string { return i.Key })
}

// Prefixes implements blob.Store. It goes on by passing over what was given before.
func (r *retry) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return again(ctx, r, "",
		func(after string) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				for segment, err := range r.Store.Prefixes(ctx, prefix) {
					if err == nil && after != "" && segment+"/" <= after {
						continue
					}
					if !yield(segment, err) {
						return
					}
				}
			}
		},
		func(segment string) string { return segment + "/" })
}

// again yields what from(after) does, and goes on after the last when that fails.
func again[T any](ctx context.Context, r *retry, after string, from func(after string) iter.Seq2[T, error], key func(T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for n := 1; ; n++ {
			var failed error
			for v, err := range from(after) {
				if err != nil {
					failed = err
					break
				}
				n, after = 1, key(v)
				if !yield(v, nil) {
					return
				}
			}
			if failed == nil {
				return
			}
			if !r.pause(ctx, n, failed) {
				var zero T
				yield(zero, failed)
				return
			}
		}
	}
}

// Free implements blob.Spacer.
func (r *retry) Free(ctx context.Context) (free, total int64, err error) {
	return blob.Space(ctx, r.Store)
}

// Close closes the store beneath.
func (r *retry) Close() error { return blob.Close(r.Store) }
