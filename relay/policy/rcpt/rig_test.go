package rcpt

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/relay/mailaddr"
	"restante/relay/reply"
	"restante/spool"
	"restante/spool/index"
)

const (
	dom   = "example.com"
	alias = "example.net"
)

// ledger is what all nodes write to and fold.
type ledger struct {
	mu     sync.Mutex
	now    time.Time
	events []spool.Event
	notes  int   // events that were written lazily
	fail   error // of Record, once failAt events were written
	failAt int
}

func newLedger() *ledger { return &ledger{now: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)} }

func (l *ledger) time() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *ledger) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// write adds events as the spool does: with ids, times that grow, and as JSON.
func (l *ledger) write(evs ...spool.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil && len(l.events)+len(evs) > l.failAt {
		return l.fail
	}
	for _, ev := range evs {
		l.now = l.now.Add(1)
		ev.ID, ev.Time = spool.NewID(), l.now
		raw, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		var back spool.Event
		if err := json.Unmarshal(raw, &back); err != nil {
			return err
		}
		l.events = append(l.events, back)
	}
	return nil
}

// node is a Directory with an index of its own.
type node struct {
	*Directory
	t      testing.TB
	ledger *ledger
	index  *index.Index
	folded int
}

func newNode(t testing.TB, l *ledger, o Options) *node {
	t.Helper()
	x, err := index.Open(filepath.Join(t.TempDir(), "index.db"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &node{t: t, ledger: l, index: x}
	n.fold(len(l.events))
	n.open(o)
	return n
}

// open makes the Directory, as a start does.
func (n *node) open(o Options) {
	n.t.Helper()
	o.Index, o.Now = n.index, n.ledger.time
	o.Record = func(_ context.Context, evs ...spool.Event) error { return n.ledger.write(evs...) }
	o.Note = func(evs ...spool.Event) {
		if err := n.ledger.write(evs...); err != nil {
			n.t.Error(err)
		}
		n.ledger.mu.Lock()
		defer n.ledger.mu.Unlock()
		n.ledger.notes += len(evs)
	}
	if o.Domains == nil {
		o.Domains = []Domain{{Name: dom, SubAddress: "+", CallAhead: true, Sources: []string{SourceFile}}, {Name: alias, AliasOf: dom, SubAddress: "+"}}
	}
	d, err := New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Directory = d
}

// fold brings the index to the first events of the ledger.
func (n *node) fold(upto int) {
	n.t.Helper()
	for ; n.folded < upto; n.folded++ {
		s := spool.Step{Stream: spool.StreamID{Ledger: true, Name: "n-01J"}, Cluster: "c", Events: n.ledger.events[n.folded : n.folded+1],
			Position: spool.Position{Seq: uint64(n.folded + 1), Hash: strings.Repeat("ab", 32)}}
		if err := n.index.Apply(context.Background(), []spool.Step{s}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// sync folds all of the ledger and has the Directory follow.
func (n *node) sync() {
	n.t.Helper()
	n.fold(len(n.ledger.events))
	n.listsAt = time.Time{}
	if err := n.follow(context.Background()); err != nil {
		n.t.Fatal(err)
	}
}

// is compares what is said of addresses: "exists take", "absent defer", ...
func (n *node) is(want string, addresses ...string) {
	n.t.Helper()
	for _, a := range addresses {
		got := n.Check(context.Background(), addr(n.t, a))
		if s := fmt.Sprintf("%s %s", got.State, got.Action); s != want {
			n.t.Errorf("%s: %s (%s), want %s", a, s, got.Why, want)
		}
	}
}

func (n *node) replace(source string, list ...string) Change {
	n.t.Helper()
	c, err := n.Replace(context.Background(), dom, source, people(list...), "test", ReplaceOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func people(list ...string) []Address {
	out := make([]Address, len(list))
	for i, a := range list {
		out[i] = Address{Address: a + "@" + dom}
	}
	return out
}

// many are n addresses.
func many(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("user%06d", i)
	}
	return out
}

func addr(t testing.TB, s string) mailaddr.Address {
	t.Helper()
	a, err := mailaddr.Parse(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return a
}

var (
	ok         = reply.New(250, reply.Enhanced{2, 1, 5}, "Ok")
	noSuchUser = reply.New(550, reply.Enhanced{5, 1, 1}, "No such user")
)
