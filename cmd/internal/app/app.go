// Package app wires a node together and is the only place that does: from a configuration it makes store,
// spool, index, health, pass-through, replay, the SMTP server and what people look at (HTTP, admin socket,
// notifications), starts them in order and stops them in the reverse order.
//
// The SMTP port opens before the index is rebuilt: mail is kept without it. Pass-through and keeping
// never wait for index, replay, HTTP or notifications.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/notify"
	"restante/dns"
	"restante/relay/health"
	"restante/relay/outage"
	"restante/relay/pass"
	"restante/relay/policy"
	"restante/relay/policy/dnsbl"
	"restante/relay/policy/rate"
	"restante/relay/policy/rcpt"
	"restante/relay/policy/rcpt/source"
	"restante/relay/policy/scan"
	"restante/relay/replay"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/relay/submit"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/index"
	"restante/spool/secret"
)

// Options are what New needs.
type Options struct {
	Config  *config.Config
	Log     *slog.Logger
	Level   *slog.LevelVar                 // of Log, changed by a reload; may be nil
	Load    func() (*config.Config, error) // for a reload; nil: reloads are refused
	Version string
}

// Addrs are the addresses that are really listened on.
type Addrs struct {
	SMTP    []string
	HTTP    string // "" when off
	Webmail string // the address that people open, "" when off
	Socket  string
	Primary string // of the stand-in primary, "" without one
}

// App is a node.
type App struct {
	o       Options
	log     *slog.Logger
	life    *lifecycle
	reg     *prometheus.Registry
	started time.Time
	self    string // in our banner, so that a primary that is this process is known
	addrs   Addrs

	mu  sync.Mutex // held over a reload
	cfg atomic.Pointer[config.Config]

	store      blob.Store
	spool      *spool.Spool
	index      *index.Index
	servers    *dns.Health // of all resolvers
	resolver   *dns.Resolver
	foreign    *dns.Resolver // for names that strangers bring
	dialer     *smtpc.Dialer
	monitor    *health.Monitor
	keeper     *outage.Keeper
	pass       *pass.Handler
	recipients *rcpt.Directory
	lists      *source.Sync
	border     *policy.Border
	rates      *rate.Table
	dnsbl      *dnsbl.Set
	scan       *scan.Set
	engine     *replay.Engine
	certs      *certificates
	smtp       *smtpd.Server
	notifier   *notify.Notifier
	primary    *standIn // nil but with --dev
	outside    *standIn // the rest of the world, with --dev
	watch      *watch
	keys       *keys
	vaults     atomic.Pointer[secret.Vault]
	submit     *submit.Service
	picture    *picture
	web        *web
	reloaded   chan struct{} // a reload has changed the configuration
}

// New returns a node that is not started.
func New(o Options) (*App, error) {
	if o.Config == nil || o.Log == nil {
		return nil, errors.New("app: Config and Log are required")
	}
	a := &App{o: o, log: o.Log, reg: prometheus.NewRegistry(), started: time.Now(), self: rand.Text()}
	a.life = &lifecycle{log: o.Log, failed: make(chan error, 1)}
	a.keys, a.web, a.picture, a.reloaded = newKeys(), &web{}, newPicture(a), make(chan struct{}, 1)
	a.cfg.Store(o.Config)
	a.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return a, nil
}

// Addrs are known once Start has returned.
func (a *App) Addrs() Addrs { return a.addrs }

// Failed gives an error when a part that must run has ended by itself; the caller stops the node then.
func (a *App) Failed() <-chan error { return a.life.failed }

// Registry holds the node's metrics.
func (a *App) Registry() *prometheus.Registry { return a.reg }

// Run starts the node and runs it until ctx ends, then stops it within the time given.
func (a *App) Run(ctx context.Context, stopTime time.Duration) error {
	if err := a.Start(ctx); err != nil {
		return err
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-a.Failed():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return errors.Join(failed, a.Stop(stop))
}

// Stop stops the node: idle peers are sent away, messages in flight finish, streams are sealed. When ctx
// ends first, what is left is cut.
func (a *App) Stop(ctx context.Context) error {
	start := time.Now()
	err := a.life.stop(ctx)
	args := []any{"took_ms", time.Since(start).Milliseconds()}
	if err != nil {
		args = append(args, "error", err)
	}
	a.log.Info("stopped", args...)
	return err
}

// Start starts the node and returns when it listens. On an error everything that was started is stopped.
// ctx bounds the start only.
func (a *App) Start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		a.startData, a.startListeners, a.startStore, a.startPrimary, a.startOutward, a.startRelay, a.startSubmit, a.makeWeb, a.startLoops, a.startSMTP, a.startWeb, a.startAdmin, a.startHTTP, a.startDev,
	} {
		if err := step(ctx); err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return errors.Join(err, a.life.stop(stop))
		}
	}
	c := a.cfg.Load()
	a.log.Info("serving", "version", a.o.Version, "smtp", a.addrs.SMTP, "http", a.addrs.HTTP, "socket", a.addrs.Socket,
		"webmail", a.addrs.Webmail, "store", a.store.String(), "domains", len(c.Domains))
	return nil
}

// startData makes data_dir.
func (a *App) startData(context.Context) error {
	dir := a.cfg.Load().DataDir
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o750); err != nil {
		return admin.Errorf(admin.KindFailed, "make it and give it to the user that runs restante, or name another folder with --data-dir", "can't use data_dir %s: %w", dir, err)
	}
	return nil
}

// listeners are opened before everything else, so that what is wrong with them is said at once, and
// served last.
func (a *App) startListeners(ctx context.Context) error {
	c := a.cfg.Load()
	w := &watch{app: a}
	a.watch = w
	// The socket first: where this very node runs already, that is said, and not that its ports are taken.
	l, err := admin.Listen(c.Admin.Socket, c.Admin.Group)
	if err != nil {
		return err
	}
	a.life.add("admin socket", closeListener(l))
	w.admin = l
	a.addrs.Socket = c.Admin.Socket
	for _, addr := range c.SMTP.Listen {
		l, err := listen(ctx, addr, "--smtp-listen")
		if err != nil && noIPv6(addr, err) && len(c.SMTP.Listen) > 1 {
			a.log.Warn("this machine has no IPv6, listening on IPv4 only", "address", addr)
			continue
		}
		if err != nil {
			return err
		}
		a.life.add("listener "+addr, closeListener(l))
		w.smtp = append(w.smtp, l)
		a.addrs.SMTP = append(a.addrs.SMTP, l.Addr().String())
	}
	if c.HTTP.Listen != "" {
		l, err := listen(ctx, c.HTTP.Listen, "--http-listen")
		if err != nil {
			return err
		}
		a.life.add("listener "+c.HTTP.Listen, closeListener(l))
		w.http = l
		a.addrs.HTTP = l.Addr().String()
	}
	return a.listenWeb(ctx)
}

// closeListener closes a listener that its server may have closed already.
func closeListener(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// must tells programming errors of the wiring apart from those of the world.
func must(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
