package scan

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"restante/relay/reply"
)

// Defaults of Filter.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultConnections = 20
	DefaultMaxSize     = 10_000_000
)

// errPaused: the filter failed again and again and is let alone.
var errPaused = errors.New("it failed again and again, and is asked again in a moment")

// gate stands before one filter: it bounds what is asked of it, and decides what follows when it can't be asked.
type gate struct {
	name    string // "rspamd", "clamd"
	address string
	c       Filter
	asker   asker
	set     *Set
	free    chan struct{} // one for each connection in use

	mu      sync.Mutex
	status  Status
	row     int       // failures in a row
	paused  time.Time // let alone until then
	probing bool      // one message finds out whether it is well again
}

// Status is how a filter is.
type Status struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Up      bool      `json:"up"`                // as far as is known: it answered last
	Version string    `json:"version,omitempty"` // as it says
	Asked   int64     `json:"asked"`             // messages, since the start or the last change of its configuration
	Failed  int64     `json:"failed"`            // of them
	OK      time.Time `json:"ok,omitzero"`       // when it answered last
	Failure string    `json:"failure,omitempty"` // the last
	At      time.Time `json:"at,omitzero"`       // when that was
	Closed  bool      `json:"closed"`            // while it fails, mail is deferred
}

func (s *Set) newGate(name, address string, c Filter, a asker) *gate {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Connections <= 0 {
		c.Connections = DefaultConnections
	}
	if c.MaxSize <= 0 {
		c.MaxSize = DefaultMaxSize
	}
	return &gate{name: name, address: address, c: c, asker: a, set: s, free: make(chan struct{}, c.Connections),
		status: Status{Name: name, Address: address, Up: true, Closed: c.WhenFailing == Defer}}
}

// ask is the filter's word on a message, or what is to be done without it.
func (g *gate) ask(ctx context.Context, m *Message) finding {
	if m.Size > g.c.MaxSize {
		return g.tooBig(m)
	}
	ctx, cancel := context.WithTimeout(ctx, g.c.Timeout)
	defer cancel()
	start := g.set.o.Now()
	f, err := g.turn(ctx, m)
	g.set.o.Metrics.took(g.name, g.set.o.Now().Sub(start))
	switch {
	case err == nil:
		return f
	case errors.Is(err, errTooBig):
		return g.tooBig(m)
	}
	return g.failed(m, err)
}

// turn waits for a free connection and asks.
func (g *gate) turn(ctx context.Context, m *Message) (finding, error) {
	if !g.mayAsk() {
		return finding{}, errPaused
	}
	select {
	case g.free <- struct{}{}:
		defer func() { <-g.free }()
	case <-ctx.Done():
		g.release()
		return finding{}, fmt.Errorf("all %d connections were in use: %w", g.c.Connections, ctx.Err())
	}
	f, err := g.asker.ask(ctx, m)
	if errors.Is(err, context.Canceled) { // the session is gone: that says nothing of the filter
		g.release()
		return f, err
	}
	if errors.Is(err, errTooBig) {
		g.heard("", nil)
	} else {
		g.heard("", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status.Asked++
	if err != nil && !errors.Is(err, errTooBig) {
		g.status.Failed++
	}
	return f, err
}

// mayAsk says whether the filter is asked. After a pause one message alone goes first.
func (g *gate) mayAsk() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.row < failuresInRow {
		return true
	}
	if g.probing || g.set.o.Now().Before(g.paused) {
		return false
	}
	g.probing = true
	return true
}

// release lets the next message go first when this one found out nothing.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
}

// heard notes that the filter answered, or didn't.
func (g *gate) heard(version string, err error) {
	now := g.set.o.Now()
	g.mu.Lock()
	was := g.status.Up
	g.probing = false
	g.status.Up = err == nil
	if version != "" {
		g.status.Version = version
	}
	if err == nil {
		g.row, g.status.OK = 0, now
	} else {
		g.row++
		g.paused = now.Add(pauseAfter)
		g.status.Failure, g.status.At = err.Error(), now
	}
	g.mu.Unlock()
	g.set.o.Metrics.is(g.name, err == nil)
	switch {
	case was && err != nil:
		g.set.log.Warn("a content filter can't be asked", "filter", g.name, "address", g.address, "deferring", g.c.WhenFailing == Defer, "error", err)
	case !was && err == nil:
		g.set.log.Info("a content filter answers again", "filter", g.name, "address", g.address)
	}
}

// failed is what is done without the filter's word.
func (g *gate) failed(m *Message, err error) finding {
	g.set.log.Debug("not scanned", "id", m.ID, "filter", g.name, "error", err)
	f := finding{action: Mark, verdict: "not scanned", reason: "not scanned: " + err.Error(), err: err}
	if g.c.WhenFailing == Defer {
		f.action = Defer
		f.reply = reply.New(451, reply.Enhanced{4, 3, 0}, "Mail can't be checked at the moment, try again later")
	}
	return f
}

// tooBig is what is done with a message that is larger than the filter takes.
func (g *gate) tooBig(m *Message) finding {
	f := finding{action: Mark, verdict: "too big to be scanned", err: errTooBig,
		reason: fmt.Sprintf("too big to be scanned: %d octets, at most %d", m.Size, g.c.MaxSize)}
	switch g.c.TooBig {
	case Quarantine:
		f.action = Quarantine
	case Refuse:
		f.action = Refuse
	}
	f.reply = reply.New(552, reply.Enhanced{5, 3, 4}, "Message too big to be checked, the limit is %d octets", g.c.MaxSize)
	return f
}

// Status is how the filters are, in a fixed order.
func (s *Set) Status() []Status {
	if s == nil {
		return nil
	}
	var list []Status
	for _, g := range *s.gates.Load() {
		g.mu.Lock()
		list = append(list, g.status)
		g.mu.Unlock()
	}
	return list
}

// Run looks at the filters now and then, so that Status is true before mail comes, until ctx ends.
func (s *Set) Run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		s.Look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.poke:
		}
	}
}

// Look asks each filter once how it is.
func (s *Set) Look(ctx context.Context) {
	var wg sync.WaitGroup
	for _, g := range *s.gates.Load() {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, lookTime)
			defer cancel()
			version, err := g.asker.look(ctx)
			if !errors.Is(err, context.Canceled) {
				g.heard(version, err)
			}
		})
	}
	wg.Wait()
}
