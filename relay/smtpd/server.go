package smtpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"restante/relay/mailaddr"
	"restante/spool"
)

// Certificates gives TLS its certificate; *tlscert.Source is one.
type Certificates interface {
	Get(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Server is an SMTP server. Its methods may be called by many goroutines.
type Server struct {
	o        Options
	tls      *tls.Config // nil: no STARTTLS
	minTLS   atomic.Uint32
	limits   atomic.Pointer[Limits]
	offers   atomic.Pointer[Offers]
	master   atomic.Pointer[string] // domain of a postmaster without one
	proxies  atomic.Pointer[[]netip.Prefix]
	stressed atomic.Bool     // sessions run short
	ctx      context.Context // of all sessions
	cut      context.CancelFunc
	wg       sync.WaitGroup // sessions, and transactions
	small    sync.Pool      // of *[]byte, to read commands into
	large    sync.Pool      // of *[]byte, to read messages into
	refusals refusals

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	wires     map[*wire]struct{}
	headers   map[net.Conn]struct{} // of load balancers, that haven't said for whom they are
	from      map[netip.Prefix]int  // sessions of an address
	going     int                   // of wires: sent away to make room, and not gone yet
	crowded   time.Time             // until then there is nobody to send away
	lately    netip.Addr            // where the last session came from
	inRow     int                   // and how many before it
	stopping  bool
	stopped   chan struct{} // closed when stopping
}

// New returns a server. Before that it lets go-smtp go through what it relies on (see prove), and refuses to
// work with a version that behaves otherwise.
func New(o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if err := prove(); err != nil {
		return nil, fmt.Errorf("smtpd: the SMTP library beneath can't be trusted with mail: %w", err)
	}
	return s, nil
}

func newServer(o Options) (*Server, error) {
	if o.Handler == nil || o.Hostname == "" {
		return nil, errors.New("smtpd: Handler and Hostname are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		o: o, stopped: make(chan struct{}), refusals: refusals{log: o.Log},
		listeners: map[net.Listener]struct{}{}, wires: map[*wire]struct{}{}, headers: map[net.Conn]struct{}{}, from: map[netip.Prefix]int{},
	}
	s.ctx, s.cut = context.WithCancel(context.Background())
	l := o.Limits.filled()
	small := l.CommandLine + 128
	s.small.New = func() any { b := make([]byte, small); return &b }
	s.large.New = func() any { b := make([]byte, largeBuffer); return &b }
	s.limits.Store(&l)
	s.SetOffers(o.Offers)
	s.SetPostmasterDomain(o.PostmasterDomain)
	s.SetProxies(o.Proxies)
	s.SetMinTLS(o.MinTLS)
	if o.Certificates != nil {
		s.tls = &tls.Config{GetCertificate: o.Certificates.Get, MinVersion: tls.VersionTLS10}
		s.tls.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := s.tls.Clone()
			c.MinVersion, c.GetConfigForClient = uint16(s.minTLS.Load()), nil
			return c, nil
		}
	}
	return s, nil
}

// SetMinTLS changes the oldest version of TLS that is spoken, for handshakes to come; 0 is TLS 1.2.
func (s *Server) SetMinTLS(version uint16) {
	s.minTLS.Store(uint32(cmp.Or(version, tls.VersionTLS12)))
}

// filled returns the limits with defaults for zero fields.
func (l Limits) filled() Limits {
	d := DefaultLimits()
	fill(&l.Sessions, d.Sessions)
	fill(&l.SessionsPerAddress, d.SessionsPerAddress)
	fill(&l.Recipients, d.Recipients)
	fill(&l.MessageSize, d.MessageSize)
	fill(&l.CommandLine, d.CommandLine)
	fill(&l.MessageLine, d.MessageLine)
	fill(&l.HeaderSize, d.HeaderSize)
	fill(&l.Hops, d.Hops)
	fill(&l.Errors, d.Errors)
	fill(&l.RefusedRecipients, d.RefusedRecipients)
	fill(&l.Commands, d.Commands)
	fill(&l.Idle, d.Idle)
	fill(&l.Write, d.Write)
	fill(&l.MinRate, d.MinRate)
	fill(&l.RateGrace, d.RateGrace)
	fill(&l.Memory, d.Memory)
	l.CommandLine = min(l.CommandLine, largeBuffer/2)
	return l
}

func fill[T int | int64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// Serve accepts connections from l until Shutdown, and then returns nil. It may be called for several
// listeners.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(nc)
			continue
		}
		select {
		case <-s.stopped:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("smtpd: %w", err)
		}
		// Out of file descriptors, most likely: others will be closed.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.o.Log.Error("can't accept a connection", "listener", l.Addr().String(), "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-s.stopped:
			return nil
		}
	}
}

// serve begins a session.
func (s *Server) serve(nc net.Conn) {
	id := spool.NewID()
	w := newWire(s, nc, id[len(id)-8:])
	if r, written := s.admit(w); !r.IsZero() {
		if written {
			w.logRefusal(connectionRefused, r)
		}
		w.limits.Write = time.Second // never waits: the buffer of a new connection is empty
		w.bye(r)
		w.cancel()
		s.recycle(w.buf)
		nc.Close() // nothing was said yet that could get lost
		return
	}
	s.o.Metrics.session(1)
	if s.o.Arrived != nil {
		s.o.Arrived(w.remote.Addr())
	}
	w.lookup()
	go w.greet()
}

// recycle takes a buffer back.
func (s *Server) recycle(b *[]byte) {
	if len(*b) == largeBuffer {
		s.large.Put(b)
	} else {
		s.small.Put(b)
	}
}

// Shutdown stops: listeners close, idle peers get 421, messages in flight finish. When ctx ends first,
// all connections are cut and its error is returned, once the handlers have returned, whose contexts have ended.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		close(s.stopped)
	}
	var err error
	for l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	for w := range s.wires {
		w.sendAway(errLeave)
	}
	for nc := range s.headers {
		err = errors.Join(err, nc.Close())
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
		s.cut()
		s.mu.Lock()
		for w := range s.wires {
			w.kill()
		}
		s.mu.Unlock()
		<-done
	}
	s.cut()
	s.refusals.flush()
	return err
}

// Sessions returns the number of sessions now.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.wires)
}

// SetOffers changes what EHLO offers from now on.
func (s *Server) SetOffers(o Offers) { s.offers.Store(&o) }

// offered returns what is offered now; its size is never more than the limit.
func (s *Server) offered() Offers {
	o := *s.offers.Load()
	if limit := s.limits.Load().MessageSize; o.Size <= 0 || o.Size > limit {
		o.Size = limit
	}
	return o
}

// greeting is the reply to EHLO in session w.
func (s *Server) greeting(w *wire) []byte {
	return ehlo(s.o.Hostname, w.offers, w.limits.Recipients, s.tls != nil, w.tls != "")
}

// SetLimits changes the limits for new sessions. CommandLine stays as it is.
func (s *Server) SetLimits(l Limits) {
	l = l.filled()
	l.CommandLine = s.limits.Load().CommandLine
	s.limits.Store(&l)
}

// SetPostmasterDomain changes where mail for "postmaster" without a domain belongs.
func (s *Server) SetPostmasterDomain(domain string) { s.master.Store(&domain) }

var errNoPostmaster = errors.New("no domain for postmaster")

// postmaster is the address that "postmaster" without a domain means.
func (s *Server) postmaster() (mailaddr.Address, error) {
	domain := *s.master.Load()
	if domain == "" {
		return mailaddr.Address{}, errNoPostmaster
	}
	return mailaddr.Parse("postmaster@" + domain)
}

// nameTime bounds how long a transaction waits for the client's name.
const nameTime = 5 * time.Second

// lookup asks for the client's name while it says hello.
func (w *wire) lookup() {
	if w.srv.o.Resolver == nil || !w.remote.IsValid() || w.remote.Addr().IsLoopback() {
		return
	}
	answer := make(chan string, 1)
	w.name = answer
	go func() {
		ctx, cancel := context.WithTimeout(w.ctx, nameTime)
		defer cancel()
		name, err := w.srv.o.Resolver.LookupAddr(ctx, w.remote.Addr())
		if err != nil {
			w.log.Debug("no name for the client", "error", err)
		}
		if _, err := mailaddr.ParseDomain(name); err != nil {
			name = "" // names come from strangers' zones
		}
		answer <- name
	}()
}

// client returns who speaks to us. The protocol depends on the transaction.
func (w *wire) client(utf8 bool) *Client {
	if w.name != nil {
		select {
		case w.verified = <-w.name:
		case <-time.After(nameTime): // a resolver that doesn't mind its context
		case <-w.ctx.Done():
		}
		w.name = nil
	}
	if w.known != nil && w.known.Helo == w.helo && w.known.Protocol == protocol(w.esmtp, w.tls != "", utf8) {
		return w.known
	}
	c := &Client{Local: w.local, Session: w.id}
	if w.remote.IsValid() {
		c.Addr, c.Port = w.remote.Addr().String(), int(w.remote.Port())
	}
	c.Name, c.Helo, c.TLS = w.verified, spool.Printable(w.helo), w.tls
	c.Protocol = protocol(w.esmtp, w.tls != "", utf8)
	w.known = c
	return c
}
