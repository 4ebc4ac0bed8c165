package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"restante/cmd/internal/load"
	"restante/cmd/internal/node"
	"restante/cmd/internal/postfix"
	"restante/relay/sink"
)

// system is a backup MX under test, whose primary is down until primary().back.
type system interface {
	addr() string
	primary() *primary
	flush(ctx context.Context) error // try what is queued, now that the primary is back
	remove() error
}

// primary is where a system hands over to. Until it is back its port refuses connections.
type primary struct {
	addr string

	mu          sync.Mutex
	first, last time.Time
	count       int
}

func newPrimary() (*primary, error) {
	a, err := node.FreeAddr()
	return &primary{addr: a}, err
}

// stalled is how long nothing may come before the system is asked once more to try what it has.
const stalled = 3 * time.Second

func (p *primary) took(*sink.Envelope, []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	p.last = time.Now()
	if p.count == 1 {
		p.first = p.last
	}
	return nil
}

func (p *primary) counted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// back opens the port and returns the rate at which the messages arrive, once all have.
func (p *primary) back(ctx context.Context, messages int, delay time.Duration, flush func(context.Context) error) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	// In plain text for both: Postfix reuses no encrypted connection unless told to.
	o := sink.Options{Addr: p.addr, Deliver: p.took, Offers: sink.DefaultOffers()}
	o.Offers.StartTLS = false
	if delay > 0 {
		o.Addr = "127.0.0.1:0"
	}
	s := sink.New(o)
	if err := s.Start(); err != nil {
		return 0, err
	}
	defer s.Stop()
	if delay > 0 {
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			return 0, err
		}
		served := make(chan error, 1)
		line, stop := context.WithCancel(ctx)
		go func() { served <- (&load.Link{To: s.Addr(), Delay: delay}).Serve(line, l) }()
		defer func() { stop(); <-served }()
	}
	if err := flush(ctx); err != nil {
		return 0, err
	}
	seen, moved := 0, time.Now()
	for p.counted() < messages {
		if n := p.counted(); n != seen {
			seen, moved = n, time.Now()
		} else if time.Since(moved) > stalled {
			// What Postfix had under way just before would otherwise wait for its backoff.
			if err := flush(ctx); err != nil {
				return 0, err
			}
			moved = time.Now()
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d messages arrived: %w", p.counted(), messages, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(messages-1) / p.last.Sub(p.first).Seconds(), nil
}

type postfixMX struct {
	i *postfix.Instance
	p *primary
}

func newPostfix(ctx context.Context, _ *comparison) (system, error) {
	p, err := newPrimary()
	if err != nil {
		return nil, err
	}
	listen, err := node.FreeAddr()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return nil, err
	}
	// As Debian sets it up, but for what a backup MX needs and for limits that would count against
	// a load that comes from one address.
	i, err := postfix.Start(ctx, postfix.Options{
		Listen: listen,
		Next:   fmt.Sprintf("[%s]:%s", host, port),
		Main:   map[string]string{"relay_domains": "example.test", "relay_transport": "smtp"},
	})
	return &postfixMX{i, p}, err
}

func (s *postfixMX) addr() string                { return s.i.Listen }
func (s *postfixMX) primary() *primary           { return s.p }
func (s *postfixMX) flush(context.Context) error { return s.i.Flush() }
func (s *postfixMX) remove() error               { return s.i.Remove() }

type restanteMX struct {
	n *node.Node
	p *primary
}

func newRestante(ctx context.Context, c *comparison) (system, error) {
	return startRestante(ctx, c, node.Options{})
}

// startRestante starts a node and returns when it knows that its primary is down.
func startRestante(ctx context.Context, c *comparison, o node.Options) (*restanteMX, error) {
	p, err := newPrimary()
	if err != nil {
		return nil, err
	}
	if o.Dir, err = c.tempDir(); err != nil {
		return nil, err
	}
	o.Primary = p.addr
	if o.Extra == "" {
		o.Extra = "recipients = [\"@\"]\n"
	}
	o.Extra = "probe_interval = \"1s\"\n" + o.Extra + "[replay]\nconnections = 20\n"
	o.SMTP += "max_sessions_per_address = 1000\n"
	n, err := node.New(c.binary, o)
	if err != nil {
		return nil, err
	}
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := n.Start(start); err != nil {
		return nil, err
	}
	if _, err := n.WaitStatus(start, func(d node.Domain) bool { return d.State == "down" }); err != nil {
		return nil, errors.Join(err, n.Kill())
	}
	return &restanteMX{n, p}, nil
}

func (s *restanteMX) addr() string                { return s.n.SMTP }
func (s *restanteMX) primary() *primary           { return s.p }
func (s *restanteMX) flush(context.Context) error { return nil } // it notices by itself
func (s *restanteMX) remove() error               { return s.n.Stop() }
