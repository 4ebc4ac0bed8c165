package webhost

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"restante/relay/policy/rate"
)

// slowBody renews the deadline with each read.
type slowBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *slowBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(BodyTime)) // a writer without deadlines (a test's) has none to renew
	return b.ReadCloser.Read(p)
}

// limiter bounds the connections, in all and from one address. A connection over the bound is closed at once.
type limiter struct {
	max, each int
	trusted   []netip.Prefix

	mu    sync.Mutex
	all   int
	peers map[netip.Prefix]int
}

func newLimiter(most int, trusted []netip.Prefix) *limiter {
	return &limiter{max: most, each: max(1, most/2), trusted: trusted, peers: map[netip.Prefix]int{}}
}

func (l *limiter) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

func (l *limiter) take(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max || l.peers[p] >= l.each && !contains(l.trusted, p.Addr()) {
		return false
	}
	l.all++
	l.peers[p]++
	return true
}

func (l *limiter) give(p netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.peers[p]--; l.peers[p] <= 0 {
		delete(l.peers, p)
	}
}

func (l *limiter) listen(inner net.Listener) net.Listener { return &limited{inner, l} }

type limited struct {
	net.Listener
	l *limiter
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := rate.Address(addrOf(c.RemoteAddr().String()))
		if l.l.take(p) {
			return &conn{Conn: c, give: sync.OnceFunc(func() { l.l.give(p) })}, nil
		}
		_ = c.Close() // there is nobody to tell
	}
}

// conn gives each write its own time.
type conn struct {
	net.Conn
	give func()
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(WriteTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.give()
	return c.Conn.Close()
}

func addrOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func contains(nets []netip.Prefix, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
