package replay

import (
	"strings"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
)

// What people watch is true in each of two hand-overs, though the index learns of everything late: done never falls, done and
// what is left add up to what there is, and all is done only at the end.
func TestProgressIsTrue(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Faults: sink.Faults{Delay: 20 * time.Millisecond}})
	r.fold = lagFold{r}
	r.open()
	r.run()
	const messages = 400
	for round := range int64(2) {
		r.health.set(health.Down, testDomain)
		r.keepMore(int(messages*round), messages)
		if s := r.status(); s.Done != 0 || s.Pending != messages || s.Total != messages {
			t.Errorf("round %d, before: %d of %d done, %d pending", round, s.Done, s.Total, s.Pending)
		}
		r.health.set(health.Up, testDomain)
		last := int64(0)
		r.until("all is done", func() bool {
			before := r.sink.Stats().Messages - messages*round
			s := r.status()
			after := r.sink.Stats().Messages - messages*round
			if s.Done < last || s.Total != messages || s.Done+s.Pending != messages {
				t.Errorf("round %d: %d of %d done (before: %d), %d pending", round, s.Done, s.Total, last, s.Pending)
			}
			// Each connection may have a reply that was sent and isn't counted yet.
			if s.Done > after || s.Done < before-64 {
				t.Errorf("round %d: %d done while the primary has between %d and %d", round, s.Done, before, after)
			}
			last = s.Done
			return s.Done == messages || t.Failed()
		})
		r.finished((round + 1) * messages)
	}
}

// A primary that doesn't answer the first message is waited for, for minutes, and the status says so.
func TestFirstReplyIsAwaited(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{Faults: sink.Faults{Rules: []sink.Rule{{Stage: sink.StageDot, Hang: true}}}})
	r.open()
	r.run()
	r.keepMany(2)
	r.until("the status says what is waited for", func() bool {
		s := r.status()
		return s.State == StateCanary && strings.Contains(s.Reason, "without a reply")
	})
	r.sink.Stop() // or the end of the test waits for that reply too
	r.until("nothing is awaited any more", func() bool { return r.status().Reason == "" })
}
