package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"restante/cmd/internal/config"
)

// TestReloadKeepsPendingDomain: a domain can't be removed right after a message for it was kept, whether or not the
// index has heard of it yet.
func TestReloadKeepsPendingDomain(t *testing.T) {
	a := node(t, t.TempDir())
	until(t, "up", func() bool { return status(t, a).State == "up" })
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	name := a.cfg.Load().Domains[0].Name
	a.o.Load = func() (*config.Config, error) {
		next := *a.cfg.Load()
		next.Domains = append([]config.Domain(nil), next.Domains...)
		next.Domains[0].Name = "other.test"
		return &next, nil
	}
	if err := send(a.Addrs().SMTP[0], "you@"+name, "Subject: kept\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Reload(t.Context(), "test"); err == nil || !strings.Contains(fmt.Sprint(err), "pending") {
		t.Errorf("right after a message was kept: %v", err)
	}
}

// TestReloadedNamesEachKeyOnce: what has changed is told by its keys, passwords too, and each domain once.
func TestReloadedNamesEachKeyOnce(t *testing.T) {
	domains := []config.Domain{{Name: "one.test"}, {Name: "two.test"}}
	list := func(zone config.Zone) []config.DNSBL { return []config.DNSBL{{Zone: zone}} }
	old := &config.Config{Domains: domains, DNSBL: list("onekey.zen.dq.spamhaus.net")}
	for want, change := range map[string]func(*config.Config){
		"[]": func(*config.Config) {},
		"[domain one.test (ldap.base, ldap.password)]": func(c *config.Config) { c.Domains[0].LDAP.Base, c.Domains[0].LDAP.Password = "dc=test", "secret" },
		"[domain two.test (submission.password)]":      func(c *config.Config) { c.Domains[1].Submission.Password = "secret" },
		"[dnsbl]":                          func(c *config.Config) { c.DNSBL = list("another.zen.dq.spamhaus.net") },
		"[domain (order)]":                 func(c *config.Config) { slices.Reverse(c.Domains) },
		"[domain two.test (removed)]":      func(c *config.Config) { c.Domains = c.Domains[:1] },
		"[notify.timeout rspamd.password]": func(c *config.Config) { c.Notify.Timeout, c.Rspamd.Password = 1e9, "secret" },
	} {
		next := *old
		next.Domains = slices.Clone(domains)
		change(&next)
		if changed, _ := diff(old, &next); fmt.Sprint(changed) != want {
			t.Errorf("%v, not %s", changed, want)
		}
	}
}

// TestStopWaitsForWhatEnds: a part that ends as soon as it is told to is waited for even when others have used up all
// the time, since what it works with is closed next.
func TestStopWaitsForWhatEnds(t *testing.T) {
	l := &lifecycle{log: slog.New(slog.DiscardHandler), failed: make(chan error, 1)}
	ended := false
	l.run("part", func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return nil
	})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.stop(over); err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
}
