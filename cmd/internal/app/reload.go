package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/relay/health"
)

// Reload reads the configuration again and puts all of it into effect, or nothing. No session is
// dropped: transactions under way end as they began.
func (a *App) Reload(ctx context.Context, by string) (*admin.Reloaded, error) {
	if a.o.Load == nil {
		return nil, admin.Errorf(admin.KindFailed, "restart the node", "this node can't reload")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	next, err := a.o.Load()
	if err != nil {
		return nil, &admin.Error{Kind: admin.KindUsage, Text: "the configuration was refused, everything stays as it was:\n" + err.Error(), Mend: "mend it, see `restante config check`, and reload again", Err: err}
	}
	old := a.cfg.Load()
	if next.Dev && a.primary != nil {
		if err := a.setStandIns(next); err != nil {
			return nil, err
		}
	}
	if err := a.mayRemove(ctx, old, next); err != nil {
		return nil, err
	}
	out := &admin.Reloaded{Files: next.Files, Changed: []string{}, Warn: next.Warnings()}
	out.Changed, _ = diff(old, next)
	_, out.Restart = diff(a.o.Config, next) // what it was started with is what it runs with
	if err := a.apply(old, next); err != nil {
		return nil, err
	}
	a.cfg.Store(next)
	select {
	case a.reloaded <- struct{}{}:
	default: // it has been told already
	}
	a.log.Info("reloaded", "by", by, "changed", out.Changed, "needs_restart", out.Restart)
	return out, nil
}

// mayRemove refuses to let go of a domain whose mail is still pending.
func (a *App) mayRemove(ctx context.Context, old, next *config.Config) error {
	read := false
	for i := range old.Domains {
		name := old.Domains[i].Name
		if _, ok := next.Domain(name); ok {
			continue
		}
		if !read {
			if err := a.readAll(ctx); err != nil {
				return err
			}
			read = true
		}
		s, err := a.index.Summary(ctx, name)
		if err != nil {
			return fmt.Errorf("summary of %s: %w", name, err)
		}
		if s.All.Pending > 0 {
			return admin.Errorf(admin.KindFailed,
				fmt.Sprintf("let it be delivered, or remove it with `restante queue remove --domain %s --state pending`, then reload again", name),
				"%s still has pending mail (pairs: %d) and can't be removed; everything stays as it was", name, s.All.Pending)
		}
	}
	return nil
}

// readAll waits until the index knows all mail that was kept so far: one that is being made anew shows nothing
// as pending.
func (a *App) readAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	if err := a.spool.Sync(ctx); err != nil {
		return admin.Errorf(admin.KindFailed, "reload again when `restante status` shows that the store answers and the index has caught up",
			"whether the domains that are to be removed have pending mail isn't known yet; everything stays as it was: %w", err)
	}
	return nil
}

// readTime bounds how long a reload waits for the index.
const readTime = 5 * time.Second

// apply first tries what can fail, then changes the rest.
func (a *App) apply(old, next *config.Config) error {
	domains, err := healthDomains(next)
	if err != nil {
		return err
	}
	was, err := healthDomains(old)
	if err != nil {
		was = nil // its CA file is gone; what it says is in use all the same
	}
	source, err := a.certs.open(a, next)
	if err != nil {
		return err
	}
	sending, err := submitConfig(next)
	if err != nil {
		return err
	}
	filters, err := scanConfig(next)
	if err != nil {
		return err
	}
	if err := a.monitor.SetConfig(domains); err != nil {
		return admin.Errorf(admin.KindUsage, "mend it and reload again", "the primaries were refused, everything stays as it was: %w", err)
	}
	if err := a.pass.SetConfig(passDomains(next)); err != nil {
		return a.undo(was, err)
	}
	if err := a.recipients.SetConfig(rcptDomains(next)); err != nil {
		return errors.Join(a.undo(was, err), a.pass.SetConfig(passDomains(old)))
	}
	if err := a.submit.SetConfig(sending); err != nil {
		return errors.Join(a.undo(was, err), a.pass.SetConfig(passDomains(old)), a.recipients.SetConfig(rcptDomains(old)))
	}
	if err := a.scan.SetConfig(filters); err != nil { // its addresses were checked before
		a.log.Error("the content filters of before stay", "error", err)
	}
	a.border.SetConfig(borderDomains(next))
	a.engine.SetConfig(replayConfig(next))
	a.lists.SetConfig(listDomains(next))
	a.certs.source.Store(source)
	a.smtp.SetMinTLS(next.SMTP.MinTLS())
	a.smtp.SetLimits(smtpLimits(next))
	a.reloadAbuse(next)
	a.smtp.SetPostmasterDomain(next.Domains[0].Name)
	a.smtp.SetOffers(a.pass.Offers())
	a.notifier.SetConfig(notifyConfig(next))
	if a.o.Level != nil {
		var level slog.Level
		if err := level.UnmarshalText([]byte(next.Log.Level)); err == nil { // validated before
			a.o.Level.Set(level)
		}
	}
	return nil
}

// undo gives the monitor its domains back.
func (a *App) undo(was []health.Domain, err error) error {
	if was != nil {
		if back := a.monitor.SetConfig(was); back != nil {
			a.log.Error("the primaries of before were refused", "err", back)
		}
	}
	return admin.Errorf(admin.KindUsage, "mend it and reload again", "the domains were refused, everything stays as it was: %w", err)
}

// needRestart returns the keys that only a restart changes.
func needRestart() []string {
	return []string{
		"hostname", "data_dir", "log.format", "smtp.listen", "smtp.max_message_size", "store", "http", "admin.socket", "admin.group", "primary", "dns", "secrets",
		"webmail.listen", "webmail.redirect_listen", "webmail.hostnames", "webmail.url", "webmail.tls", "webmail.tls_cert", "webmail.tls_key", "webmail.acme_ca", "webmail.acme_ca_root",
		"webmail.acme_email", "webmail.proxies", "webmail.max_connections", "webmail.contact", "webmail.learned_password", "webmail.learned_for",
	}
}

// diff names what has changed: by table, or by key where only a restart changes it.
func diff(old, next *config.Config) (changed, restart []string) {
	x, err := old.Map()
	if err != nil {
		return []string{"unknown"}, nil
	}
	y, err := next.Map()
	if err != nil {
		return []string{"unknown"}, nil
	}
	changed = []string{}
	// Secrets look alike in the maps.
	if old.Smarthost.Password != next.Smarthost.Password {
		changed = append(changed, "smarthost.password")
	}
	if old.Rspamd.Password != next.Rspamd.Password {
		changed = append(changed, "rspamd.password")
	}
	if !reflect.DeepEqual(old.DNSBL, next.DNSBL) { // a key in a zone
		changed = append(changed, "dnsbl")
	}
	walk("", x, y, func(key string) {
		for _, r := range needRestart() {
			if key == r || strings.HasPrefix(key, r+".") {
				restart = append(restart, key)
				return
			}
		}
		if key == "domain" {
			return
		}
		changed = append(changed, key)
	})
	if !reflect.DeepEqual(old.Notify, next.Notify) && !slices.ContainsFunc(changed, func(key string) bool { return strings.HasPrefix(key, "notify.") }) {
		changed = append(changed, "notify")
	}
	changed = append(changed, diffDomains(old, next, x["domain"], y["domain"])...)
	slices.Sort(changed)
	slices.Sort(restart)
	return slices.Compact(changed), restart
}

// diffDomains names the domains that are new, gone or not as they were. oldMap and nextMap are them as in config.Map.
func diffDomains(old, next *config.Config, oldMap, nextMap any) []string {
	byName := func(v any) map[string]map[string]any {
		out := make(map[string]map[string]any)
		list, _ := v.([]map[string]any)
		for _, d := range list {
			name, _ := d["name"].(string)
			out[name] = d
		}
		return out
	}
	x, y := byName(oldMap), byName(nextMap)
	var list []string
	for name := range x {
		if y[name] == nil {
			list = append(list, "domain "+name+" (removed)")
		}
	}
	for name, d := range y {
		was := x[name]
		if was == nil {
			list = append(list, "domain "+name+" (new)")
			continue
		}
		var keys []string
		walk("", was, d, func(key string) { keys = append(keys, key) })
		// Secrets look alike in the maps.
		a, _ := old.Domain(name)
		b, _ := next.Domain(name)
		if a.LDAP.Password != b.LDAP.Password {
			keys = append(keys, "ldap.password")
		}
		if a.Submission.Password != b.Submission.Password {
			keys = append(keys, "submission.password")
		}
		slices.Sort(keys)
		if keys = slices.Compact(keys); len(keys) > 0 {
			list = append(list, "domain "+name+" ("+strings.Join(keys, ", ")+")")
		}
	}
	if list == nil && !reflect.DeepEqual(oldMap, nextMap) {
		list = []string{"domain (order)"}
	}
	return list
}

func walk(prefix string, x, y map[string]any, found func(string)) {
	keys := map[string]bool{}
	for k := range x {
		keys[k] = true
	}
	for k := range y {
		keys[k] = true
	}
	for k := range keys {
		if reflect.DeepEqual(x[k], y[k]) {
			continue
		}
		xt, ok1 := x[k].(map[string]any)
		yt, ok2 := y[k].(map[string]any)
		if ok1 && ok2 {
			walk(prefix+k+".", xt, yt, found)
			continue
		}
		found(prefix + k)
	}
}
