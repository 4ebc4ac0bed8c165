package spool_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// ram is a fold that only counts, for tests with a fake clock.
type ram struct {
	mu      sync.Mutex
	pos     map[spool.StreamID]spool.Position
	entries int
	events  int
}

func (r *ram) Positions(context.Context) (map[spool.StreamID]spool.Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := map[spool.StreamID]spool.Position{}
	for k, v := range r.pos {
		m[k] = v
	}
	return m, nil
}

func (r *ram) Apply(_ context.Context, steps []spool.Step) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range steps {
		if !s.Stream.IsZero() {
			if s.Position.Seq != r.pos[s.Stream].Seq+1 {
				return fmt.Errorf("%s: step to %d after %d", s.Stream, s.Position.Seq, r.pos[s.Stream].Seq)
			}
			r.pos[s.Stream] = s.Position
		}
		r.entries += len(s.Entries)
		r.events += len(s.Events)
	}
	return nil
}

func (r *ram) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries
}

// node is a spool with a ram behind it, and others beside that.
func node(t *testing.T, store blob.Store, dir string, others ...spool.Beside) (*world, *ram) {
	w := openNode(t, store, dir)
	t.Cleanup(func() {
		if err := w.s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	fold := &ram{pos: map[spool.StreamID]spool.Position{}}
	go func() {
		if err := w.s.Follow(t.Context(), fold, others...); err != nil {
			t.Error(err)
		}
	}()
	return w, fold
}

// openNode is a spool that nothing follows yet.
func openNode(t *testing.T, store blob.Store, dir string) *world {
	t.Helper()
	s, err := spool.Open(t.Context(), spool.Options{Store: store, DataDir: dir, Limits: spool.Limits{MinFree: -1}})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, s: s, text: map[string]string{}}
}

// TestIdleCost: a month of S3 requests of an idle node stays under ten cents; of two that watch each other too.
func TestIdleCost(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		var dirs []string
		for range nodes {
			dirs = append(dirs, t.TempDir())
		}
		synctest.Test(t, func(t *testing.T) {
			store := mem.New()
			var bills []*wrap.Counter
			for _, dir := range dirs {
				c := wrap.Count(store)
				w, _ := node(t, c, dir, newRecorder())
				w.message(100)
				w.record(spool.Event{Type: spool.ReplayPaused, Domain: "example.test"})
				bills = append(bills, c)
			}
			time.Sleep(2 * time.Hour)
			for i, c := range bills {
				before := c.Bill()
				time.Sleep(24 * time.Hour)
				bill := c.Bill().Sub(before)
				if month := bill.Dollars() * 30; month > 0.10 {
					t.Errorf("node %d of %d: $%.3f a month: %s", i+1, nodes, month, bill)
				} else {
					t.Logf("node %d of %d: $%.3f a month", i+1, nodes, month)
				}
			}
		})
	}
}

// TestNews: mail of another node is seen within seconds while it writes, and within a quarter of an hour
// when a node that was never heard of begins.
func TestNews(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		_, seen := node(t, store, a)
		time.Sleep(time.Hour)
		other, _ := node(t, store, b)
		other.message(100)
		time.Sleep(15*time.Minute + time.Second)
		if n := seen.count(); n != 1 {
			t.Fatalf("%d entries seen after a quarter of an hour", n)
		}
		for range 20 {
			other.message(100)
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		if n := seen.count(); n != 21 {
			t.Errorf("%d entries seen, want 21", n)
		}
	})
}
