package load

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Link is a line between two places on one machine: a TCP relay whose octets arrive Delay after they were sent,
// in each direction, and that can break. It models latency, not bandwidth.
type Link struct {
	To    string
	Delay time.Duration // each way; a round trip takes twice as long

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	broken bool
	wg     sync.WaitGroup
}

// Serve relays the connections of l until ctx ends, then cuts them.
func (k *Link) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close(); k.Break() })
	defer stop()
	defer k.wg.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		k.wg.Go(func() { k.relay(ctx, c) })
	}
}

// Break cuts every connection and lets no new one through until Mend.
func (k *Link) Break() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = true
	for c := range k.conns {
		c.Close()
	}
}

// Mend ends Break.
func (k *Link) Mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = false
}

// hold registers a connection to be cut by Break; false: the line is broken.
func (k *Link) hold(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken {
		c.Close()
		return false
	}
	if k.conns == nil {
		k.conns = map[net.Conn]struct{}{}
	}
	k.conns[c] = struct{}{}
	return true
}

func (k *Link) drop(c net.Conn) {
	c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

func (k *Link) relay(ctx context.Context, c net.Conn) {
	if !k.hold(c) {
		return
	}
	defer k.drop(c)
	// The handshake crosses the line too.
	select {
	case <-time.After(2 * k.Delay):
	case <-ctx.Done():
		return
	}
	d, err := (&net.Dialer{}).DialContext(ctx, "tcp", k.To)
	if err != nil || !k.hold(d) {
		return
	}
	defer k.drop(d)
	var wg sync.WaitGroup
	wg.Go(func() { k.pump(d, c) })
	wg.Go(func() { k.pump(c, d) })
	wg.Wait()
}

type chunk struct {
	data []byte
	due  time.Time
}

// pump carries what comes from src to dst after the delay, and its end too.
func (k *Link) pump(dst, src net.Conn) {
	line := make(chan chunk, 4096)
	go func() {
		defer close(line)
		for {
			b := make([]byte, 32<<10)
			n, err := src.Read(b)
			if n > 0 {
				line <- chunk{b[:n], time.Now().Add(k.Delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range line {
		time.Sleep(time.Until(c.due))
		if _, err := dst.Write(c.data); err != nil {
			src.Close() // ends the reader
			for range line {
			}
			return
		}
	}
	if t, ok := dst.(*net.TCPConn); ok {
		if err := t.CloseWrite(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			dst.Close()
		}
	}
}
