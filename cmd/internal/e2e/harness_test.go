package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/cmd/internal/postfix"
	"restante/spool/need"
)

// program is the built restante, made once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "restante-e2e-")
	if err != nil {
		return "", err
	}
	return node.Build(context.Background(), dir)
})

func TestMain(m *testing.M) {
	// The scenarios that run at the same time wait for leases and probes rather than for the processor.
	need.AtOnce(5)
	code := m.Run()
	if p, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(p))
	}
	os.Exit(code)
}

// needs skips, or fails where everything is required, when Postfix can't be run here.
func needs(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("whole-program scenarios take long")
	}
	need.This(t, postfix.Missing())
}

func freeAddr(t *testing.T) string {
	t.Helper()
	a, err := node.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// bracketed is host:port as Postfix writes a next hop that is not to be looked up in DNS.
func bracketed(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("[%s]:%s", host, port)
}

func startPostfix(t *testing.T, o postfix.Options) *postfix.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	i, err := postfix.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if b, err := os.ReadFile(i.Log()); err == nil {
				t.Logf("Postfix log:%s", b[max(0, len(b)-3000):])
			}
		}
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// startPrimary starts a Postfix that keeps the mail of example.test in its Maildir.
func startPrimary(t *testing.T, main map[string]string) *postfix.Instance {
	t.Helper()
	return startPostfix(t, postfix.Options{Listen: freeAddr(t), Maildirs: []string{"example.test"}, Main: main})
}

// newNode makes a node and stops it at the end of the test; the caller starts it.
func newNode(t *testing.T, o node.Options) *node.Node {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	n, err := node.New(bin, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("restante log:%s", n.Tail())
		}
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func start(t *testing.T, n *node.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

func waitState(t *testing.T, n *node.Node, state string) {
	t.Helper()
	wait(t, n, time.Minute, func(d node.Domain) bool { return d.State == state })
}

func wait(t *testing.T, n *node.Node, limit time.Duration, ok func(node.Domain) bool) node.Domain {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	d, err := n.WaitStatus(ctx, ok)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ledger notes what senders were told, and compares it with what the primary got.
type ledger struct {
	mu       sync.Mutex
	attempts []load.Attempt
}

func (l *ledger) record(a load.Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts = append(l.attempts, a)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.attempts)
}

// account is what the comparison found.
type account struct {
	accepted, refused, unanswered, unansweredArrived, duplicates int
}

func (a account) String() string {
	return fmt.Sprintf("%d accepted, %d refused, %d unanswered of which %d arrived, %d duplicates",
		a.accepted, a.refused, a.unanswered, a.unansweredArrived, a.duplicates)
}

// arrivals counts the messages of a load at the primary by number; an altered one is an error.
func arrivals(t *testing.T, primary *postfix.Instance) map[int]int {
	t.Helper()
	got := map[int]int{}
	err := primary.Maildir(func(name string, m []byte) error {
		_, n, err := load.Check(m)
		if err != nil {
			t.Errorf("at the primary, %s: %v", name, err)
		}
		got[n]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// compare judges promises 1, 2 and 6: what was answered 250 is there, what was refused isn't.
// Every attempt has a number of its own, so a number that arrived twice was sent twice by restante.
func (l *ledger) compare(t *testing.T, got map[int]int) account {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var a account
	for _, try := range l.attempts {
		n := got[try.Number]
		switch {
		case try.Code >= 200 && try.Code < 300:
			a.accepted++
			if n == 0 {
				t.Errorf("lost: message %d was answered %q", try.Number, try.Reply)
			}
		case try.Code != 0:
			a.refused++
			if n != 0 {
				t.Errorf("message %d was answered %q and delivered", try.Number, try.Reply)
			}
		default:
			a.unanswered++
			if n != 0 {
				a.unansweredArrived++
				if !try.Dot {
					t.Errorf("message %d was cut off before its end and delivered", try.Number)
				}
			}
		}
		a.duplicates += max(0, n-1)
	}
	return a
}

// report checks that every outage's report adds up, and that together they account for all that was kept.
func report(t *testing.T, n *node.Node) {
	t.Helper()
	ask := func(into any, args ...string) {
		out, err := n.CLI(t.Context(), append(args, "--json")...)
		if err != nil && len(out) == 0 {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, into); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	var outages []struct{ ID string }
	ask(&outages, "outage", "list")
	for _, o := range outages {
		var r struct {
			Accepted, Unaccounted int64
			Counts                struct{ Delivered, Parked, Pending int64 }
		}
		ask(&r, "outage", "report", o.ID)
		if r.Unaccounted != 0 || r.Counts.Pending != 0 || r.Counts.Parked != 0 || r.Accepted != r.Counts.Delivered {
			t.Errorf("outage %s does not add up: %+v", o.ID, r)
		}
	}
	if len(outages) == 0 {
		t.Error("no outage is listed")
	}
}
