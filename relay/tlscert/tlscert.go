// Package tlscert supplies the certificate of a TLS server: from files, read again when they change, or a
// self-signed one that is made at the first start and kept.
//
// A self-signed certificate suffices for SMTP without DANE or MTA-STS: a sender that encrypts when it can
// doesn't look at the name (RFC 7435), and in plain text it would be worse off.
package tlscert

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
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
	o    Options
	self bool

	mu     sync.RWMutex
	cert   *tls.Certificate
	stamps [2]stamp // of the files that cert came from
}

// stamp tells whether a file has changed.
type stamp struct {
	time time.Time
	size int64
}

// Times of a self-signed certificate: how long it is good for, and how long before that ends it is replaced.
const (
	lifetime = 10 * 365 * 24 * time.Hour
	renewal  = 365 * 24 * time.Hour
)

// New loads the certificate, or makes a self-signed one.
func New(o Options) (*Source, error) {
	s := &Source{o: o}
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return nil, errors.New("tlscert: a certificate and its key are needed, only one of them is given")
	case o.CertFile == "":
		s.self = true
		s.o.CertFile = filepath.Join(o.Dir, "self-signed.crt")
		s.o.KeyFile = filepath.Join(o.Dir, "self-signed.key")
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Get returns the certificate in use; it fits tls.Config.GetCertificate.
func (s *Source) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cert, nil
}

// Reload reads the files again. On an error the certificate in use stays.
func (s *Source) Reload() error {
	stamps := s.look()
	cert, err := s.load()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert, s.stamps = cert, stamps
	return nil
}

func (s *Source) load() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(s.o.CertFile, s.o.KeyFile)
	if s.self && (err != nil || s.stale(&cert)) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.o.Log.Warn("self-signed certificate can't be used, making a new one", "error", err)
		}
		if err := s.make(); err != nil {
			return nil, fmt.Errorf("tlscert: self-signed certificate: %w", err)
		}
		cert, err = tls.LoadX509KeyPair(s.o.CertFile, s.o.KeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("tlscert: %w", err)
	}
	return &cert, nil
}

// stale reports that a self-signed certificate ends soon or has another name.
func (s *Source) stale(cert *tls.Certificate) bool {
	return time.Now().Add(renewal).After(cert.Leaf.NotAfter) || cert.Leaf.VerifyHostname(s.o.Hostname) != nil
}

// make writes a new self-signed certificate and its key, the key last: with the old key the new certificate
// can't be loaded, and the next start makes both again.
func (s *Source) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: s.o.Hostname},
		DNSNames:     []string{s.o.Hostname},
		NotBefore:    time.Now().Add(-time.Hour), // clocks differ
		NotAfter:     time.Now().Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return err
	}
	if err := write(s.o.CertFile, 0o644, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return err
	}
	return write(s.o.KeyFile, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// write puts a block in a file in one step.
func write(path string, mode fs.FileMode, b *pem.Block) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // readable by us alone
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // there is nothing to remove once it is renamed
	err = errors.Join(pem.Encode(f, b), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// look takes the stamps of the files. A file that can't be looked at has the zero stamp.
func (s *Source) look() (stamps [2]stamp) {
	for i, path := range []string{s.o.CertFile, s.o.KeyFile} {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

// Watch reloads whenever the files have changed, looking at every interval, until ctx ends. A certificate that can't be
// loaded is reported once and the one in use stays.
func (s *Source) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	s.mu.RLock()
	seen := s.stamps
	s.mu.RUnlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.look()
		if now == seen {
			continue
		}
		seen = now
		if err := s.Reload(); err != nil {
			s.o.Log.Error("the new certificate can't be used, the old one stays", "error", err)
			continue
		}
		s.o.Log.Info("certificate loaded", "file", s.o.CertFile, "not_after", s.Expiry())
	}
}

// Expiry is when the certificate in use ends.
func (s *Source) Expiry() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cert.Leaf.NotAfter
}
