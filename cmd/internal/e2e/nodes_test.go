package e2e

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/relay/sink"
	"restante/spool/blob/s3test"
)

// line starts a link to an address, which can break.
func line(t *testing.T, to string) (*load.Link, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &load.Link{To: to}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := k.Serve(t.Context(), l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { <-done })
	return k, l.Addr().String()
}

// holder is the instance that holds the lease of the domain, by the bucket itself; "" while it is released.
func holder(t *testing.T, s *s3test.Server) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, s3test.Bucket, "mail", "lease", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var lease struct {
			Instance string
			Released bool
		}
		b, err := os.ReadFile(f)
		if err == nil && json.Unmarshal(b, &lease) == nil && !lease.Released {
			return lease.Instance
		}
	}
	return ""
}

func instance(t *testing.T, n *node.Node) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.Dir, "data", "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	var id struct{ Instance string }
	if err := json.Unmarshal(b, &id); err != nil {
		t.Fatal(err)
	}
	return id.Instance
}

// Two nodes take mail for one domain into one bucket. When the primary returns each message arrives once, and either
// node's report tells the whole. A node that is cut off from the primary leaves the hand-over to the other, and
// so does one that is killed in the middle of it, once its lease has run out.
func TestTwoNodesOneBucket(t *testing.T) {
	whole(t)
	t.Parallel()
	s := s3test.Start(t)
	primary := newReceiver(t)
	var nodes [2]*node.Node
	var lines [2]*load.Link
	for i := range nodes {
		var addr string
		lines[i], addr = line(t, primary.Addr())
		nodes[i] = newNode(t, s3Options(s, addr))
		start(t, nodes[i])
	}
	var told ledger
	next := 0
	keep := func(i, messages int) {
		t.Helper()
		sent := load.Send(t.Context(), load.SendOptions{Addr: nodes[i].SMTP, Run: "nodes", First: next, Messages: messages, Size: 2000,
			Sessions: 10, Reuse: true, Record: told.record})
		next += messages
		if sent.Accepted != int64(messages) {
			t.Fatalf("node %d: %v", i, sent)
		}
	}
	kept := 0
	// done waits until the one node's report, then the other's, tells that all was delivered.
	done := func(limit time.Duration, which ...int) {
		t.Helper()
		for _, i := range which {
			var r sums
			until(t, "everything is delivered by the node's report", limit, func() bool {
				r = reported(t, nodes[i])
				return r.Accepted == int64(kept) && r.Delivered == int64(kept)
			})
		}
	}

	primary.Stop()
	for i := range nodes {
		waitState(t, nodes[i], "down")
		keep(i, 300)
	}
	kept += 600
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	done(60*time.Second, 0, 1)
	if a := told.compare(t, primary.counts(t)); a.duplicates != 0 {
		t.Errorf("nobody failed: %v", a)
	}

	// Cut off: the mail that the second node takes goes out through the first.
	waitState(t, nodes[0], "up")
	lines[1].Break()
	waitState(t, nodes[1], "down")
	keep(1, 300)
	kept += 300
	began := time.Now()
	done(time.Minute, 0, 1)
	t.Logf("what the node that was cut off had taken was handed over after %v", time.Since(began))
	if a := told.compare(t, primary.counts(t)); a.duplicates != 0 {
		t.Errorf("nobody failed: %v", a)
	}
	lines[1].Mend()
	waitState(t, nodes[1], "up")

	// Killed in the middle of replay.
	primary.Stop()
	for i := range nodes {
		waitState(t, nodes[i], "down")
		keep(i, 500)
	}
	kept += 1000
	primary.SetFaults(sink.Faults{Delay: 20 * time.Millisecond})
	before := primary.taken()
	if err := primary.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "replay is half way", 40*time.Second, func() bool { return primary.taken() > before+200 })
	dead := 0
	if holder(t, s) == instance(t, nodes[1]) {
		dead = 1
	}
	if err := nodes[dead].Kill(); err != nil {
		t.Fatal(err)
	}
	if n := primary.taken(); n == next {
		t.Error("the replay was over before the kill: nothing was tested")
	}
	began = time.Now()
	primary.SetFaults(sink.Faults{})
	done(time.Minute, 1-dead)
	t.Logf("the other node had finished %v after the kill", time.Since(began))
	start(t, nodes[dead])
	done(30*time.Second, dead)
	a := told.compare(t, primary.counts(t))
	t.Log(a)
	// One transaction was in flight on each of replay's 20 connections. Replies already read stand in the dead node's journal,
	// which the other can't see, until the ledger has them: those of the last moments count too.
	if a.duplicates > 100 {
		t.Errorf("more than the kill explains: %v", a)
	}
}
