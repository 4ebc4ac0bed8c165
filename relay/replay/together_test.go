package replay

import (
	"fmt"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool/index"
)

const secondDomain = "second.test"

func (r *rig) countsOf(domain string) index.Counts {
	r.t.Helper()
	s, err := r.index.Summary(r.t.Context(), domain)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.All
}

// TestDomainsOfOnePrimaryShareTransactions: recipients in two domains behind one primary get an entry in one transaction, and
// each pair has its own outcome.
func TestDomainsOfOnePrimaryShareTransactions(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain}, {Name: secondDomain}}
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "busy@" + secondDomain, Count: 1, Reply: "450 4.2.1 busy"}}})
	for i := range n {
		second := fmt.Sprintf("v%d@%s", i, secondDomain)
		if i == n/2 {
			second = "busy@" + secondDomain
		}
		r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", fmt.Sprintf("u%d@%s", i, testDomain), second, fmt.Sprintf("w%d@%s", i, testDomain))
	}
	r.until("the index has all", func() bool { return r.countsOf(secondDomain).Pending == n })
	r.run()
	r.until("both have all", func() bool {
		return r.countsOf(testDomain).Delivered == 2*n && r.countsOf(secondDomain).Delivered == n
	})
	r.exact(0)
	if got := r.sink.Stats().Messages; got != n+1 {
		t.Errorf("%d transactions for %d entries, want one each, and one for the recipient who was busy", got, n)
	}
	r.until("claims are forgotten", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return len(r.engine.domains[testDomain].claims.m)+len(r.engine.domains[secondDomain].claims.m) == 0
	})
	for _, d := range []string{testDomain, secondDomain} {
		if s, err := r.engine.Status(t.Context(), d); err != nil || s.State != StateIdle {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// TestPausedDomainStaysBehind: what may not be sent of one domain doesn't hold up the other, nor go with it.
func TestPausedDomainStaysBehind(t *testing.T) {
	t.Parallel()
	const n = 40
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain}, {Name: secondDomain}}
	r.options.Config.Rate = 40
	for i := range n {
		r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", fmt.Sprintf("u%d@%s", i, testDomain), fmt.Sprintf("v%d@%s", i, secondDomain))
	}
	r.until("the index has all", func() bool { return r.countsOf(secondDomain).Pending == n })
	r.run()
	r.until("some are delivered", func() bool { return r.countsOf(secondDomain).Delivered > 2 })
	if err := r.engine.Pause(t.Context(), secondDomain, "admin root", "wait"); err != nil {
		t.Fatal(err)
	}
	r.until("the other has all", func() bool { return r.countsOf(testDomain).Delivered == n })
	if c := r.countsOf(secondDomain); c.Delivered == n || c.Pending == 0 {
		t.Errorf("%+v, want the rest to wait", c)
	}
	if err := r.engine.Resume(t.Context(), secondDomain, "admin root", ""); err != nil {
		t.Fatal(err)
	}
	r.until("both have all", func() bool { return r.countsOf(secondDomain).Delivered == n })
	r.exact(0)
}

// TestSharedTransactionsThroughFaults: lost connections, drops and too many recipients lose and double nothing.
func TestSharedTransactionsThroughFaults(t *testing.T) {
	t.Parallel()
	const n = 200
	r := newRig(t, sink.Options{Keep: true}).open()
	r.options.Domains = []Domain{{Name: testDomain}, {Name: secondDomain}}
	r.sink.SetFaults(sink.Faults{Delay: time.Millisecond, Rules: []sink.Rule{
		{Stage: sink.StageRcpt, Match: "many@" + secondDomain, Count: 3, Reply: "452 4.5.3 too many recipients"},
		{Stage: sink.StageDot, Skip: 20, Count: 3, Drop: sink.DropBefore},
		{Stage: sink.StageMail, Skip: 60, Count: 3, Drop: sink.DropBefore},
	}})
	for i := range n {
		second := fmt.Sprintf("v%d@%s", i, secondDomain)
		if i%20 == 0 {
			second = "many@" + secondDomain
		}
		r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", fmt.Sprintf("u%d@%s", i, testDomain), second)
	}
	r.until("the index has all", func() bool { return r.countsOf(secondDomain).Pending == n })
	r.run()
	r.until("both have all", func() bool {
		return r.countsOf(testDomain).Delivered == n && r.countsOf(secondDomain).Delivered == n
	})
	first, second := r.status(), Status{}
	second, err := r.engine.Status(t.Context(), secondDomain)
	if err != nil {
		t.Fatal(err)
	}
	r.exact(int(first.Unknown + second.Unknown))
}
