package spool

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

// TestClaimOnce: of many callers on two nodes one is first, and nobody after it.
func TestClaimOnce(t *testing.T) {
	twoNodes(t, func(t *testing.T, _ *mem.Store, _ [2]*wrap.Fault, nodes [2]*Spool, _ [2]*sinkFold) {
		for _, name := range []string{"code-A-1", "code-A-2"} {
			var first atomic.Int32
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					won, err := nodes[i%2].Claim(t.Context(), name)
					if err != nil {
						t.Error(err)
					}
					if won {
						first.Add(1)
					}
				})
			}
			all.Wait()
			if first.Load() != 1 {
				t.Errorf("%s was claimed by %d", name, first.Load())
			}
		}
		if _, err := nodes[0].Claim(t.Context(), "a/../b"); !errors.Is(err, ErrVoid) {
			t.Errorf("a name with a slash: %v", err)
		}
	})
}

// TestClaimSettles: an answer that is lost, before or after the write, makes neither two winners nor none while the store comes back.
func TestClaimSettles(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		twoNodes(t, func(t *testing.T, _ *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, _ [2]*sinkFold) {
			faults[0].Add(wrap.Rule{Op: "put", Prefix: "once/", When: when, Times: 2, Action: wrap.Action{Err: errors.New("no answer")}})
			won, err := nodes[0].Claim(t.Context(), "link-1")
			if !won || err != nil {
				t.Errorf("answer lost %s the write: %v %v", when, won, err)
			}
			if again, err := nodes[1].Claim(t.Context(), "link-1"); again || err != nil {
				t.Errorf("the second: %v %v", again, err)
			}
		})
	}
}

// TestClaimWithoutStore: nothing is claimed, and it says whether that is certain.
func TestClaimWithoutStore(t *testing.T) {
	twoNodes(t, func(t *testing.T, _ *mem.Store, faults [2]*wrap.Fault, nodes [2]*Spool, _ [2]*sinkFold) {
		faults[0].Add(wrap.Rule{Op: "put", Prefix: "once/", When: "before", Action: wrap.Action{Err: errors.Join(blob.ErrNotWritten, errors.New("refused"))}})
		start := time.Now()
		if won, err := nodes[0].Claim(t.Context(), "link-1"); won || !errors.Is(err, ErrVoid) || errors.Is(err, ErrUnsettled) {
			t.Errorf("refused: %v %v", won, err)
		}
		if took := time.Since(start); took > 2*claimWait {
			t.Errorf("took %v", took)
		}
		faults[0].Clear()
		faults[0].Add(wrap.Rule{Op: "put", Prefix: "once/", When: "before", Action: wrap.Action{Err: errors.New("no answer")}})
		if won, err := nodes[0].Claim(t.Context(), "link-2"); won || !errors.Is(err, ErrUnsettled) {
			t.Errorf("unknown: %v %v", won, err)
		}
	})
}
