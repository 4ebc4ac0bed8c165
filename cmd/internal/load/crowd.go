package load

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Crowd are clients that connect and then say nothing, each from an address of its own. Who is sent away comes again.
type Crowd struct {
	Addr    string        // host:port
	Clients int           // at once
	First   netip.Addr    // of the first client, IPv4; the others count up from there. All have to be addresses of this machine, e.g. of 127.0.0.0/8
	Again   time.Duration // on average, after being sent away

	connected, sentAway atomic.Int64
}

// crowdPace is how many clients connect at the same time.
const crowdPace = 64

// Run connects all, calls full once each has been connected for the first time, and goes on until ctx ends.
func (c *Crowd) Run(ctx context.Context, full func()) error {
	gate := make(chan struct{}, crowdPace)
	var first, all sync.WaitGroup
	var failed atomic.Pointer[error]
	addr := c.First
	for range c.Clients {
		first.Add(1)
		from := &net.TCPAddr{IP: addr.AsSlice()}
		addr = addr.Next()
		all.Go(func() {
			once := sync.OnceFunc(first.Done)
			defer once()
			for ctx.Err() == nil {
				gate <- struct{}{}
				nc, err := (&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}).DialContext(ctx, "tcp", c.Addr)
				<-gate
				if err == nil {
					once()
					c.stay(ctx, nc)
				} else if ctx.Err() == nil {
					failed.Store(&err)
				}
				select {
				case <-ctx.Done():
				case <-time.After(c.Again/2 + rand.N(c.Again)):
				}
			}
		})
	}
	first.Wait()
	if ctx.Err() == nil {
		full()
	}
	all.Wait()
	if err := failed.Load(); err != nil && c.connected.Load() == 0 {
		return errors.Join(errors.New("nobody could connect"), *err)
	}
	return nil
}

// stay reads what the server says until it hangs up.
func (c *Crowd) stay(ctx context.Context, nc net.Conn) {
	c.connected.Add(1)
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	defer nc.Close()
	_, _ = io.Copy(io.Discard, nc) // how it ends is of no interest
	if ctx.Err() == nil {
		c.sentAway.Add(1)
	}
}

// Counts says how many connections were made, and how many the server has ended.
func (c *Crowd) Counts() (connected, sentAway int64) { return c.connected.Load(), c.sentAway.Load() }
