package submit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/spool"
	"restante/spool/blob/wrap"
)

// TestCrash crashes before and after every call to the store while mail is handed in, taken back and delivered, and goes on with the
// next process. What was said to be kept is delivered once; what was refused or taken back is not delivered at all, and of no
// message a part: promises 1, 2, 4 and 6.
func TestCrash(t *testing.T) {
	t.Parallel()
	points := crashAt(t, 0)
	if points < 8 {
		t.Errorf("only %d points: the life is too short to prove anything", points)
	}
	t.Logf("%d crash points", points)
	var all sync.WaitGroup
	some := make(chan struct{}, 12) // lives mostly wait
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 1; n <= points; n += step {
		some <- struct{}{}
		all.Go(func() {
			t.Run(fmt.Sprint(n), func(t *testing.T) { crashAt(t, n) })
			<-some
		})
	}
	all.Wait()
}

// crashAt lives one life that ends at the nth call to the store, 0: at none, and judges it. It returns the number of calls.
func crashAt(t *testing.T, n int) (points int) {
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Match: "nobody@", Reply: "550 5.1.1 no such user"}}}},
		func(o *Options) { o.Config.RetryMin = 10 * time.Millisecond })
	clean := r.store
	r.close()
	fault := wrap.NewFault(clean)
	r.store = fault
	r.open()
	first := len(fault.Points())
	if n > 0 {
		fault.CrashAt(first + n)
	}
	did := r.live()
	points = len(fault.Points()) - first
	r.die()
	r.store = clean
	r.open()
	r.run()
	did.judge(r)
	return points
}

// life is what the writers were told in the life of a process.
type life struct {
	sent  []Submission
	errs  []error
	undos []error
	undo  Submission
}

func (r *rig) live() *life {
	var l life
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Second)
	defer cancel()
	submit := func(m Submission) {
		_, err := r.service.Submit(ctx, m)
		l.sent, l.errs = append(l.sent, m), append(l.errs, err)
	}
	submit(r.submission("a@example.org", "bob@other.test", "b@example.org"))
	r.run()
	m := r.submission("c@example.org", "bob@other.test")
	m.Delay = time.Second
	submit(m)
	l.undo, l.undos = m, []error{r.service.Undo(ctx, anna, m.Writing)}
	submit(r.submission("nobody@example.org"))
	for range 100 { // until it is all delivered, or the store is gone
		if r.spool.Available() != nil || ctx.Err() != nil {
			break
		}
		changed := r.index.Changed()
		pending := 0
		for _, p := range r.pairs(spool.Outbound) {
			if p.State == spool.StatePending {
				pending++
			}
		}
		if pending == 0 {
			break
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		}
	}
	return &l
}

// die ends the process as kill -9 does, as far as that can be had inside one.
func (r *rig) die() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.spool.Close(ctx)
	r.running()
	r.running = nil
	r.stopFollow()
	r.stop = nil
}

func (l *life) judge(r *rig) {
	t := r.t
	t.Helper()
	r.sync()
	r.eventually("nothing is pending for the smarthost", func() bool {
		for _, p := range r.pairs(spool.Outbound) {
			if p.State == spool.StatePending {
				return false
			}
		}
		return true
	})
	r.sync()
	got := make(map[string]int) // copies at the smarthost by message and recipient
	for _, m := range r.host.Messages() {
		for i := range l.sent {
			if len(m.Data) > len(l.sent[i].Message) && string(m.Data[len(m.Data)-len(l.sent[i].Message):]) == string(l.sent[i].Message) {
				for _, rcpt := range m.Rcpts {
					got[fmt.Sprint(i, " ", rcpt)]++
				}
			}
		}
	}
	kinds := make(map[string]map[spool.Kind]bool)
	for _, p := range r.pairs(spool.Outbound, spool.Local, spool.Copy) {
		if v := r.view(p.Entry); v.Entry.Writing != "" {
			if kinds[v.Entry.Writing] == nil {
				kinds[v.Entry.Writing] = make(map[spool.Kind]bool)
			}
			kinds[v.Entry.Writing][v.Entry.Kind] = true
		}
	}
	want := [][]string{{"0 a@example.org", "0 b@example.org"}, {"1 c@example.org"}, {}}
	entries := []int{3, 3, 2}
	for i, err := range l.errs {
		kept := len(kinds[l.sent[i].Writing])
		taken := i == 1 && l.undos[0] == nil
		if kept != 0 && kept != entries[i] {
			t.Errorf("message %d: %d of %d entries are kept", i, kept, entries[i])
		}
		if err == nil && kept == 0 || err != nil && !errors.Is(err, ErrUnsettled) && kept > 0 {
			t.Errorf("message %d: told %v, %d entries are kept", i, err, kept)
		}
		for _, w := range want[i] {
			if n := got[w]; n > 1 || taken && n > 0 || !taken && kept > 0 && n == 0 && !r.removed(l.sent[i]) {
				t.Errorf("%s has it %d times; told %v, taken back %v", w, n, err, l.undos[0])
			}
		}
	}
	bounces := 0
	for _, p := range r.pairs(spool.Local) {
		if p.From == "" {
			bounces++
		}
	}
	if kept := len(kinds[l.sent[2].Writing]) > 0; kept && bounces != 1 || !kept && bounces > 0 {
		t.Errorf("%d bounces; kept %v", bounces, kept)
	}
}

// removed reports that all of a message was taken back, whatever the writer was told of that.
func (r *rig) removed(m Submission) bool {
	for _, p := range r.pairs(spool.Outbound) {
		if v := r.view(p.Entry); v.Entry.Writing == m.Writing && p.State == spool.StateRemoved {
			return true
		}
	}
	return false
}
