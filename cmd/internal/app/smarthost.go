package app

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/submit"
	"restante/spool"
)

// startSubmit makes what sends mail that was written here.
func (a *App) startSubmit(context.Context) error {
	c := a.cfg.Load()
	sc, err := submitConfig(c)
	if err != nil {
		return err
	}
	a.submit, err = submit.New(submit.Options{
		Spool: a.spool, Index: a.index, Secrets: a.keys, Dialer: a.dialer, Hostname: c.Hostname, Hosted: a.hosted, Config: sc,
		Open: a.picture.writing, TXT: a.resolver.LookupTXT, Notify: a.replayNotice, Log: a.log, Metrics: a.reg, TempDir: filepath.Join(c.DataDir, "tmp"),
		Declared: a.monitor.Declared, Reader: a.reader, Scan: a.scan.Scan,
	})
	if err != nil {
		return must("sending", err)
	}
	return nil
}

// reader is the language of a person and the zone that times are told in, as far as they are known.
func (a *App) reader(account string) (language string, zone *time.Location) {
	if a.web.accounts == nil {
		return "", nil
	}
	who, _ := a.web.accounts.Account(account)
	if who.Zone != "" {
		zone, _ = time.LoadLocation(who.Zone) // checked when it was set; else UTC
	}
	return who.Language, zone
}

// byReplay says whether replay delivers a pair, and not sending.
func (a *App) byReplay(p *spool.Pair) bool { return !a.submit.Takes(p) }

// submitConfig is what relay/submit needs of the configuration.
func submitConfig(c *config.Config) (submit.Config, error) {
	out := submit.Config{Submission: map[string]submit.Server{}, Limits: submit.Limits{
		Messages: c.Sending.MessagesPerHour, Recipients: c.Sending.RecipientsPerHour, PerMessage: c.Sending.MaxRecipients, Size: int64(c.Sending.MaxMessageSize),
	}, RetryMin: c.Sending.RetryMin.Std(), RetryMax: c.Sending.RetryMax.Std(), GiveUp: c.Sending.GiveUp.Std()}
	if c.Smarthost.Host != "" {
		s, err := submitServer("smarthost", &c.Smarthost)
		if err != nil {
			return out, err
		}
		out.Smarthost = &s
	}
	for i := range c.Domains {
		d := &c.Domains[i]
		if d.Submission.Host == "" {
			continue
		}
		s, err := submitServer("submission of "+d.Name, &d.Submission)
		if err != nil {
			return out, err
		}
		out.Submission[d.Name] = s
	}
	return out, nil
}

func submitServer(what string, c *config.Submission) (submit.Server, error) {
	s := submit.Server{Host: c.Host, Port: c.Port, TLS: c.TLS, User: c.User, Password: c.Password.Reveal()}
	var err error
	s.RootCAs, err = rootCAs(what, c.TLSCA)
	return s, err
}

// rootCAs reads a PEM file; nil, the system's, for none.
func rootCAs(what, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, admin.Errorf(admin.KindUsage, "name a file that the user that runs restante may read", "tls_ca of %s: %w", what, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, admin.Errorf(admin.KindUsage, "name a file with PEM certificates", "tls_ca of %s: %s has no certificate in it", what, file)
	}
	return pool, nil
}
