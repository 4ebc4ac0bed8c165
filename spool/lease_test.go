package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// twoNodes runs f in a bubble with two nodes on one store, each behind a Fault of its own and followed.
func twoNodes(t *testing.T, f func(t *testing.T, store *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, folds [2]*sinkFold)) {
	d := dirs(t, 2)
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		var faults [2]*wrap.Fault
		var nodes [2]*Spool
		var folds [2]*sinkFold
		for i := range 2 {
			faults[i] = wrap.NewFault(store)
			nodes[i] = openSpool(t, faults[i], d[i], Limits{})
			folds[i] = follow(t, nodes[i])
		}
		time.Sleep(time.Second)
		f(t, store, faults, nodes, folds)
		for i := range 2 {
			faults[i].Clear()
			select {
			case <-faults[i].Crashed():
				kill(nodes[i])
			default:
				closeSpool(t, nodes[i])
			}
		}
	})
}

func mustLease(t *testing.T, s *Spool, name string) *Lease {
	t.Helper()
	l, err := s.Lease(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLeaseExclusive: one holder at a time for as long as it renews; a release lets the next in at once, with all outcomes known to it.
func TestLeaseExclusive(t *testing.T) {
	twoNodes(t, func(t *testing.T, _ *mem.Store, _ [2]*wrap.Fault, nodes [2]*Spool, folds [2]*sinkFold) {
		first := mustLease(t, nodes[0], "example.com")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		if _, err := nodes[1].Lease(ctx, "example.com"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the other node: %v", err)
		}
		cancel()
		if !first.Valid() || first.Generation() != 1 {
			t.Errorf("after an hour: valid %v, generation %d", first.Valid(), first.Generation())
		}
		mustLease(t, nodes[1], "example.org")
		if err := nodes[0].Settle(Event{Type: Delivered, Entry: "E"}); err != nil {
			t.Fatal(err)
		}
		got := make(chan *Lease)
		go func() { got <- mustLease(t, nodes[1], "example.com") }()
		synctest.Wait()
		start := time.Now()
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if first.Valid() {
			t.Error("valid after its release")
		}
		second := <-got
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("the next holder waited %s after a release", took)
		}
		if second.Generation() != 2 {
			t.Errorf("generation %d", second.Generation())
		}
		if !folds[1].delivered("E") {
			t.Error("the next holder does not know what the last one delivered")
		}
	})
}

// TestLeaseOfDeadNode: another node takes it after a full term, having sealed and folded the dead one's ledger.
func TestLeaseOfDeadNode(t *testing.T) {
	twoNodes(t, func(t *testing.T, store *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, folds [2]*sinkFold) {
		first := mustLease(t, nodes[0], "example.com")
		if err := nodes[0].Record(t.Context(), Event{Type: Delivered, Entry: "E"}); err != nil {
			t.Fatal(err)
		}
		ledger := nodes[0].ledger.lanes[0].current()
		time.Sleep(9 * time.Second)
		faults[0].Crash()
		start := time.Now()
		second := mustLease(t, nodes[1], "example.com")
		took := time.Since(start)
		if first.Valid() {
			t.Error("two holders")
		}
		if took < 20*time.Second || took > 45*time.Second {
			t.Errorf("takeover took %s with a term of 30 s", took)
		}
		if second.Generation() != 2 || !second.Valid() {
			t.Errorf("generation %d", second.Generation())
		}
		if head := readAll(t, store).heads[ledger]; !head.Sealed {
			t.Error("the dead node's ledger was not sealed")
		}
		if !folds[1].delivered("E") {
			t.Error("what the dead node delivered is not known to its successor")
		}
	})
}

// TestLeaseLostByPartition: a holder that can't reach the store knows by its own clock that it has lost it, before another can have it.
func TestLeaseLostByPartition(t *testing.T) {
	twoNodes(t, func(t *testing.T, _ *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, _ [2]*sinkFold) {
		first := mustLease(t, nodes[0], "example.com")
		overlap := make(chan bool, 1)
		go func() {
			second := mustLease(t, nodes[1], "example.com")
			overlap <- first.Valid() && second.Valid()
		}()
		time.Sleep(20 * time.Second)
		faults[0].Script(func(wrap.Point) wrap.Action { return wrap.Action{Hang: true} })
		if <-overlap {
			t.Error("two holders at once")
		}
		select {
		case <-first.Lost():
		default:
			t.Error("the first holder was not told")
		}
		faults[0].Clear()
		time.Sleep(time.Minute)
		if first.Valid() {
			t.Error("a lost lease came back")
		}
	})
}

// TestLeaseUnknownOutcome: lost answers and late writes of renewals neither lose the lease nor give it to two.
func TestLeaseUnknownOutcome(t *testing.T) {
	for name, action := range map[string]wrap.Rule{
		"answers lost": {When: "after", Action: wrap.Action{Err: wrap.ErrLost}},
		"late":         {When: "before", Action: wrap.Action{Late: &wrap.Late{After: time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			twoNodes(t, func(t *testing.T, _ *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, _ [2]*sinkFold) {
				first := mustLease(t, nodes[0], "example.com")
				action.Op, action.Prefix = "put", "lease/"
				faults[0].Add(action)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				second, err := nodes[1].Lease(ctx, "example.com")
				if err == nil && first.Valid() && second.Valid() {
					t.Error("two holders")
				}
				if name == "answers lost" && !first.Valid() {
					t.Error("lost although each renewal was written")
				}
			})
		})
	}
}

// TestLeaseOfPredecessor: a killed process's lease is taken at once by the next one on its data_dir, and what stood in
// its ledger and journal is folded by then.
func TestLeaseOfPredecessor(t *testing.T) {
	dir := dirs(t, 1)[0]
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		fault := wrap.NewFault(store)
		s := openSpool(t, fault, dir, Limits{})
		first := mustLease(t, s, "example.com")
		if err := s.Record(t.Context(), Event{Type: Delivered, Entry: "recorded"}); err != nil {
			t.Fatal(err)
		}
		fault.Crash()
		if err := s.Settle(Event{Type: Delivered, Entry: "settled"}); err != nil {
			t.Fatal(err)
		}
		kill(s)
		next := openSpool(t, store, dir, Limits{})
		fold := follow(t, next)
		start := time.Now()
		second := mustLease(t, next, "example.com")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("took %s", took)
		}
		if first.Valid() || second.Generation() != 2 {
			t.Errorf("generation %d", second.Generation())
		}
		for _, entry := range []string{"recorded", "settled"} {
			if !fold.delivered(entry) {
				t.Errorf("the delivery that was %s is not known when the lease is held", entry)
			}
		}
		closeSpool(t, next)
		if second.Valid() {
			t.Error("valid after Close")
		}
	})
}

// TestLeaseOfTwin: a process on a copy of the data_dir, as when a machine was cloned, doesn't take the lease from the living first
// one; once that is dead it waits for a term, and not at all when the store can't be open twice.
func TestLeaseOfTwin(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		d := dirs(t, 2)
		synctest.Test(t, func(t *testing.T) {
			store := mem.New()
			fault := wrap.NewFault(store)
			s := openSpool(t, fault, d[0], Limits{})
			first := mustLease(t, s, "example.com")
			identity, err := os.ReadFile(filepath.Join(d[0], nodeFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d[1], nodeFile), identity, 0o600); err != nil {
				t.Fatal(err)
			}
			twin, err := Open(t.Context(), Options{Store: store, DataDir: d[1], Exclusive: exclusive, Limits: Limits{MinFree: -1}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			if !exclusive {
				short, stop := context.WithTimeout(ctx, 5*time.Minute)
				if _, err := twin.Lease(short, "example.com"); !errors.Is(err, context.DeadlineExceeded) || !first.Valid() {
					t.Errorf("the twin: %v; the first one's lease is valid: %v", err, first.Valid())
				}
				stop()
			}
			go func() { ended <- twin.Follow(ctx, newSinkFold()) }()
			fault.Crash()
			start := time.Now()
			mustLease(t, twin, "example.com")
			if took := time.Since(start); exclusive && took > 3*time.Second || !exclusive && (took < 20*time.Second || took > 45*time.Second) {
				t.Errorf("exclusive %v: took %s with a term of 30 s", exclusive, took)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			kill(s)
			closeSpool(t, twin)
		})
	}
}

// TestLeaseInOneProcess: the second caller waits for the first to let go.
func TestLeaseInOneProcess(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		s := openSpool(t, mem.New(), dir, Limits{})
		first := mustLease(t, s, "x")
		got := make(chan *Lease)
		go func() { got <- mustLease(t, s, "x") }()
		time.Sleep(time.Minute)
		select {
		case <-got:
			t.Fatal("two holders")
		default:
		}
		if err := first.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second := <-got
		if second.Generation() != 2 || !second.Valid() || first.Valid() {
			t.Error("second:", second.Generation(), second.Valid(), "first:", first.Valid())
		}
		closeSpool(t, s)
	})
}

// TestLeaseReleaseFails: a lease that could not be given back, since the ledger failed at that moment, is not kept
// alive by renewals: this process gets it again once the store is back, and so does another node.
func TestLeaseReleaseFails(t *testing.T) {
	twoNodes(t, func(t *testing.T, _ *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, folds [2]*sinkFold) {
		first := mustLease(t, nodes[0], "example.com")
		faults[0].SetDown(wrap.ErrDown)
		if err := nodes[0].Settle(Event{Type: Delivered, Entry: "E"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := first.Release(ctx); err == nil {
			t.Error("released without its outcomes in the ledger")
		}
		cancel()
		faults[0].SetDown(nil)
		if first.Valid() {
			t.Error("valid after its release")
		}
		for i := range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			l, err := nodes[i].Lease(ctx, "example.com")
			cancel()
			if err != nil {
				t.Fatalf("node %d never gets it again: %v", i, err)
			}
			if !folds[i].delivered("E") {
				t.Errorf("node %d holds the lease and doesn't know what was delivered", i)
			}
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLeaseCost: holding one costs a PUT each third of a term, and nothing once it is released.
func TestLeaseCost(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		l := mustLease(t, s, "x")
		before := len(fault.Points())
		time.Sleep(15 * time.Minute)
		if n := len(fault.Points()) - before; n > 2*101 {
			t.Errorf("%d points of calls in 15 minutes", n)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		before = len(fault.Points())
		time.Sleep(time.Hour)
		if n := len(fault.Points()) - before; n != 0 {
			t.Errorf("%d points of calls in an idle hour", n)
		}
		closeSpool(t, s)
	})
}

// TestLeaseOfFullStore: a full store is said at once, since only people can make room.
func TestLeaseOfFullStore(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		fault := wrap.NewFault(mem.New())
		s := openSpool(t, fault, dir, Limits{})
		fault.Add(wrap.Rule{Op: "put", Prefix: "lease/", When: "before", Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, blob.ErrNoSpace)}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Lease(ctx, "x"); !errors.Is(err, blob.ErrNoSpace) {
			t.Errorf("full: %v", err)
		}
		fault.Clear()
		if err := mustLease(t, s, "x").Release(t.Context()); err != nil {
			t.Error(err)
		}
		closeSpool(t, s)
	})
}

func TestLeaseName(t *testing.T) {
	bubble(t, func(t *testing.T, dir string) {
		s := openSpool(t, mem.New(), dir, Limits{})
		if _, err := s.Lease(t.Context(), "a b"); !errors.Is(err, blob.ErrInvalid) {
			t.Error(err)
		}
		closeSpool(t, s)
	})
}
