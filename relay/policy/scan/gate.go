package scan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/relay/policy/rate"
	"restante/relay/reply"
)

// Defaults of Filter.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultConnections = 20
	DefaultMaxSize     = 10_000_000
)

// errFailing: the filter is not waited for.
var errFailing = errors.New("it fails, and is tried again in a moment")

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
	doubted bool              // a message isn't scanned, or not yet, and none was since
	shares  map[string]*share // by client, of those that are here
}

// share is what one client has of the connections.
type share struct {
	free chan struct{} // one for each in use
	here int           // messages that use it or wait for it
}

// Status is how a filter is.
type Status struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Up      bool      `json:"up"`                // as far as is known: it was tried with success last, or has scanned a message since
	Version string    `json:"version,omitempty"` // as it says
	Asked   int64     `json:"asked"`             // messages, since the start or the last change of its configuration
	Failed  int64     `json:"failed"`            // of them
	OK      time.Time `json:"ok,omitzero"`       // when it answered last
	Failure string    `json:"failure,omitempty"` // the last
	At      time.Time `json:"at,omitzero"`       // when that was
	Since   time.Time `json:"since,omitzero"`    // it fails, and isn't waited for, from then on; zero while Up
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
	return &gate{name: name, address: address, c: c, asker: a, set: s, free: make(chan struct{}, c.Connections), shares: map[string]*share{},
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
	g.mu.Lock()
	up := g.status.Up
	g.mu.Unlock()
	if !up {
		return finding{}, errFailing
	}
	f, err := g.asked(ctx, m)
	switch {
	case errors.Is(err, context.Canceled): // the session is gone: that says nothing of the filter
		return f, err
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("not done within %v, for a message of %d octets: %w", g.c.Timeout, m.Size, err)
	}
	well := err == nil || errors.Is(err, errTooBig)
	if well {
		g.heard("", nil)
	} else if away(err) {
		g.heard("", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status.Asked++
	if !well {
		g.status.Failed++
		g.status.Failure, g.status.At = err.Error(), g.set.o.Now()
		g.doubted = true
		g.set.wake()
	}
	return f, err
}

// away reports that nobody takes connections where the filter should be, which no message can bring about.
func away(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && !op.Timeout()
}

// asked asks on a connection of the client's share.
func (g *gate) asked(ctx context.Context, m *Message) (finding, error) {
	who := owner(m)
	s := g.enter(who)
	defer g.leave(who, s)
	select {
	case s.free <- struct{}{}:
		defer func() { <-s.free }()
	case <-ctx.Done():
		return finding{}, fmt.Errorf("all %d connections for one client were in use: %w", cap(s.free), ctx.Err())
	}
	select {
	case g.free <- struct{}{}:
		defer func() { <-g.free }()
	case <-ctx.Done():
		return finding{}, fmt.Errorf("all %d connections were in use: %w", g.c.Connections, ctx.Err())
	}
	defer time.AfterFunc(slowAfter, g.doubt).Stop()
	return g.asker.ask(ctx, m)
}

// doubt has the filter tried soon.
func (g *gate) doubt() {
	g.mu.Lock()
	g.doubted = true
	g.mu.Unlock()
	g.set.wake()
}

// owner is whose share a message takes of: an address, IPv6 by /64, or one of our accounts.
func owner(m *Message) string {
	if m.Outgoing {
		return m.Account
	}
	if a, err := netip.ParseAddr(m.Client.Addr); err == nil && !rate.Address(a).IsSingleIP() {
		return rate.Address(a).String()
	}
	return m.Client.Addr
}

func (g *gate) enter(who string) *share {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[who]
	if s == nil {
		s = &share{free: make(chan struct{}, max(1, g.c.Connections/shareOf))}
		g.shares[who] = s
	}
	s.here++
	return s
}

func (g *gate) leave(who string, s *share) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.here--; s.here == 0 {
		delete(g.shares, who)
	}
}

// heard notes that the filter works, or that it doesn't when tried.
func (g *gate) heard(version string, err error) {
	now := g.set.o.Now()
	g.mu.Lock()
	was, since := g.status.Up, g.status.Since
	g.status.Up = err == nil
	if version != "" {
		g.status.Version = version
	}
	if err == nil {
		g.status.OK, g.status.Since, g.doubted = now, time.Time{}, false
	} else {
		g.status.Failure, g.status.At = err.Error(), now
		if was {
			g.status.Since = now
		}
	}
	g.mu.Unlock()
	g.set.o.Metrics.is(g.name, err == nil)
	switch {
	case was && err != nil:
		g.set.log.Warn("a content filter fails and isn't waited for", "filter", g.name, "address", g.address, "deferring", g.c.WhenFailing == Defer, "error", err)
	case !was && err == nil:
		g.set.log.Info("a content filter works again", "filter", g.name, "address", g.address, "failed_since", since)
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

// Run tries the filters at the start, when a message wasn't scanned, each lookEvery, and each tryEvery while one fails, until ctx ends. Without it
// they count as working.
func (s *Set) Run(ctx context.Context) {
	for {
		s.Look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(tryEvery):
		}
		if slices.ContainsFunc(s.Status(), func(st Status) bool { return !st.Up }) {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery - tryEvery):
		case <-s.poke:
		}
	}
}

// wake has Run look soon.
func (s *Set) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Look tries each filter that isn't known to have worked within lookEvery.
func (s *Set) Look(ctx context.Context) {
	var wg sync.WaitGroup
	for _, g := range *s.gates.Load() {
		wg.Go(func() { g.try(ctx) })
	}
	wg.Wait()
}

// try has the filter scan the small message, beside all others: it says who it is, then what it finds, which may be anything.
func (g *gate) try(ctx context.Context) {
	g.mu.Lock()
	st, doubted := g.status, g.doubted
	g.mu.Unlock()
	if st.Up && st.Version != "" && !doubted && g.set.o.Now().Sub(st.OK) < lookEvery {
		return
	}
	limited, cancel := context.WithTimeout(ctx, min(tryTime, g.c.Timeout))
	defer cancel()
	version, err := g.asker.look(limited)
	if err == nil {
		_, err = g.asker.ask(limited, trial(g.set.o.Hostname, g.set.o.Now()))
	}
	switch {
	case ctx.Err() != nil: // we stop
		return
	case errors.Is(err, errTooBig):
		err = errors.New("it finds a message of 300 octets too big; look at its limits")
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("a small message for trial isn't scanned within %v: %w", min(tryTime, g.c.Timeout), err)
	}
	g.heard(version, err)
}

// trial is the small message that filters are tried with.
func trial(hostname string, now time.Time) *Message {
	us := "postmaster@" + hostname
	m := "From: <" + us + ">\r\nTo: <" + us + ">\r\nSubject: Trial\r\nDate: " + now.Format(time.RFC1123Z) + "\r\nMessage-ID: <trial@" + hostname +
		">\r\n\r\nThis tries whether the filter works. It goes nowhere.\r\n"
	return &Message{ID: "trial", From: us, Rcpts: []string{us}, Body: strings.NewReader(m), Size: int64(len(m)), trial: true}
}
