package spool_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/index"
)

// paused returns the reason why replay of a domain waits, "" if it doesn't.
func (w *world) paused(domain string) string {
	w.t.Helper()
	ev, ok, err := w.x.Paused(w.t.Context(), domain)
	if err != nil {
		w.t.Fatal(err)
	}
	if !ok {
		return ""
	}
	return ev.Reason
}

// TestDamagedLedger: when a batch of the ledger is damaged, replay of all domains has paused by the time the first reading ends,
// what stands behind it in its stream counts, and once an admin has resumed it stays so, even with an index made anew.
func TestDamagedLedger(t *testing.T) {
	store, dir := mem.New(), t.TempDir()
	w := start(t, store, dir)
	lost, known := w.message(10, "a@example.test", "b@other.test"), w.message(10)
	w.record(delivered(lost))
	w.record(delivered(known))
	w.end()
	bad := keysOf(t, store, "ledger/")[0]
	object, _ := readObject(t, store, bad)
	replaceObject(t, store, bad, object[:len(object)/2])

	caughtUp := func(paused bool) {
		t.Helper()
		if err := index.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		w = start(t, store, dir)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := w.s.CaughtUp(ctx); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{"example.test", "other.test"} {
			if reason := w.paused(d); strings.Contains(reason, "the ledger is damaged at "+bad+": deliveries may be unknown") != paused {
				t.Errorf("%s: paused %v: %q", d, !paused, reason)
			}
		}
		if got := w.states(); got[lost+"/0"] != spool.StatePending || got[known+"/0"] != spool.StateDelivered {
			t.Errorf("%v", got)
		}
	}
	caughtUp(true)
	w.end()
	w = start(t, store, dir) // an ordinary start says nothing new
	w.sync()
	w.record(spool.Event{Type: spool.ReplayResumed, Domain: "example.test", By: "admin"}, spool.Event{Type: spool.ReplayResumed, Domain: "other.test", By: "admin"})
	w.sync()
	w.end()
	caughtUp(false)
}

// TestDamagedLedgerOfAnother: the same when another node's batch is damaged, while it is followed.
func TestDamagedLedgerOfAnother(t *testing.T) {
	store := mem.New()
	a := start(t, store, t.TempDir())
	id := a.message(10)
	a.record(spool.Event{Type: spool.Learned, Address: "me@example.test"})
	snapshot := clone(t, store)
	b := start(t, snapshot, t.TempDir())
	b.sync()
	a.record(delivered(id))
	keys := keysOf(t, store, "ledger/")
	object, _ := readObject(t, store, keys[1])
	if _, err := snapshot.Put(t.Context(), keys[1], strings.NewReader(string(object[:len(object)/2])), blob.Cond{Absent: true}); err != nil {
		t.Fatal(err)
	}
	b.sync()
	if reason := b.paused("example.test"); !strings.Contains(reason, keys[1]) {
		t.Errorf("paused: %q", reason)
	}
}
