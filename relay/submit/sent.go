package submit

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	sentFor  = 24 * time.Hour // so long a writing is remembered
	sentMost = 20_000         // so many are, at most
)

// sentCache knows the writings that were submitted lately, so that each is sent once and can be taken back.
type sentCache struct {
	mu sync.Mutex
	m  map[string]*writing // by account and name
}

// writing is what is known of one. It belongs to whoever holds its turn.
type writing struct {
	account, name string
	turn          chan struct{} // cap 1: one at a time
	used          time.Time     // guarded by sentCache.mu

	known     bool // the index was asked, or it began here
	kept      bool // durable
	doubt     bool // whether it was kept isn't known; ids are those of that attempt
	ids       [3]string
	trace     string            // the signatures of that attempt
	sum       [sha256.Size]byte // of its message
	at        time.Time         // of it
	entries   []string
	rcpts     []int // number of recipients of each
	copy      string
	notBefore time.Time
	removed   bool // taken back
}

func (c *sentCache) init() { c.m = make(map[string]*writing) }

// begin waits for the turn of a writing.
func (c *sentCache) begin(ctx context.Context, account, name string) (*writing, error) {
	now := time.Now()
	c.mu.Lock()
	key := account + "\x00" + name
	w := c.m[key]
	if w == nil {
		c.forget(now)
		w = &writing{account: account, name: name, turn: make(chan struct{}, 1)}
		c.m[key] = w
	}
	w.used = now
	c.mu.Unlock()
	select {
	case w.turn <- struct{}{}:
		return w, nil
	case <-ctx.Done():
		return nil, &NotNow{Why: WhyStore, Err: context.Cause(ctx)}
	}
}

// end passes the turn on. What the index says is asked again unless something certain is known.
func (w *writing) end() {
	w.known = w.kept
	<-w.turn
}

// forget drops what is old. Callers hold c.mu.
func (c *sentCache) forget(now time.Time) {
	for key, w := range c.m {
		old := now.Sub(w.used) > sentFor || len(c.m) > sentMost && now.Sub(w.used) > time.Hour
		if old && len(w.turn) == 0 {
			delete(c.m, key)
		}
	}
}

func (w *writing) result(again bool) Result {
	return Result{Entries: append([]string(nil), w.entries...), Copy: w.copy, NotBefore: w.notBefore, Again: again}
}
