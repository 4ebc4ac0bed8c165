package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/webhost"
	"restante/relay/tlscert"
)

const (
	certEvery = time.Minute        // how often certificate files are looked at
	certSoon  = 7 * 24 * time.Hour // a certificate that ends within so long shows as a fault
)

// certificates is the one source of certificates for SMTP, and for a webmail with the same files: [smtp]'s files, else the webmail's,
// else what the CA has issued to the webmail and for the hostname, else a self-signed one. A reload may put other files in its place.
type certificates struct {
	hostname string
	source   atomic.Pointer[fileCert]
	acme     atomic.Pointer[webhost.ACME] // nil: none
}

// fileCert is a certificate from files.
type fileCert struct {
	*tlscert.Source
	self bool // nobody named any: the self-signed one
}

// Get implements smtpd.Certificates. Most senders ask for no name, the others for that of our MX record.
func (c *certificates) Get(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := c.source.Load()
	if s == nil {
		return nil, errors.New("no certificate yet")
	}
	if a := c.acme.Load(); a != nil && s.self {
		for _, name := range []string{h.ServerName, c.hostname} {
			if name == "" {
				continue
			}
			if cert := a.Certificate(name); cert != nil {
				return cert, nil
			}
		}
	}
	return s.Get(h)
}

// open loads the certificate that the configuration names.
func (c *certificates) open(a *App, cfg *config.Config) (*fileCert, error) {
	o := tlscert.Options{Dir: cfg.DataDir, Hostname: cfg.Hostname, Log: a.log}
	o.CertFile, o.KeyFile = cfg.SMTPCert()
	s, err := tlscert.New(o)
	if err != nil && cfg.SMTP.TLSCert == "" && o.CertFile != "" { // mail doesn't wait for the webmail's certificate
		a.log.Error("the webmail's certificate can't be used for SMTP, a self-signed one is; mend tls_cert and tls_key in [webmail], then `restante reload`", "error", err)
		o.CertFile, o.KeyFile = "", ""
		s, err = tlscert.New(o)
	}
	if err != nil {
		return nil, admin.Errorf(admin.KindFailed, "mend tls_cert and tls_key in [smtp], or leave them out for a self-signed certificate", "no certificate: %w", err)
	}
	return &fileCert{s, o.CertFile == ""}, nil
}

func (c *certificates) use(a *App, cfg *config.Config) error {
	s, err := c.open(a, cfg)
	if err == nil {
		c.source.Store(s)
	}
	return err
}

// trouble says what is wrong with the certificate that SMTP shows, "" if nothing is.
func (c *certificates) trouble(cfg *config.Config, now time.Time) string {
	s := c.source.Load()
	switch {
	case s == nil:
		return ""
	case !s.self && now.After(s.Expiry()):
		return fmt.Sprintf("the certificate for SMTP ended on %s: put a new one in place of the files, they are read by themselves", s.Expiry().Format(time.DateOnly))
	case !s.self && now.Add(certSoon).After(s.Expiry()):
		return fmt.Sprintf("the certificate for SMTP ends on %s: put a new one in place of the files, they are read by themselves", s.Expiry().Format(time.DateOnly))
	}
	if a := c.acme.Load(); a != nil && s.self && !slices.Contains(cfg.Webmail.Hostnames, c.hostname) && slices.Contains(a.Missing(), c.hostname) {
		return fmt.Sprintf("SMTP shows a self-signed certificate, the CA has issued none yet for %s: it has to reach port 80 or 443 of that name; the log says what it answered", c.hostname)
	}
	return ""
}

// watch reads the files again when they have changed.
func (c *certificates) watch(ctx context.Context) error {
	for ctx.Err() == nil {
		s := c.source.Load()
		sub, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Watch(sub, certEvery)
		}()
		for c.source.Load() == s && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(certEvery):
			}
		}
		cancel()
		<-done
	}
	return nil
}
