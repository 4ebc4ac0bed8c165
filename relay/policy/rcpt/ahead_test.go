package rcpt

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
)

// noPrimaries are away.
type noPrimaries struct{}

func (noPrimaries) State(string) health.Record { return health.Record{State: health.Down} }

func (noPrimaries) Dial(context.Context, string) (*smtpc.Conn, error) { return nil, errors.New("away") }

// primary is a sink whose state the test sets.
type primary struct {
	*sink.Server
	mu    sync.Mutex
	rec   health.Record
	dials atomic.Int64
}

func (p *primary) State(string) health.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rec
}

func (p *primary) set(r health.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rec = r
}

func (p *primary) Dial(ctx context.Context, _ string) (*smtpc.Conn, error) {
	p.dials.Add(1)
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	d := smtpc.Dialer{Hostname: "mx2.test", CommandTimeout: 2 * time.Second}
	return d.Dial(ctx, smtpc.Target{Host: host, Port: n, TLS: smtpc.TLSPolicy{Mode: smtpc.TLSNone}})
}

// has makes the primary take these local parts, and refuse others with reply; none: it takes everybody.
func (p *primary) has(reply string, locals ...string) {
	var rules []sink.Rule
	for _, l := range locals {
		rules = append(rules, sink.Rule{Stage: sink.StageRcpt, Match: "<" + l + "@", Reply: "250 2.1.5 Ok"})
	}
	if reply != "" {
		rules = append(rules, sink.Rule{Stage: sink.StageRcpt, Reply: reply})
	}
	p.SetFaults(sink.Faults{Rules: rules})
}

func newPrimary(t *testing.T) *primary {
	t.Helper()
	offers := sink.DefaultOffers()
	offers.StartTLS = false
	p := &primary{Server: sink.New(sink.Options{Strict: true, Keep: true, Offers: offers}), rec: health.Record{State: health.Up}}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range p.Violations() {
			t.Errorf("against the protocol: %s", v)
		}
		if n := p.Stats().Messages; n != 0 {
			t.Errorf("%d messages were sent", n)
		}
		p.Stop()
	})
	return p
}

const absent = "550 5.1.1 No such user"

// newAsking has strangers ask for those recipients, the first of them most often.
func newAsking(t *testing.T, p *primary, asked ...string) *node {
	t.Helper()
	n := newNode(t, newLedger(), Options{Primaries: p})
	for i, a := range asked {
		for range len(asked) - i {
			n.Asked(addr(t, a+"@example.com"))
		}
	}
	return n
}

// waiting are the addresses that wait, those first that are asked for first.
func (n *node) waiting() string {
	return strings.Join(n.domains[dom].candidates(n.ledger.time()), " ")
}

func (n *node) learned() string {
	var out []string
	for _, ev := range n.ledger.events {
		if ev.Type == spool.Learned {
			out = append(out, ev.Address)
		}
	}
	return strings.Join(out, " ")
}

// TestAhead: what strangers asked for in an outage is known in the next one.
func TestAhead(t *testing.T) {
	p := newPrimary(t)
	p.has(absent, "postmaster", "ada", "bob")
	n := newAsking(t, p, "ada", "gone", "bob", "lost")
	n.is("unsure take", "ada@example.com", "gone@example.com")
	if name := n.due(n.ledger.time()); name != dom {
		t.Errorf("due is %q", name)
	}
	n.ask(t.Context(), dom)
	// The made-up address, gone and lost are the three that may be refused.
	n.is("exists take", "ada@example.com", "bob@example.com")
	n.is("absent defer", "gone@example.com", "lost@example.com")
	if n.waiting() != "" || n.learned() != "ada@example.com bob@example.com" || p.dials.Load() != 1 {
		t.Errorf("waiting %q, learned %q, %d sessions", n.waiting(), n.learned(), p.dials.Load())
	}
	late := newNode(t, n.ledger, Options{})
	late.is("exists take", "ada@example.com")
	late.is("absent defer", "gone@example.com")

	// Asked for again within hours it isn't news; after hours it is asked again.
	n.Asked(addr(t, "gone@example.com"))
	if n.waiting() != "" {
		t.Errorf("waiting %q", n.waiting())
	}
	n.ledger.pass(RecheckAfter)
	if n.waiting() != "gone" {
		t.Errorf("waiting %q after hours", n.waiting())
	}
	p.has(absent, "ada", "bob", "gone")
	n.ask(t.Context(), dom)
	n.is("exists take", "gone@example.com")
	newNode(t, n.ledger, Options{}).is("exists take", "gone@example.com")
}

// TestAheadProvesNothing: a server that refuses all, takes all, or puts off, says nothing about anybody.
func TestAheadProvesNothing(t *testing.T) {
	for name, set := range map[string]func(*primary){
		"refuses everybody": func(p *primary) { p.has(absent) },
		"bans us":           func(p *primary) { p.has("554 5.7.1 Go away") },
		"puts off all":      func(p *primary) { p.has("450 4.7.1 Greylisted") },
		"puts off others":   func(p *primary) { p.has("450 4.7.1 Greylisted", "postmaster") },
		"refuses the sender": func(p *primary) {
			p.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageMail, Reply: "550 5.7.1 No"}}})
		},
		"drops the connection": func(p *primary) {
			p.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Drop: sink.DropBefore}}})
		},
		"drops after a witness": func(p *primary) {
			p.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Skip: 1, Drop: sink.DropBefore}}})
		},
		"isn't there": func(p *primary) { p.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrimary(t)
			set(p)
			n := newAsking(t, p, "ada", "bob")
			n.ask(t.Context(), dom)
			n.is("unsure take", "ada@example.com", "bob@example.com")
			if n.waiting() != "ada bob" || len(n.ledger.events) != 0 {
				t.Errorf("waiting %q, %d events", n.waiting(), len(n.ledger.events))
			}
			before := n.ledger.time()
			if next := n.books[dom].next; next.Sub(before) < n.o.Pace.Every {
				t.Errorf("asked again after %s", next.Sub(before))
			}
			if name := n.due(before.Add(time.Minute)); name != "" {
				t.Errorf("due at once is %q", name)
			}
		})
	}
}

// TestAheadOtherRefusals: a refusal that isn't about the recipient proves nothing of it, and isn't asked for again.
func TestAheadOtherRefusals(t *testing.T) {
	p := newPrimary(t)
	p.SetFaults(sink.Faults{Rules: []sink.Rule{
		{Stage: sink.StageRcpt, Match: "<no-such-user-", Reply: absent}, {Stage: sink.StageRcpt, Match: "<full@", Reply: "552 5.2.2 Mailbox full"},
	}})
	n := newAsking(t, p, "full")
	n.ask(t.Context(), dom)
	n.is("unsure take", "full@example.com")
	if n.waiting() != "" || len(n.ledger.events) != 0 {
		t.Errorf("waiting %q, %d events", n.waiting(), len(n.ledger.events))
	}
}

// TestCatchAll: a primary that takes an address that was made up isn't asked for others, for a day.
func TestCatchAll(t *testing.T) {
	p := newPrimary(t)
	n := newAsking(t, p, "ada")
	n.ask(t.Context(), dom)
	n.Asked(addr(t, "bob@example.com"))
	if n.waiting() != "" || n.learned() != "" || !n.Freshness(t.Context(), dom).CatchAll {
		t.Errorf("waiting %q, learned %q, %+v", n.waiting(), n.learned(), n.Freshness(t.Context(), dom))
	}
	n.is("unsure take", "ada@example.com", "bob@example.com")
	n.ledger.pass(catchAllFor)
	p.has(absent, "postmaster", "bob")
	n.Asked(addr(t, "bob@example.com"))
	n.ask(t.Context(), dom)
	if n.learned() != "bob@example.com" || n.Freshness(t.Context(), dom).CatchAll {
		t.Errorf("learned %q after it was changed", n.learned())
	}
}

// TestAheadFew: a session ends before the server counts us among those who guess.
func TestAheadFew(t *testing.T) {
	p := newPrimary(t)
	p.has(absent, "postmaster")
	n := newAsking(t, p, strings.Fields("a b c d e f g")...)
	for _, left := range []string{"c d e f g", "f g", ""} { // in the first the made-up address is one of three
		n.ask(t.Context(), dom)
		if n.waiting() != left {
			t.Errorf("waiting %q, want %q", n.waiting(), left)
		}
	}
}

// TestNotAsked: nobody is asked in an outage, under a declaration, where it is switched off, or for whom lists know.
func TestNotAsked(t *testing.T) {
	p := newPrimary(t)
	n := newAsking(t, p, "ada")
	for _, r := range []health.Record{{State: health.Down}, {State: health.Recovering}, {State: health.Suspect}, {State: health.RefusesUs}, {State: health.Up, Declaration: &health.Declaration{}}, {}} {
		p.set(r)
		if name := n.due(n.ledger.time()); name != "" {
			t.Errorf("asked while %+v", r)
		}
	}
	p.set(health.Record{State: health.Up})
	n.replace(SourceFile, "ada")
	if name := n.due(n.ledger.time()); name != "" || n.waiting() != "" {
		t.Errorf("asked for %q, which a list has", n.waiting())
	}
	n.Asked(addr(t, "bob@example.com"))
	n.ledger.pass(wantedFor + time.Minute)
	if n.waiting() != "" {
		t.Errorf("asked for %q after a week", n.waiting())
	}
	if err := n.SetConfig([]Domain{{Name: dom}}); err != nil {
		t.Fatal(err)
	}
	n.Asked(addr(t, "bob@example.com"))
	if n.waiting() != "" {
		t.Errorf("asked for %q, though switched off", n.waiting())
	}
}

// TestRun: the loops follow the index and ask by themselves, and end.
func TestRun(t *testing.T) {
	p := newPrimary(t)
	p.has(absent, "postmaster", "ada")
	l := newLedger()
	n := newNode(t, l, Options{Primaries: p, Pace: Pace{Every: 5 * time.Millisecond}, Domains: []Domain{{Name: dom, CallAhead: true, Sources: []string{SourceFile}, Unknown: UnknownRefuse}}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.Asked(addr(t, "ada@example.com"))
	until(t, "ada is known", func() bool { return n.Check(ctx, addr(t, "ada@example.com")).State == Exists })

	other := newNode(t, l, Options{Domains: []Domain{{Name: dom, Sources: []string{SourceFile}}}})
	other.replace(SourceFile, "carl")
	n.fold(len(l.events))
	until(t, "carl is known", func() bool { return n.Check(ctx, addr(t, "carl@example.com")).State == Exists })
	until(t, "the list counts", func() bool { return n.Check(ctx, addr(t, "nobody@example.com")).Action == Refuse })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}
