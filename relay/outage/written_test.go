package outage

import (
	"testing"
	"time"

	"restante/relay/health"
)

// TestWritten: what was written here and can't be delivered doesn't hold an outage open for ever, and what is written afterwards
// opens none.
func TestWritten(t *testing.T) {
	w := newWorld("a.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		state := func(s health.State) {
			w.set("a.example", s)
			w.mu.Lock()
			defer w.mu.Unlock()
			r := w.states["a.example"]
			r.Since = time.Now()
			w.states["a.example"] = r
		}
		pending := func(all, written int64) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pending["a.example"], w.written["a.example"] = all, written
		}
		state(health.Down)
		wait(time.Second)
		pending(3, 2)
		state(health.Up)
		wait(2 * writtenWait)
		opened := "opened " + day + "-a.example"
		if got := w.log(); got != opened {
			t.Fatalf("events %s, want it open while mail from outside is pending", got)
		}
		state(health.Up)
		pending(2, 2)
		wait(writtenWait - time.Minute)
		if got := w.log(); got != opened {
			t.Fatalf("events %s, want it open for a while", got)
		}
		wait(2 * time.Minute)
		closed := opened + ", closed " + day + "-a.example"
		if got := w.log(); got != closed {
			t.Fatalf("events %s, want it closed though what was written here is pending", got)
		}
		pending(5, 5)
		wait(5 * sweepEvery)
		if got := w.log(); got != closed {
			t.Errorf("events %s, want none opened by what is written", got)
		}
		pending(6, 5)
		wait(2 * sweepEvery)
		if got := w.log(); got != closed+", opened "+day+"-a.example-2" {
			t.Errorf("events %s, want one opened by mail from outside", got)
		}
	})
}
