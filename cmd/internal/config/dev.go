package config

import (
	"path/filepath"
	"time"
)

// What `serve --dev` uses when flags don't say otherwise.
const (
	DevPrimary = "127.0.0.1:2600"
	DevDomain  = "example.test"
	DevDataDir = "restante-data"
	DevWebmail = "127.0.0.1:8025"
)

// LoadDev is the configuration of `serve --dev`: everything on loopback and below the working folder, with a
// stand-in primary at the address given.
func LoadDev(f Flags, primary string) (*Config, error) {
	if f.Hostname == "" {
		f.Hostname = "mx2." + DevDomain
	}
	if f.DataDir == "" {
		f.DataDir = DevDataDir
	}
	if len(f.SMTPListen) == 0 {
		f.SMTPListen = []string{"127.0.0.1:2525"}
	}
	if len(f.Domains) == 0 {
		f.Domains = []string{DevDomain}
	}
	if len(f.Recipients) == 0 {
		f.Recipients = []string{"@"}
	}
	if len(f.WebmailListen) == 0 {
		f.WebmailListen = []string{DevWebmail}
	}
	f.Primary = []string{DevPrimary} // app puts in where the stand-in really listens
	c, err := Load("", f)
	if err != nil {
		return nil, err
	}
	c.Dev, c.DevListen = true, primary
	c.Webmail.TLS, c.Webmail.Hostnames = "behind-proxy", []string{"localhost", "127.0.0.1"} // plain http on loopback
	c.Smarthost.TLS = "none"                                                                // app puts in where the stand-in listens
	c.Store.MinFree = 50 * MB
	c.Webmail.HandoverAfter = dur(5 * time.Second) // people wait for it
	c.Replay.RetryMin = dur(2 * time.Second)
	c.Sending.RetryMin = c.Replay.RetryMin
	for i := range c.Domains {
		c.Domains[i].ProbeInterval = dur(2 * time.Second)
	}
	if f.Socket == "" {
		c.Admin.Socket = filepath.Join(f.DataDir, "admin.sock") // relative: the path of a socket must be short
	}
	return c, nil
}
