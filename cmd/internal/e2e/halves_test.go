package e2e

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/relay/sink"
)

// A primary that is restored by half makes one mistake after the other while mail keeps coming in. Nothing is bounced
// or lost, nothing stands still longer than it must, and in the end the reports tell exactly what became of what.
func TestHalfRestoredPrimary(t *testing.T) {
	whole(t)
	t.Parallel()
	primary := newReceiver(t)
	table, noticed := notices(t)
	n := newNode(t, node.Options{
		Primary: primary.Addr(),
		SMTP:    "max_sessions_per_address = 1000",
		Extra:   "probe_interval = \"1s\"\nrecipients = [\"@\"]\n[replay]\nretry_min = \"1s\"\nretry_max = \"1m\"\n" + table,
	})
	start(t, n)
	waitState(t, n, "up")
	var told ledger
	var next atomic.Int64
	pour := pourOptions{addr: n.SMTP, sessions: 2, burst: 5, pace: 100 * time.Millisecond}
	rule := func(r sink.Rule) sink.Faults { return sink.Faults{Rules: []sink.Rule{r}} }
	// well ends the mistakes; the load goes on meanwhile, and all that was kept is handed over.
	well := func(parked int64) {
		t.Helper()
		primary.SetFaults(sink.Faults{})
		p := told.pour(t, pour, &next)
		defer p.stop()
		waitState(t, n, "up")
		wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending <= 20 })
		p.stop()
		wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 && d.Parked <= parked })
	}
	// outage stops the primary, keeps some mail, and starts it again with faults, under a load that goes on for a while.
	outage := func(f sink.Faults, enough func() bool) {
		t.Helper()
		primary.Stop()
		p := told.pour(t, pour, &next)
		defer p.stop()
		wait(t, n, 30*time.Second, func(d node.Domain) bool { return d.State == "down" && d.Pending >= 50 })
		primary.SetFaults(f)
		if err := primary.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "the mistakes have had their effect", 30*time.Second, enough)
		p.stop()
	}
	refused := func(more int64) func() bool {
		from := primary.Stats().Refused
		return func() bool { return primary.Stats().Refused >= from+more }
	}

	// Nobody is known good yet who could be asked for in a probe, so kept mail is what is refused.
	t.Log("550 to everyone")
	outage(rule(sink.Rule{Stage: sink.StageRcpt, Reply: "550 5.1.1 User unknown"}), func() bool { return noticed("replay-paused") })
	d, err := n.Status(t.Context())
	if err != nil || d.Parked > 0 || d.Pending < 50 {
		t.Errorf("refused by everyone: %+v (%v), want all of it pending", d, err)
	}
	primary.SetFaults(sink.Faults{})
	if os.Getenv("RESTANTE_TEST_CHAOS") == "" { // else there is time to wait until it tries again by itself
		if _, err := n.CLI(t.Context(), "replay", "resume", "--domain", "example.test"); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	wait(t, n, 8*time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 && d.Parked == 0 })
	t.Logf("replay was over %v after the primary was well", time.Since(began))
	well(0)

	t.Log("452 to everyone")
	outage(rule(sink.Rule{Stage: sink.StageMail, Reply: "452 4.3.1 Insufficient system storage"}), refused(5))
	well(0)

	t.Log("421 above five connections")
	from := primary.taken()
	outage(sink.Faults{MaxConnections: 5, Delay: 5 * time.Millisecond}, func() bool { return primary.taken() > from+50 })
	well(0)

	t.Log("the connection is dropped after the dot")
	from = primary.taken()
	outage(rule(sink.Rule{Stage: sink.StageDot, Drop: sink.DropAfter, Rate: 0.1}), func() bool { return primary.taken() > from+50 })
	well(0)

	t.Log("one message crashes the filter")
	primary.Stop()
	waitState(t, n, "down")
	crash := load.Send(t.Context(), load.SendOptions{Addr: n.SMTP, Run: "crash", First: int(next.Add(1)) - 1, Messages: 1, Size: 2000,
		Sessions: 1, To: "crash@example.test", Record: func(load.Attempt) {}})
	if crash.Accepted != 1 {
		t.Fatal(crash)
	}
	// All other mail passes meanwhile, and it is parked for that: it comes back last, after a person has looked at it.
	outage(rule(sink.Rule{Stage: sink.StageDot, Match: "crash@", Drop: sink.DropBefore}), func() bool {
		d, err := n.Status(t.Context())
		return err == nil && d.Parked == 1
	})
	well(1)

	// Now somebody is: a probe finds out, and nothing is sent until he is known again.
	t.Log("550 to everyone, again")
	outage(rule(sink.Rule{Stage: sink.StageRcpt, Reply: "550 5.1.1 User unknown"}), refused(5))
	if d, err = n.Status(t.Context()); err != nil || d.Parked > 1 || d.Pending < 50 {
		t.Errorf("refused by everyone: %+v (%v), want all of it pending", d, err)
	}
	well(1)

	if r := reported(t, n); r.Parked != 1 || r.Delivered != r.Accepted-1 {
		t.Errorf("want all delivered but the one that crashes the filter: %v", r)
	}
	if _, err := n.CLI(t.Context(), "queue", "retry", "--state", "parked"); err != nil {
		t.Fatal(err)
	}
	until(t, "what was parked is delivered", 30*time.Second, func() bool {
		r := reported(t, n)
		return r.Parked == 0 && r.Delivered == r.Accepted
	})
	a := told.compare(t, primary.counts(t))
	t.Logf("%v; %v; the primary dropped %d", a, reported(t, n), primary.Stats().Dropped)
	if a.duplicates > int(primary.Stats().Dropped) {
		t.Errorf("%d duplicates, %d connections were dropped", a.duplicates, primary.Stats().Dropped)
	}
}

// A machine that is started again 30 times, with nothing to do, greets within 2 s each time and leaves little behind.
func TestThirtyRestarts(t *testing.T) {
	whole(t)
	primary := newReceiver(t)
	n := newNode(t, node.Options{Primary: primary.Addr(), Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n"})
	files := func() int {
		t.Helper()
		count := 0
		for _, dir := range []string{"data", "spool"} {
			count += countFiles(t, n.Dir+"/"+dir)
		}
		return count
	}
	var first int
	for i := range 30 {
		began := time.Now()
		start(t, n)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("start %d answered after %v", i, took)
		}
		if i%2 == 0 { // as with a power cut, every other time
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
		} else if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			first = files()
		}
	}
	// Each start may leave its stream of the ledger with what it learned, and the seal: two folders and two objects.
	grown := files() - first
	t.Logf("%d files after the first two starts, %d more after 28 others", first, grown)
	if grown > 28*4 {
		t.Errorf("28 starts with nothing to do left %d files", grown)
	}
	if m := primary.Stats().Messages; m != 0 {
		t.Errorf("%d messages came from nowhere", m)
	}
}

// A clean stop under load ends within seconds and with success; what was acknowledged is there after it, and whoever got no
// acknowledgement knows it. With the primary up mail passes, with it down it is kept.
func TestCleanStopUnderLoad(t *testing.T) {
	whole(t)
	primary := newReceiver(t)
	n := newNode(t, node.Options{Primary: primary.Addr(), SMTP: "max_sessions_per_address = 1000",
		Extra: "probe_interval = \"1s\"\nrecipients = [\"@\"]\n"})
	var told ledger
	var next atomic.Int64
	for i := range 6 {
		if i%2 == 1 {
			primary.Stop()
		} else if !primary.Running() {
			if err := primary.Start(); err != nil {
				t.Fatal(err)
			}
		}
		start(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan load.Sent)
		go func() {
			done <- load.Send(ctx, load.SendOptions{Addr: n.SMTP, Run: "stop", First: int(next.Add(1_000_000)), Messages: 1_000_000, Size: 4000,
				Sessions: 20, Reuse: true, Record: told.record, Timeout: 30 * time.Second})
		}()
		from := told.accepted()
		until(t, "the load runs", 20*time.Second, func() bool { return told.accepted() > from+300 })
		began := time.Now()
		if err := n.Stop(); err != nil {
			t.Errorf("stop %d: %v", i, err)
		}
		took := time.Since(began)
		cancel()
		t.Logf("stopped after %v: %v", took, <-done)
		if took > 5*time.Second {
			t.Errorf("the stop took %v", took)
		}
	}
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	start(t, n)
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 })
	told.mu.Lock()
	cut := 0
	for _, a := range told.attempts {
		if a.Code == 0 && a.Dot {
			cut++
		}
	}
	told.mu.Unlock()
	a := told.compare(t, primary.counts(t))
	t.Log(a)
	if cut > 0 || a.duplicates > 0 {
		t.Errorf("a clean stop left %d messages without a reply to their dot, and %d duplicates", cut, a.duplicates)
	}
	report(t, n)
}
