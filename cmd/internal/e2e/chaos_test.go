package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/relay/sink"
	"restante/spool/blob/s3test"
)

// chaos is one node on a bucket before a primary behind a line, all of which fail at random.
type chaos struct {
	t       *testing.T
	r       *rand.Rand
	n       *node.Node
	s       *s3test.Server
	primary *receiver
	line    *load.Link

	running, bucketOff, bucketHangs bool
	// What may have cut off transactions between final dot and reply.
	cuts int
}

// limits of one connection to the primary each, that may be cut off at once: of replay, and of pass-through, which has
// at most as many as there are senders.
const (
	chaosSenders = 6
	chaosReplay  = 20
)

// settings tells how long the chaos lasts, and its seed.
func settings(t *testing.T) (time.Duration, uint64) {
	t.Helper()
	d, seed := 30*time.Second, uint64(time.Now().UnixNano())
	var err error
	if s := os.Getenv("RESTANTE_TEST_CHAOS"); s != "" {
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal("RESTANTE_TEST_CHAOS:", err)
		}
	}
	if s := os.Getenv("RESTANTE_TEST_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal("RESTANTE_TEST_SEED:", err)
		}
	}
	return d, seed
}

// Everything fails at random while mail comes in. In the end all is well again, and every attempt to send is compared with
// what arrived: nothing is lost, altered, or delivered that was refused.
func TestChaos(t *testing.T) {
	whole(t)
	t.Parallel()
	lasts, seed := settings(t)
	t.Logf("RESTANTE_TEST_SEED=%d RESTANTE_TEST_CHAOS=%v", seed, lasts)
	c := &chaos{t: t, r: rand.New(rand.NewPCG(seed, 1)), s: s3test.Start(t), primary: newReceiver(t)}
	var addr string
	c.line, addr = line(t, c.primary.Addr())
	o := s3Options(c.s, addr)
	o.Extra += "[replay]\nretry_min = \"1s\"\nretry_max = \"1m\"\n"
	c.n = newNode(t, o)
	c.start()
	var told ledger
	var next atomic.Int64
	p := told.pour(t, pourOptions{addr: c.n.SMTP, sessions: chaosSenders, burst: 5, pace: 100 * time.Millisecond}, &next)
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		c.step()
		c.let(time.Duration(c.r.IntN(1000)) * time.Millisecond)
	}
	c.mend()
	p.stop()
	// An index that was deleted may still be rebuilt, and knows of nothing pending yet: what arrives is waited for.
	until(t, "all that was accepted has arrived", 3*time.Minute, func() bool { return told.missing(c.primary) == 0 })
	d := wait(t, c.n, time.Minute, func(d node.Domain) bool { return d.State == "up" && d.Pending == 0 && d.Parked == 0 })
	a := told.compare(t, c.primary.counts(t))
	t.Logf("%v; %d cuts; last outage: %+v", a, c.cuts, d)
	if a.accepted < int(lasts.Seconds())*10 {
		t.Errorf("only %d messages were accepted: the chaos tested little", a.accepted)
	}
	// Each cut may leave one transaction on each connection without a reply. A message so cut off in pass-through is
	// kept and sent again, by replay. The sink counts those that it dropped itself.
	most := c.cuts*(chaosReplay+chaosSenders) + int(c.primary.Stats().Dropped)
	if a.duplicates > most {
		t.Errorf("%d duplicates are more than the %d that %d cuts explain", a.duplicates, most, c.cuts)
	}
	// What was passed isn't in the reports; what was kept is, and what was kept without the sender knowing it.
	var r sums
	kept := told.kept()
	until(t, "the reports tell that everything kept was delivered", time.Minute, func() bool {
		r = reported(t, c.n)
		return r.Accepted >= int64(kept) && r.Delivered == r.Accepted
	})
	t.Logf("%d kept; %v", kept, r)
}

// let lets some time pass, in which things happen or don't.
func (c *chaos) let(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.t.Context().Done():
	}
}

// step does one thing at random. What mends is more likely than what breaks, so that things go on.
func (c *chaos) step() {
	steps := []struct {
		weight int
		name   string
		do     func()
	}{
		{3, "kill -9", func() { c.kill(); c.start() }},
		{1, "kill -9 and delete the index", func() { c.kill(); c.dropIndex(); c.start() }},
		{2, "restart", func() { c.stop(); c.start() }},
		{1, "restart without an index", func() { c.stop(); c.dropIndex(); c.start() }},
		{3, "stop the primary", func() { c.cuts++; c.primary.Stop() }},
		{5, "start the primary", c.startPrimary},
		{4, "faults at the primary", c.faults},
		{2, "no faults", func() { c.primary.SetFaults(sink.Faults{}) }},
		{2, "break the line", func() { c.cuts++; c.line.Break() }},
		{4, "mend the line", c.line.Mend},
		{1, "stop the bucket", func() { c.s.Stop(); c.bucketOff, c.bucketHangs = true, false }},
		{3, "start the bucket", c.startBucket},
		{1, "the bucket hangs", c.hang},
		{1, "declare", func() { c.cli("outage", "declare", "--domain", "example.test", "--for", "5m", "--reason", "chaos") }},
		{2, "end", func() { c.cli("outage", "end", "--domain", "example.test") }},
		{1, "pause", func() { c.cli("replay", "pause", "--reason", "chaos") }},
		{2, "resume", func() { c.cli("replay", "resume") }},
		{1, "reload", func() { c.cli("reload") }},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	s, at := steps[0], c.r.IntN(total)
	for _, s = range steps {
		if at -= s.weight; at < 0 {
			break
		}
	}
	if os.Getenv("RESTANTE_TEST_LOG") != "" {
		c.t.Logf("%s %s", time.Now().Format("05.000"), s.name)
	}
	s.do()
}

func (c *chaos) start() {
	c.t.Helper()
	if !c.running {
		start(c.t, c.n)
		c.running = true
	}
}

func (c *chaos) kill() {
	c.cuts++
	if err := c.n.Kill(); err != nil {
		c.t.Fatal(err)
	}
	c.running = false
}

// stop ends the node cleanly. With the store away that may take until it gives up.
func (c *chaos) stop() {
	c.cuts++
	if err := c.n.Stop(); err != nil && !c.bucketOff && !c.bucketHangs { // else it tells that it could not seal its streams
		c.t.Fatal(err)
	}
	c.running = false
}

// dropIndex deletes the index of a node that doesn't run.
func (c *chaos) dropIndex() {
	files, err := filepath.Glob(filepath.Join(c.n.Dir, "data", "index.db*"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, f := range files {
		if err := os.RemoveAll(f); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *chaos) startPrimary() {
	if c.primary.Running() {
		return
	}
	if err := c.primary.Start(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chaos) startBucket() {
	switch {
	case c.bucketOff:
		if err := c.s.Start(); err != nil {
			c.t.Fatal(err)
		}
	case c.bucketHangs:
		if err := c.s.Resume(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.bucketOff, c.bucketHangs = false, false
}

func (c *chaos) hang() {
	if c.bucketOff || c.bucketHangs {
		return
	}
	c.bucketHangs = true
	if err := c.s.Pause(); err != nil {
		c.t.Fatal(err)
	}
}

// faults makes the primary fail in one way for a share of what it gets. None is a lasting refusal: what is refused for
// good is parked, and that has a test of its own.
func (c *chaos) faults() {
	rule := func(r sink.Rule) sink.Faults { return sink.Faults{Rules: []sink.Rule{r}} }
	all := []sink.Faults{
		rule(sink.Rule{Stage: sink.StageMail, Reply: "452 4.3.1 Insufficient system storage"}),
		rule(sink.Rule{Stage: sink.StageMail, Reply: "452 4.3.1 Insufficient system storage", Rate: 0.3}),
		rule(sink.Rule{Stage: sink.StageRcpt, Reply: "450 4.2.0 Later", Rate: 0.3}),
		rule(sink.Rule{Stage: sink.StageDot, Reply: "451 4.3.0 Later", Rate: 0.3}),
		rule(sink.Rule{Stage: sink.StageDot, Reply: "421 4.3.2 Shutting down", Rate: 0.2}),
		rule(sink.Rule{Stage: sink.StageConnect, Reply: "421 4.3.2 Too busy", Rate: 0.5}),
		rule(sink.Rule{Stage: sink.StageData, Drop: sink.DropBefore, Rate: 0.05}),
		rule(sink.Rule{Stage: sink.StageDot, Drop: sink.DropAfter, Rate: 0.05}),
		{MaxConnections: 3},
		{Delay: 30 * time.Millisecond},
	}
	c.primary.SetFaults(all[c.r.IntN(len(all))])
}

// cli runs a command; with the store away it may fail, which is no matter.
func (c *chaos) cli(args ...string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 15*time.Second)
	defer cancel()
	if _, err := c.n.CLI(ctx, args...); err != nil && os.Getenv("RESTANTE_TEST_LOG") != "" {
		c.t.Logf("%v", err)
	}
}

// mend makes everything well again.
func (c *chaos) mend() {
	c.primary.SetFaults(sink.Faults{})
	c.startPrimary()
	c.line.Mend()
	c.startBucket()
	c.start()
	for _, args := range [][]string{{"outage", "end", "--domain", "example.test"}, {"replay", "resume"}} {
		until(c.t, fmt.Sprint(args), time.Minute, func() bool {
			out, err := c.n.CLI(c.t.Context(), args...)
			if err != nil && os.Getenv("RESTANTE_TEST_LOG") != "" {
				c.t.Logf("%s%v", out, err)
			}
			return err == nil || nothingToEnd(err)
		})
	}
}

// nothingToEnd: the declaration had ended, or there was none.
func nothingToEnd(err error) bool { return exitCode(err) == 5 }
