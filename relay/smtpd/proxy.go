package smtpd

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// headerTime bounds how long a load balancer may take to say for whom it connects; its own specification asks for 3 s at least.
const headerTime = 5 * time.Second

// headerSize is how much of a PROXY header is read at once: version 1 has 107 octets at most, version 2 is taken up to 4 KB.
const headerSize = 4 << 10

// proxied is a connection that a load balancer made for a client.
type proxied struct {
	net.Conn
	remote, local net.Addr
	rest          []byte // came with the header
}

func (c *proxied) RemoteAddr() net.Addr { return c.remote }
func (c *proxied) LocalAddr() net.Addr  { return c.local }

func (c *proxied) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.rest = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// SetProxies changes from where the PROXY protocol is spoken: from these networks with each connection, from others never.
func (s *Server) SetProxies(list []netip.Prefix) {
	list = slices.Clone(list)
	s.proxies.Store(&list)
}

func (s *Server) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(*s.proxies.Load(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// accept begins a session with who has connected, or with whom a load balancer names. What a stranger says of others is no
// more than a bad command.
func (s *Server) accept(nc net.Conn) {
	from := addrPort(nc.RemoteAddr()).Addr()
	if !s.isProxy(from) {
		s.serve(nc)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if full := len(s.headers) >= s.limits.Load().Sessions; full || s.stopping {
		if full {
			s.o.Metrics.limited("proxy")
		}
		nc.Close() // it makes another connection when its client comes again
		return
	}
	s.headers[nc] = struct{}{}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		client, err := readProxy(nc)
		s.mu.Lock()
		delete(s.headers, nc)
		stopping := s.stopping
		s.mu.Unlock()
		if err != nil {
			nc.Close()
			s.mute(from, err, stopping)
			return
		}
		if client != nil {
			s.serve(client)
		}
	}()
}

// mute tells of a load balancer that didn't say for whom it connects, unless it was cut off by a stop.
func (s *Server) mute(from netip.Addr, err error, stopping bool) {
	if stopping {
		return
	}
	s.o.Metrics.limited("proxy")
	if _, full := s.refusals.note(proxySilent, "proxy", from, "", linesInFull); full {
		s.o.Log.Warn(proxySilent, "proxy", from.String(), "error", err)
	}
}

// readProxy reads the header of a connection (PROXY protocol, versions 1 and 2). A load balancer that speaks for itself (LOCAL),
// or doesn't know for whom (UNKNOWN), is the client. Without an octet, as its health checks often come, there is no connection and no error.
func readProxy(nc net.Conn) (net.Conn, error) {
	if err := nc.SetReadDeadline(time.Now().Add(headerTime)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(&io.LimitedReader{R: nc, N: 2 * headerSize}, headerSize)
	if _, err := r.Peek(1); errors.Is(err, io.EOF) {
		return nil, nc.Close()
	}
	h, err := proxyproto.Read(r)
	if err != nil {
		return nil, err
	}
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	rest, err := r.Peek(r.Buffered())
	if err != nil {
		return nil, err
	}
	c := &proxied{Conn: nc, remote: nc.RemoteAddr(), local: nc.LocalAddr(), rest: slices.Clone(rest)}
	if source, destination, ok := h.TCPAddrs(); ok && h.Command.IsProxy() {
		c.remote, c.local = source, destination
	}
	return c, nil
}
