package sink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxViolations bounds the list of violations.
const maxViolations = 100

// Server is an SMTP server.
type Server struct {
	o      Options
	faults atomic.Pointer[faultSet]
	offers atomic.Pointer[Offers]
	stats  counters

	// gate orders deliveries against Stop: after Stop has returned nothing more is delivered.
	gate sync.RWMutex

	mu         sync.Mutex
	addr       string // with the port, once known
	listener   net.Listener
	sessions   map[*session]struct{}
	number     int64
	tls        *tls.Config // made when first needed
	kept       []Message
	violations []string
}

// counters are Stats while they are counted.
type counters struct {
	connections, current, maxCurrent, transactions, messages, octets, refused, dropped atomic.Int64
}

// New returns a server that isn't started.
func New(o Options) *Server {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Hostname == "" {
		o.Hostname = "sink.test"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, addr: o.Addr, sessions: map[*session]struct{}{}}
	s.SetFaults(o.Faults)
	offers := o.Offers
	if offers.isZero() {
		offers = DefaultOffers()
		if o.Login != nil {
			offers.Auth = []string{"PLAIN", "LOGIN"}
		}
	}
	s.SetOffers(offers)
	return s
}

func (o Offers) isZero() bool {
	return !o.HeloOnly && o.Size == 0 && !o.NoSize && !o.Pipelining && !o.Chunking && !o.EightBitMIME && !o.SMTPUTF8 &&
		!o.DSN && !o.StartTLS && o.XClient == nil && o.XForward == nil && o.Auth == nil
}

// Start listens and serves in the background: at the first time on Options.Addr, later on the port found then.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return errors.New("sink: already started")
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	s.listener, s.addr = l, l.Addr().String()
	go s.accept(l)
	return nil
}

// Stop ends everything as a killed host does: the port is closed, every connection is reset where it stands and what
// was in hand is forgotten. It waits for Deliver calls under way, so it must not be called from inside one
// (use `go s.Stop()` or a Rule with Stop there). Without effect on a stopped server.
func (s *Server) Stop() {
	s.mu.Lock()
	if s.listener != nil {
		s.listener.Close() // an error would mean that it is closed
		s.listener = nil
	}
	for c := range s.sessions {
		c.kill()
	}
	s.mu.Unlock()
	s.gate.Lock() // deliveries that had begun have ended now, others see their session killed
	defer s.gate.Unlock()
}

// Running reports whether the port is open.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != nil
}

// Addr is host:port, known from the first Start on.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// SetFaults replaces the faults, for sessions that are open too. Counts of rules begin anew.
func (s *Server) SetFaults(f Faults) { s.faults.Store(compile(f)) }

// SetOffers replaces what the next EHLO is told.
func (s *Server) SetOffers(o Offers) { s.offers.Store(&o) }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		Connections: c.connections.Load(), Current: c.current.Load(), MaxCurrent: c.maxCurrent.Load(),
		Transactions: c.transactions.Load(), Messages: c.messages.Load(),
		Octets: c.octets.Load(), Refused: c.refused.Load(), Dropped: c.dropped.Load(),
	}
}

// Messages returns what was kept, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.kept...)
}

// Violations returns what clients did against the protocol (Options.Strict), at most the first 100.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.violations...)
}

// Certificate returns the certificate that STARTTLS shows, in DER.
func (s *Server) Certificate() ([]byte, error) {
	cfg, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	return cfg.Certificates[0].Certificate[0], nil
}

func (s *Server) tlsConfig() (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tls == nil {
		s.tls = s.o.TLS
	}
	if s.tls == nil {
		cert, err := SelfSigned(s.o.Hostname, "localhost", "127.0.0.1", "::1")
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	return s.tls, nil
}

func (s *Server) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, say: it passes
			s.o.Log.Warn("sink can't accept", "error", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		if s.listener != l { // stopped meanwhile
			s.mu.Unlock()
			nc.Close() // nobody is told anything any more
			continue
		}
		s.number++
		c := newSession(s, nc, s.number)
		s.sessions[c] = struct{}{}
		s.mu.Unlock()
		s.stats.connections.Add(1)
		n := s.stats.current.Add(1)
		for m := s.stats.maxCurrent.Load(); n > m && !s.stats.maxCurrent.CompareAndSwap(m, n); m = s.stats.maxCurrent.Load() {
		}
		go func() {
			defer func() {
				c.kill()
				s.mu.Lock()
				delete(s.sessions, c)
				s.mu.Unlock()
				s.stats.current.Add(-1)
			}()
			c.serve(n)
		}()
	}
}

// deliver hands a message over, or says why not. It reports false when the server was stopped before.
func (s *Server) deliver(c *session, data []byte) (error, bool) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if c.killed.Load() {
		return nil, false
	}
	if s.o.Deliver != nil {
		env := c.env // the callee may keep it
		if err := s.o.Deliver(&env, data); err != nil {
			return err, true
		}
	}
	if s.o.Keep {
		s.mu.Lock()
		s.kept = append(s.kept, Message{Envelope: c.env, Data: data})
		s.mu.Unlock()
	}
	s.stats.messages.Add(1)
	return nil, true
}

func (s *Server) violation(c *session, format string, args ...any) {
	if !s.o.Strict || c.misled {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, fmt.Sprintf("session %d: ", c.env.Session)+fmt.Sprintf(format, args...))
	}
}
