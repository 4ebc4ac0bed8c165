package app

import (
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/tlscert"
)

// certEvery is how often certificate files are looked at.
const certEvery = time.Minute

// certificates is the certificate in use; a reload may put other files in its place.
type certificates struct {
	source atomic.Pointer[tlscert.Source]
}

// Get implements smtpd.Certificates.
func (c *certificates) Get(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := c.source.Load()
	if s == nil {
		return nil, errors.New("no certificate yet")
	}
	return s.Get(h)
}

// open loads the certificate that the configuration names.
func (c *certificates) open(a *App, cfg *config.Config) (*tlscert.Source, error) {
	o := tlsOptions(cfg)
	o.Log = a.log
	s, err := tlscert.New(o)
	if err != nil {
		return nil, admin.Errorf(admin.KindFailed, "mend tls_cert and tls_key in [smtp], or leave them out for a self-signed certificate", "no certificate: %w", err)
	}
	return s, nil
}

func (c *certificates) use(a *App, cfg *config.Config) error {
	s, err := c.open(a, cfg)
	if err == nil {
		c.source.Store(s)
	}
	return err
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
