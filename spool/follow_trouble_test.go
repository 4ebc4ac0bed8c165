package spool_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

var errIO = errors.New("input/output error")

// TestUnreadable: an object of mail that the store doesn't give holds up its stream alone; one of the
// ledger holds up the first reading. Both are told of, and read once that works.
func TestUnreadable(t *testing.T) {
	for _, root := range []string{"mail/", "ledger/"} {
		t.Run(root, func(t *testing.T) {
			dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
			synctest.Test(t, func(t *testing.T) {
				store := mem.New()
				for _, dir := range dirs[:2] {
					w, _ := node(t, store, dir)
					w.message(10)
					w.message(10)
					w.record(spool.Event{Type: spool.Learned, Address: "me@example.test"})
				}
				bad := keysOf(t, store, root)[0]
				fault := wrap.NewFault(store)
				fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: bad, Action: wrap.Action{Err: errIO}})
				w, fold := node(t, fault, dirs[2])
				caughtUp := make(chan error, 1)
				go func() { caughtUp <- w.s.CaughtUp(t.Context()) }()
				time.Sleep(time.Minute)
				trouble := w.s.Trouble()
				if len(trouble) != 1 || trouble[0].Key != bad || !errors.Is(trouble[0].Err, errIO) || trouble[0].Ledger != (root == "ledger/") {
					t.Errorf("trouble: %+v", trouble)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if root == "mail/" {
					if err := <-caughtUp; err != nil || fold.count() != 2 {
						t.Errorf("%d entries, %v", fold.count(), err)
					}
					if err := w.s.Sync(ctx); err != nil {
						t.Error(err)
					}
				} else if len(caughtUp) > 0 {
					t.Error("caught up without the ledger")
				}
				fault.Clear()
				time.Sleep(2 * time.Minute)
				if n := fold.count(); n != 4 {
					t.Errorf("%d entries", n)
				}
				if trouble := w.s.Trouble(); len(trouble) != 0 {
					t.Errorf("trouble that is over: %+v", trouble)
				}
			})
		})
	}
}

// TestSyncWaitsForLedger: Sync doesn't end while the next object of another node's ledger can't be read.
func TestSyncWaitsForLedger(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		fault := wrap.NewFault(store)
		other, _ := node(t, store, a)
		other.record(spool.Event{Type: spool.Learned, Address: "me@example.test"})
		w, fold := node(t, fault, b)
		if err := w.s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: "ledger/", Action: wrap.Action{Err: errIO}})
		other.record(delivered(spool.NewID()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.s.Sync(ctx); err == nil {
			t.Error("synced without an object of the ledger that can't be read")
		}
		if trouble := w.s.Trouble(); len(trouble) != 1 || !strings.HasPrefix(trouble[0].Key, "ledger/") {
			t.Errorf("trouble: %+v", trouble)
		}
		fault.Clear()
		if err := w.s.Sync(t.Context()); err != nil || fold.events != 2 {
			t.Errorf("%d events, %v", fold.events, err)
		}
	})
}

// TestCheckUnreadable: fsck names an object that the store doesn't give and reads all others; only a store that gives nothing ends it.
func TestCheckUnreadable(t *testing.T) {
	store := mem.New()
	w := start(t, store, t.TempDir())
	w.message(10)
	w.message(30000)
	w.message(10)
	w.record(spool.Event{Type: spool.ReplayPaused, Domain: "example.test"})
	w.end()
	whole := check(t, store, spool.CheckOptions{})
	for _, prefix := range []string{"mail/", "ledger/", "big/"} {
		for _, quick := range []bool{false, true} {
			if quick && prefix == "big/" {
				continue
			}
			bad := keysOf(t, store, prefix)[0]
			fault := wrap.NewFault(store)
			fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: bad, Action: wrap.Action{Err: errIO}})
			rep := check(t, fault, spool.CheckOptions{Quick: quick}, spool.FoundUnread)
			if len(rep.Findings) != 1 || rep.Findings[0].Key != bad || rep.OK() || rep.Batches != whole.Batches {
				t.Errorf("%s: %d of %d batches: %+v", bad, rep.Batches, whole.Batches, rep.Findings)
			}
		}
	}
	fault := wrap.NewFault(store)
	fault.Add(wrap.Rule{Op: "get", When: "before", Prefix: "ledger/", Times: 1, Action: wrap.Action{Err: errIO}})
	fault.Add(wrap.Rule{Op: "get", When: "before", Skip: 1, Action: wrap.Action{Err: errIO}})
	if rep, err := spool.Check(t.Context(), fault, spool.CheckOptions{}); !errors.Is(err, errIO) {
		t.Errorf("a store that fails: %+v %v", rep, err)
	}
}
