package app

import (
	"context"
	"crypto/x509"
	"os"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/policy/scan"
)

// startFilters makes what asks content filters. It is there without any, since a reload may name one.
func (a *App) startFilters(c *config.Config) error {
	sc, err := scanConfig(c)
	if err != nil {
		return err
	}
	a.scan, err = scan.New(scan.Options{Hostname: c.Hostname, Config: sc, Log: a.log, Metrics: scan.NewMetrics(a.reg)})
	if err != nil {
		return must("content filters", err)
	}
	a.life.run("content filters", func(ctx context.Context) error {
		a.scan.Run(ctx)
		return nil
	})
	return nil
}

// scanConfig is how content filters are asked.
func scanConfig(c *config.Config) (scan.Config, error) {
	sc := c.Scan()
	if c.Rspamd.TLSCA == "" {
		return sc, nil
	}
	pem, err := os.ReadFile(c.Rspamd.TLSCA)
	if err != nil {
		return sc, admin.Errorf(admin.KindUsage, "name a file that the user that runs restante may read", "tls_ca of [rspamd]: %w", err)
	}
	sc.Rspamd.RootCAs = x509.NewCertPool()
	if !sc.Rspamd.RootCAs.AppendCertsFromPEM(pem) {
		return sc, admin.Errorf(admin.KindUsage, "name a file with PEM certificates", "tls_ca of [rspamd]: %s has no certificate in it", c.Rspamd.TLSCA)
	}
	return sc, nil
}
