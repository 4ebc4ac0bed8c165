package app

import (
	"context"

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
	var err error
	sc.Rspamd.RootCAs, err = rootCAs("[rspamd]", c.Rspamd.TLSCA)
	return sc, err
}
