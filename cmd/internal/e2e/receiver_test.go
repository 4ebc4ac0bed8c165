package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/relay/sink"
)

// whole skips with -short: these scenarios run the real program, but need no Postfix.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("whole-program scenarios take long")
	}
}

// receiver is a primary in this process, which can fail in every way that relay/sink knows. It counts what it took.
type receiver struct {
	*sink.Server
	mu      sync.Mutex
	got     map[int]int
	altered []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: map[int]int{}}
	r.Server = sink.New(sink.Options{Hostname: "primary.example.test", Strict: true, Deliver: r.take})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

func (r *receiver) take(_ *sink.Envelope, m []byte) error {
	_, n, err := load.Check(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.altered = append(r.altered, err.Error())
	}
	r.got[n]++
	return nil
}

// taken is how many messages came, those that came twice counted twice.
func (r *receiver) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := 0
	for _, n := range r.got {
		sum += n
	}
	return sum
}

// counts returns what came, by number; what was altered or sent against the protocol is an error.
func (r *receiver) counts(t *testing.T) map[int]int {
	t.Helper()
	for _, v := range r.Violations() {
		t.Errorf("against the protocol: %s", v)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.altered {
		t.Error(a)
	}
	return maps.Clone(r.got)
}

// pour is a steady load on one address. What isn't accepted is sent again under a number of its own, as with all
// numbers here, so that each attempt can be judged by what was answered to it.
type pour struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// pourOptions say how much: each session sends Burst messages on a connection, then waits for Pace.
type pourOptions struct {
	addr     string
	sessions int
	burst    int
	pace     time.Duration
	size     int
}

func (l *ledger) pour(t *testing.T, o pourOptions, next *atomic.Int64) *pour {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &pour{cancel: cancel}
	if o.size == 0 {
		o.size = 2000
	}
	for range o.sessions {
		p.wg.Go(func() {
			tick := time.NewTicker(o.pace)
			defer tick.Stop()
			for ctx.Err() == nil {
				first := int(next.Add(int64(o.burst))) - o.burst
				load.Send(ctx, load.SendOptions{Addr: o.addr, Run: "pour", First: first, Messages: o.burst, Size: o.size,
					Sessions: 1, Reuse: true, Record: l.record, Timeout: 30 * time.Second})
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(p.stop)
	return p
}

// stop ends the load and waits until every attempt has had its answer.
func (p *pour) stop() {
	p.cancel()
	p.wg.Wait()
}

// missing counts the messages that were answered 250 and haven't arrived yet.
func (l *ledger) missing(r *receiver) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range l.attempts {
		if a.Code/100 == 2 && r.got[a.Number] == 0 {
			n++
		}
	}
	return n
}

// kept counts the attempts that were answered 250 by us and not by the primary.
func (l *ledger) kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.attempts {
		if a.Code/100 == 2 && strings.Contains(a.Reply, "Kept as") {
			n++
		}
	}
	return n
}

// accepted counts the attempts that were answered 250.
func (l *ledger) accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.attempts {
		if a.Code/100 == 2 {
			n++
		}
	}
	return n
}

// until polls a condition that is no status of a node.
func until(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// sums are those of all outages of a node's reports, added.
type sums struct {
	Accepted, Unaccounted                                 int64
	Delivered, Parked, Pending, Bounced, Expired, Removed int64
}

func (s sums) String() string {
	return fmt.Sprintf("%d accepted = %d delivered + %d parked + %d pending + %d bounced, expired or removed, %d unaccounted",
		s.Accepted, s.Delivered, s.Parked, s.Pending, s.Bounced+s.Expired+s.Removed, s.Unaccounted)
}

// ask runs a command of the program with --json. An exit code with output says that something needs a person.
func ask(t *testing.T, n *node.Node, into any, args ...string) {
	t.Helper()
	out, err := n.CLI(t.Context(), append(args, "--json")...)
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// reported adds up the reports of all outages; each has to add up by itself, with its chain unbroken.
func reported(t *testing.T, n *node.Node) (all sums) {
	t.Helper()
	var outages []struct{ ID string }
	ask(t, n, &outages, "outage", "list")
	for _, o := range outages {
		var r struct {
			Accepted, Unaccounted int64
			Counts                sums
			Chain                 struct {
				Verified bool
				Problem  string
			}
		}
		ask(t, n, &r, "outage", "report", o.ID)
		s := r.Counts
		s.Accepted, s.Unaccounted = r.Accepted, r.Unaccounted
		if s.Unaccounted != 0 || s.Accepted != s.Delivered+s.Parked+s.Pending+s.Bounced+s.Expired+s.Removed {
			t.Errorf("outage %s does not add up: %v", o.ID, s)
		}
		if !r.Chain.Verified {
			t.Errorf("outage %s: chain: %s", o.ID, r.Chain.Problem)
		}
		all.Accepted += s.Accepted
		all.Unaccounted += s.Unaccounted
		all.Delivered += s.Delivered
		all.Parked += s.Parked
		all.Pending += s.Pending
		all.Bounced += s.Bounced
		all.Expired += s.Expired
		all.Removed += s.Removed
	}
	return all
}

// notices makes the [notify] table of a node that appends each notice to a file, and reads it.
func notices(t *testing.T) (table string, have func(kind string) bool) {
	t.Helper()
	file := t.TempDir() + "/notices"
	table = fmt.Sprintf("[notify]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> %s\"]\n", file)
	return table, func(kind string) bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(b), fmt.Sprintf("%q:%q", "kind", kind))
	}
}

// exitCode is that of a command of the program, 0 when it didn't run to its end.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func countFiles(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error {
		n++
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
