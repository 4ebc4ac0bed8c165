package wrap

import (
	"context"
	"io"
	"iter"
	"sync"

	"restante/spool/blob"
)

// Counter is a Store that counts the requests which its calls would be at S3, whatever store is beneath, so that a test can hold a budget.
// A list costs one request, and one more for each further thousand results.
type Counter struct {
	blob.Store
	mu   sync.Mutex
	bill blob.Bill
}

// Count returns a Counter around s.
func Count(s blob.Store) *Counter { return &Counter{Store: s} }

// Bill returns what was counted so far.
func (c *Counter) Bill() blob.Bill {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bill
}

func (c *Counter) add(b blob.Bill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bill.Puts += b.Puts
	c.bill.Lists += b.Lists
	c.bill.Gets += b.Gets
	c.bill.Deletes += b.Deletes
}

// Put implements blob.Store.
func (c *Counter) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	c.add(blob.Bill{Puts: 1})
	return c.Store.Put(ctx, key, body, cond)
}

// Get implements blob.Store.
func (c *Counter) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	c.add(blob.Bill{Gets: 1})
	return c.Store.Get(ctx, key, r)
}

// Delete implements blob.Store.
func (c *Counter) Delete(ctx context.Context, key string) error {
	c.add(blob.Bill{Deletes: 1})
	return c.Store.Delete(ctx, key)
}

// List implements blob.Store.
func (c *Counter) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return counted(c, c.Store.List(ctx, prefix, after))
}

// Prefixes implements blob.Store.
func (c *Counter) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return counted(c, c.Store.Prefixes(ctx, prefix))
}

const listPage = 1000

func counted[T any](c *Counter, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		c.add(blob.Bill{Lists: 1})
		n := 0
		for v, err := range all {
			if n++; n > listPage {
				c.add(blob.Bill{Lists: 1})
				n = 1
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// Free implements blob.Spacer.
func (c *Counter) Free(ctx context.Context) (free, total int64, err error) {
	return blob.Space(ctx, c.Store)
}

// Close closes the store beneath.
func (c *Counter) Close() error { return blob.Close(c.Store) }
