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
	o := sink.Options{Addr: p.addr, Deliver: p.took}
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
	var flushed time.Time
	for p.counted() < messages {
		// Again now and then: what Postfix had under way just before would wait five minutes.
		if time.Since(flushed) > 2*time.Second {
			if err := flush(ctx); err != nil {
				return 0, err
			}
			flushed = time.Now()
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
		Main: map[string]string{"relay_domains": "example.test", "relay_transport": "smtp",
			"smtp_tls_security_level": "may"},
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
	o.Extra = "probe_interval = \"1s\"\nrecipients = [\"@\"]\n[replay]\nconnections = 20\n"
	o.SMTP = "max_sessions_per_address = 1000"
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
