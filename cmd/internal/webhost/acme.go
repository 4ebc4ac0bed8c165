package webhost

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ACMEOptions are what NewACME needs.
type ACMEOptions struct {
	CA       string // its directory
	CARoot   string // PEM file to trust it by; "" for the system's
	Email    string // may be empty
	Names    []string
	HTTPPort int // where the CA's requests arrive for HTTP-01 when we listen elsewhere than on port 80; 0: HTTP-01 isn't used
	TLSPort  int // the same of port 443 and TLS-ALPN-01
	Storage  certmagic.Storage
	Log      *slog.Logger
}

// ACME keeps certificates for the names, and renews them (RFC 8555).
type ACME struct {
	names  []string
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
}

// NewACME makes one. Nothing is asked of the CA before Manage.
func NewACME(o ACMEOptions) (*ACME, error) {
	log := zap.New(zapToSlog{o.Log})
	a := &ACME{names: o.Names}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil }, Logger: log,
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage: o.Storage, Logger: log, DefaultServerName: o.Names[0],
		ReusePrivateKeys: true, // a TLSA record 3 1 1 names the key, and outlives renewals with it
	})
	issuer := certmagic.ACMEIssuer{
		CA: o.CA, TestCA: o.CA, Email: o.Email, Agreed: true, Logger: log, // asking the same CA twice is for those who have another to try with
		AltHTTPPort: o.HTTPPort, AltTLSALPNPort: o.TLSPort, DisableHTTPChallenge: o.HTTPPort == 0, DisableTLSALPNChallenge: o.TLSPort == 0,
	}
	if o.CARoot != "" {
		pem, err := os.ReadFile(o.CARoot)
		if err != nil {
			a.Stop()
			return nil, fmt.Errorf("acme_ca_root: %w", err)
		}
		issuer.TrustedRoots = x509.NewCertPool()
		if !issuer.TrustedRoots.AppendCertsFromPEM(pem) {
			a.Stop()
			return nil, fmt.Errorf("acme_ca_root: %s has no certificate in it", o.CARoot)
		}
	}
	a.issuer = certmagic.NewACMEIssuer(a.config, issuer)
	a.config.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// TLS is the configuration of the https listener. It also answers TLS-ALPN-01.
func (a *ACME) TLS() *tls.Config {
	c := a.config.TLSConfig()
	c.MinVersion = tls.VersionTLS12
	c.NextProtos = append([]string{"h2", "http/1.1"}, c.NextProtos...)
	return c
}

// Challenge answers HTTP-01 on the plain port and leaves the rest to next.
func (a *ACME) Challenge(next http.Handler) http.Handler { return a.issuer.HTTPChallengeHandler(next) }

// Manage loads the certificates, and has those that are missing or old made in the background, trying again with
// growing waits until ctx ends. It returns at once.
func (a *ACME) Manage(ctx context.Context) error { return a.config.ManageAsync(ctx, a.names) }

// Missing are the names that have no certificate yet.
func (a *ACME) Missing() []string {
	var list []string
	for _, name := range a.names {
		if certs := a.cache.AllMatchingCertificates(name); !slices.ContainsFunc(certs, func(c certmagic.Certificate) bool { return !c.Expired() }) {
			list = append(list, name)
		}
	}
	return list
}

// Certificate returns the certificate for a name, nil when there is none that holds.
func (a *ACME) Certificate(name string) *tls.Certificate {
	var best *certmagic.Certificate
	for _, c := range a.cache.AllMatchingCertificates(name) {
		if !c.Expired() && (best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter)) {
			best = &c
		}
	}
	if best == nil {
		return nil
	}
	return &best.Certificate
}

// Stop ends the renewals.
func (a *ACME) Stop() { a.cache.Stop() }

// TLSFromFiles is the configuration of a listener whose certificate comes from get.
func TLSFromFiles(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get, NextProtos: []string{"h2", "http/1.1"}}
}

// zapToSlog lets certmagic write into our log.
type zapToSlog struct{ log *slog.Logger }

// Enabled implements zapcore.Core.
func (z zapToSlog) Enabled(l zapcore.Level) bool {
	return z.log.Enabled(context.Background(), slogLevel(l))
}

// With implements zapcore.Core.
func (z zapToSlog) With(f []zapcore.Field) zapcore.Core {
	return zapToSlog{slog.New(z.log.Handler().WithAttrs(attrs(f)))}
}

// Check implements zapcore.Core.
func (z zapToSlog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if z.Enabled(e.Level) {
		return c.AddCore(e, z)
	}
	return c
}

// Write implements zapcore.Core.
func (z zapToSlog) Write(e zapcore.Entry, f []zapcore.Field) error {
	z.log.LogAttrs(context.Background(), slogLevel(e.Level), "certificate: "+strings.TrimSuffix(e.Message, "."), attrs(f)...)
	return nil
}

// Sync implements zapcore.Core.
func (z zapToSlog) Sync() error { return nil }

// slogLevel takes certmagic's chatter a step down.
func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	var list []slog.Attr
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			list = append(list, slog.Any(f.Key, v))
		}
	}
	return list
}
