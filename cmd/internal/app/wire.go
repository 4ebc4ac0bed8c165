package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/notify"
	"restante/dns"
	"restante/relay/health"
	"restante/relay/outage"
	"restante/relay/pass"
	"restante/relay/replay"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/open"
	"restante/spool/blob/wrap"
	"restante/spool/index"
)

// storeCalls bounds the calls to the store at a time.
const storeCalls = 64

// startStore opens store, spool and index. A store that is down doesn't keep the node from starting.
func (a *App) startStore(ctx context.Context) error {
	c := a.cfg.Load()
	raw, err := open.URL(ctx, c.Store.URL, open.Options{Metrics: wrap.NewMetrics(a.reg), Calls: storeCalls})
	if err != nil {
		return admin.Errorf(admin.KindFailed, "stop the other restante, or mend [store] url; `restante store check "+c.Store.URL+"` says more", "can't use the store: %w", err)
	}
	a.store = raw
	a.life.add("store", func(context.Context) error { return blob.Close(a.store) })
	a.spool, err = spool.Open(ctx, spool.Options{
		Store: a.store, DataDir: c.DataDir, Log: a.log, Metrics: spool.NewMetrics(a.reg), Limits: spoolLimits(c),
		Exclusive: strings.HasPrefix(c.Store.URL, "file:"), // the folder is held by flock
	})
	if err != nil {
		return spoolError(c, err)
	}
	a.life.add("spool", a.spool.Close)
	a.index, err = index.Open(filepath.Join(c.DataDir, "index.db"), index.Options{Log: a.log, Metrics: index.NewMetrics(a.reg)})
	if err != nil {
		return admin.Errorf(admin.KindFailed, "make room if its disk is full, else move it away; then start again: it is rebuilt from the store", "can't open the index %s: %w", filepath.Join(c.DataDir, "index.db"), err)
	}
	a.life.add("index", func(context.Context) error { return a.index.Close() })
	a.openMail(c)
	return nil
}

func spoolError(c *config.Config, err error) error {
	switch {
	case errors.Is(err, spool.ErrInUse):
		return admin.Errorf(admin.KindFailed, "stop the other restante, or give this one its own --data-dir", "another restante uses %s: %w", c.DataDir, err)
	case errors.Is(err, spool.ErrForeign):
		return admin.Errorf(admin.KindFailed, "name the store that belongs to this data_dir in [store] url, or use a fresh data_dir with this store", "store and data_dir %s don't belong together: %w", c.DataDir, err)
	}
	return admin.Errorf(admin.KindFailed, "mend what is named; `restante store check "+c.Store.URL+"` says more", "can't use the spool: %w", err)
}

func spoolLimits(c *config.Config) spool.Limits {
	return spool.Limits{
		InlineMax: int64(c.Store.InlineMax), BatchBytes: int64(c.Store.BatchBytes), BatchCount: c.Store.BatchCount,
		LanesMax: c.Store.Lanes, GatherWait: c.Store.GatherWait.Std(), SettleTimeout: c.Store.SettleTimeout.Std(),
		MinFree: int64(c.Store.MinFree),
	}
}

// startOutward makes what speaks to others: DNS, the SMTP client, notifications.
func (a *App) startOutward(context.Context) error {
	c := a.cfg.Load()
	var err error
	a.servers = new(dns.Health)
	a.resolver, err = dns.New(dns.Options{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout.Std(), TrustAD: c.DNS.Trusts(), Health: a.servers, Log: a.log})
	if err != nil {
		return admin.Errorf(admin.KindFailed, "write [dns] servers, for example servers = [\"9.9.9.9\"]", "no resolver: %w", err)
	}
	a.dialer = &smtpc.Dialer{
		Hostname: c.Hostname, Self: a.self, Resolver: a.resolver.Lasting(), DANE: a.resolver, Log: a.log,
		ConnectTimeout: c.Primary.ConnectTimeout.Std(), BannerTimeout: c.Primary.ConnectTimeout.Std(),
		CommandTimeout: c.Primary.CommandTimeout.Std(), DataTimeout: c.Primary.DataTimeout.Std(),
	}
	a.notifier = notify.New(notify.Options{Config: notifyConfig(c), Hostname: c.Hostname, Healthy: a.ready, Log: a.log})
	a.life.run("notifications", func(ctx context.Context) error {
		a.notifier.Run(ctx)
		return nil
	})
	return nil
}

func notifyConfig(c *config.Config) notify.Config {
	return notify.Config{Command: c.Notify.Command, URL: c.Notify.URL.Reveal(), HeartbeatURL: c.Notify.HeartbeatURL.Reveal(), Timeout: c.Notify.Timeout.Std()}
}

// ask bounds a question to the index that health asks in passing.
const ask = 2 * time.Second

// hasPending reports that a kept message may show that a domain's primary takes mail again. None can while the store is away: then new mail
// passes without waiting for it.
func (a *App) hasPending(domain string) bool {
	return !errors.Is(a.spool.Believed(), spool.ErrStoreDown) && a.engine.HasPending(domain)
}

// startRelay makes health, outages, pass-through, replay and the SMTP server.
func (a *App) startRelay(context.Context) error {
	c := a.cfg.Load()
	domains, err := healthDomains(c)
	if err != nil {
		return err
	}
	o := health.Options{
		Domains: domains, Dialer: a.dialer, Log: a.log, Metrics: health.NewMetrics(a.reg),
		MX: a.mx, Known: a.known, HasPending: a.hasPending, TookMail: a.tookMail,
		Note: a.spool.Note, StateFile: filepath.Join(c.DataDir, "primaries.json"), ResolverUp: a.resolver.Up,
	}
	if strings.HasPrefix(c.Store.URL, "s3:") {
		o.StoreUp = func() bool { return !errors.Is(a.spool.Available(), spool.ErrStoreDown) }
	}
	if a.monitor, err = health.New(o); err != nil {
		return must("health", err)
	}
	if a.keeper, err = outage.New(outage.Options{Ledger: a.spool, Index: a.index, Health: a.monitor, Node: a.spool.Node(), Notify: a.outageEvent, Log: a.log,
		Linger: func(name string) time.Duration {
			if d, ok := a.cfg.Load().Domain(name); ok && d.WhenUp == pass.WhenUpSpool {
				return time.Minute
			}
			return 0
		}}); err != nil {
		return must("outages", err)
	}
	if err := a.startBorder(c); err != nil {
		return err
	}
	if err := a.makeRecipients(c); err != nil {
		return err
	}
	if a.pass, err = pass.New(pass.Options{
		Hostname: c.Hostname, Domains: passDomains(c), Spool: a.spool, Primaries: a.monitor, Known: a.index, Kept: a.keeper.Kept, Quarantined: a.quarantined, Passed: a.watch.countPassed,
		Recipients: a.recipients, Border: a.border, Note: a.spool.Note, MaxSize: int64(c.SMTP.MaxMessageSize), MaxConnections: c.Primary.MaxConnections, Log: a.log, Metrics: pass.NewMetrics(a.reg),
	}); err != nil {
		return must("pass-through", err)
	}
	a.life.add("sessions to primaries", func(context.Context) error { a.pass.Close(); return nil })
	rc, rd := replayConfig(c)
	a.engine, err = replay.New(replay.Options{
		Spool: replay.FromSpool(a.spool), Index: replay.Only(listed{a.index, a.recipients}, a.byReplay), Health: a.monitor, Config: rc, Domains: rd, AuthservID: c.Hostname,
		Hold: func(e *spool.Entry) time.Time { return a.submit.Hold(e) }, DialTo: a.dialTo, Heard: a.heard, Notify: a.replayNotice, Log: a.log, Metrics: replay.NewMetrics(a.reg),
	})
	if err != nil {
		return must("replay", err)
	}
	return a.makeSMTP(c)
}

func (a *App) makeSMTP(c *config.Config) error {
	a.certs = &certificates{hostname: c.Hostname}
	if err := a.certs.use(a, c); err != nil {
		return err
	}
	var err error
	a.smtp, err = smtpd.New(a.guarded(smtpd.Options{
		Hostname: c.Hostname, Self: a.self, Handler: a.pass, Limits: smtpLimits(c), Offers: a.pass.Offers(), Certificates: a.certs, MinTLS: c.SMTP.MinTLS(),
		PostmasterDomain: c.Domains[0].Name, TempDir: filepath.Join(c.DataDir, "tmp"), Resolver: names{a.foreign}, Log: a.log, Metrics: smtpd.NewMetrics(a.reg),
	}, c))
	return err
}

// names gives the SMTP server the verified names of its clients.
type names struct{ r *dns.Resolver }

// LookupAddr implements smtpd.Resolver.
func (n names) LookupAddr(ctx context.Context, ip netip.Addr) (string, error) {
	return n.r.VerifiedName(ctx, ip)
}

func smtpLimits(c *config.Config) smtpd.Limits {
	l := smtpd.DefaultLimits()
	l.Sessions, l.SessionsPerAddress = c.SMTP.MaxSessions, c.SMTP.MaxSessionsPerAddress
	l.Recipients, l.MessageSize = c.SMTP.MaxRecipients, int64(c.SMTP.MaxMessageSize)
	l.Errors, l.Idle, l.MinRate = c.SMTP.MaxErrors, c.SMTP.IdleTimeout.Std(), max(int64(c.SMTP.MinRate), 1) // 0 would be the default
	return l
}

func healthDomains(c *config.Config) ([]health.Domain, error) {
	var list []health.Domain
	for i := range c.Domains {
		d := &c.Domains[i]
		policy := smtpc.TLSPolicy{Mode: d.TLS, Fingerprints: d.TLSFingerprints, ServerName: d.TLSName}
		var err error
		if policy.RootCAs, err = rootCAs(d.Name, d.TLSCA); err != nil {
			return nil, err
		}
		one := health.Domain{Name: d.Name, TLS: policy, XClient: d.Origin == "xclient", XForward: d.Origin == "xforward", Trusted: d.TrustedNets, Interval: d.ProbeInterval.Std()}
		for _, p := range d.Primaries {
			one.Primary = append(one.Primary, p.Address())
		}
		list = append(list, one)
	}
	return list, nil
}

func passDomains(c *config.Config) []pass.Domain {
	var list []pass.Domain
	for i := range c.Domains {
		d := &c.Domains[i]
		list = append(list, pass.Domain{Name: d.Name, WhenUp: d.WhenUp, XClient: d.Origin == "xclient", XForward: d.Origin == "xforward"})
	}
	return list
}

func replayConfig(c *config.Config) (replay.Config, []replay.Domain) {
	rc := replay.Config{
		Connections: c.Replay.Connections, Rate: float64(c.Replay.Rate),
		BackoffMin: c.Replay.RetryMin.Std(), BackoffMax: c.Replay.RetryMax.Std(), GiveUp: c.Replay.GiveUp.Std(),
	}
	var list []replay.Domain
	for i := range c.Domains {
		list = append(list, replay.Domain{Name: c.Domains[i].Name, Manual: c.Domains[i].Replay == "manual"})
	}
	return rc, list
}

// mx is the primary of a domain from DNS: better than ourselves (RFC 5321 5.1).
func (a *App) mx(ctx context.Context, domain string) ([]string, error) {
	var addrs []netip.Addr
	if ifs, err := net.InterfaceAddrs(); err == nil {
		for _, i := range ifs {
			if p, err := netip.ParsePrefix(i.String()); err == nil && !p.Addr().IsLoopback() {
				addrs = append(addrs, p.Addr())
			}
		}
	}
	return dns.MXHosts(ctx, a.resolver.Lasting(), domain, []string{a.cfg.Load().Hostname}, addrs)
}

// known is a few recipients that a probe may ask for.
func (a *App) known(domain string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), ask)
	defer cancel()
	list, err := a.index.KnownGood(ctx, domain, 3)
	if err != nil {
		a.log.Debug("known recipients", "domain", domain, "err", err)
	}
	return list
}

func (a *App) tookMail(domain string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), ask)
	defer cancel()
	took, err := a.index.TookMail(ctx, domain)
	return err == nil && took
}

// dialTo opens a conversation with a host that isn't a primary, for `replay run --to`.
func (a *App) dialTo(ctx context.Context, hostport string) (*smtpc.Conn, error) {
	t, err := health.ParsePrimary(hostport)
	if err != nil {
		return nil, err
	}
	return a.dialer.Dial(ctx, t)
}

// startLoops starts what runs by itself.
func (a *App) startLoops(context.Context) error {
	a.life.run("cluster key", a.findKey)
	a.life.run("copy of the configuration", a.keepConfig)
	a.life.run("index follower", a.watch.follow)
	a.life.run("outages as people see them", a.picture.run)
	a.life.run("health", func(ctx context.Context) error {
		a.monitor.Subscribe(a.healthChange)
		a.monitor.Run(ctx)
		return nil
	})
	a.life.run("outages", func(ctx context.Context) error {
		// An index that is still being rebuilt shows nothing as pending, and outages would be closed too early.
		if err := a.spool.CaughtUp(ctx); err != nil {
			return nil //nolint:nilerr // the node stops
		}
		a.keeper.Run(ctx)
		return nil
	})
	a.life.run("recipients", a.recipients.Run)
	a.life.run("lists of recipients", a.syncRecipients)
	a.life.run("replay", a.engine.Run)
	a.life.run("sending", a.submit.Run)
	a.life.run("retention", a.retain)
	a.life.run("watch", a.watch.run)
	a.life.run("stranded mail", a.strandedLoop)
	a.life.run("certificates", a.certs.watch)
	return nil
}

// startSMTP serves the listeners. Its stop is the first thing to happen at a stop.
func (a *App) startSMTP(context.Context) error {
	done := make(chan error, len(a.watch.smtp))
	for _, l := range a.watch.smtp {
		go func() { done <- a.smtp.Serve(l) }()
	}
	a.watch.serving.Store(true)
	a.life.add("smtp", func(ctx context.Context) error {
		a.watch.serving.Store(false)
		defer context.AfterFunc(ctx, a.spool.GiveUp)() // a session may wait for a store that doesn't answer
		err := a.smtp.Shutdown(ctx)
		if errors.Is(err, ctx.Err()) && ctx.Err() != nil {
			a.log.Warn("sessions were cut, the time for a stop was over; what had no reply yet is sent again by its sender")
			err = nil
		}
		for range a.watch.smtp {
			if served := <-done; served != nil && !errors.Is(served, net.ErrClosed) {
				err = errors.Join(err, served)
			}
		}
		return err
	})
	return nil
}

// startAdmin serves the admin socket.
func (a *App) startAdmin(context.Context) error {
	s := admin.NewServer(&backend{a}, a.log)
	done := make(chan error, 1)
	go func() { done <- s.Serve(a.watch.admin) }()
	a.life.add("admin", func(ctx context.Context) error {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return errors.Join(s.Shutdown(short), <-done)
	})
	return nil
}

// terms are the retention of a domain; one that isn't ours any more has that of [retention].
func (a *App) terms(name string) spool.Terms {
	c := a.cfg.Load()
	r := c.Retention
	if d, ok := c.Domain(name); ok {
		r = d.Retention
	}
	return spool.Terms{Delivered: r.Delivered.Std(), Parked: r.Parked.Std(), Pending: r.Pending.Std()}
}

// retainEvery is the time between two runs of retention; the first comes when the index had time to follow.
const (
	retainFirst = 10 * time.Minute
	retainEvery = time.Hour
)

func (a *App) retain(ctx context.Context) error {
	if err := a.spool.CaughtUp(ctx); err != nil {
		return nil //nolint:nilerr // the node stops
	}
	t := time.NewTimer(retainFirst)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		t.Reset(retainEvery)
		if behind, _ := a.index.Lag(); behind > 0 {
			continue
		}
		r, err := a.spool.Retain(ctx, a.index, a.terms)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.log.Error("retention did not finish; it goes on within the hour", "err", err)
		case r != (spool.RetainReport{}):
			a.log.Info("retention", "expired", r.Expired, "batches", r.Batches, "pairs", r.Pairs, "erased", r.Erased)
		}
	}
}

// isHosted says whether the domain is in the configuration, and what to do otherwise.
func (a *App) isHosted(domain string) error {
	c := a.cfg.Load()
	if _, ok := c.Domain(domain); ok {
		return nil
	}
	var names []string
	for i := range c.Domains {
		names = append(names, c.Domains[i].Name)
	}
	slices.Sort(names)
	return admin.Errorf(admin.KindNotFound, fmt.Sprintf("the domains are %s", strings.Join(names, ", ")), "no domain %q here", domain)
}
