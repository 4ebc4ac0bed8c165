package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/config"
	"restante/cmd/internal/webhost"
	"restante/relay/tlscert"
	"restante/spool"
	"restante/webmail"
	"restante/webmail/accounts"
	"restante/webmail/mailbox"
	"restante/webmail/session"
)

// web is the webmail of a node: what people open in a browser, and what stands behind it. All of it but the
// listeners and host is nil while [webmail] listen is empty.
type web struct {
	listeners []net.Listener
	redirect  []net.Listener
	mail      *mailbox.Store
	accounts  *accounts.Directory
	sessions  *session.Sessions
	server    *webmail.Server
	host      *webhost.Host
	acme      *webhost.ACME

	mu     sync.Mutex
	broken error // why it can't be used though it is on
}

func (w *web) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
}

func (w *web) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// noWebmail notes why there is none. Mail is taken, kept and handed over all the same.
func (a *App) noWebmail(err error) {
	a.log.Error("there is no webmail", "err", err)
	a.web.fail(err)
	for _, l := range slices.Concat(a.web.listeners, a.web.redirect) {
		_ = l.Close() // else people would wait for an answer
	}
	a.web.listeners, a.web.redirect = nil, nil
}

// webAgain is the pause after a part of the webmail failed.
const webAgain = time.Minute

// runWeb runs a part of the webmail in the background. Whatever becomes of it doesn't stop the node.
func (a *App) runWeb(name string, f func(context.Context) error) {
	safely := func(ctx context.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		return f(ctx)
	}
	a.life.run(name, func(ctx context.Context) error {
		for {
			err := safely(ctx)
			if err == nil || ctx.Err() != nil {
				return nil
			}
			a.log.Error("a part of the webmail failed and is begun again", "part", name, "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(webAgain):
			}
		}
	})
}

// listenWeb opens the listeners of the webmail. With --dev they are all that somebody wants.
func (a *App) listenWeb(ctx context.Context) error {
	c := a.cfg.Load()
	if !c.Webmail.On() {
		return nil
	}
	open := func(addrs []string, flag string) ([]net.Listener, error) {
		var list []net.Listener
		for _, addr := range addrs {
			l, err := listen(ctx, addr, flag)
			if err != nil && noIPv6(addr, err) && len(addrs) > 1 {
				a.log.Warn("this machine has no IPv6, listening on IPv4 only", "address", addr)
				continue
			}
			if err != nil {
				return nil, err
			}
			a.life.add("listener "+addr, closeListener(l))
			list = append(list, l)
		}
		return list, nil
	}
	var err error
	if a.web.listeners, err = open(c.Webmail.Listen, "--webmail-listen"); err == nil {
		a.addrs.Webmail = a.webURL(c)
		a.web.redirect, err = open(c.Webmail.RedirectListen, "[webmail] redirect_listen")
	}
	if err != nil && !c.Dev {
		a.noWebmail(err)
		return nil
	}
	return err
}

// webURL is the address that people are told.
func (a *App) webURL(c *config.Config) string {
	addr := a.web.listeners[0].Addr().String()
	if c.Dev {
		return "http://" + addr
	}
	if c.Webmail.URL != "" {
		return c.Webmail.URL
	}
	host := c.Webmail.Hostnames[0]
	if _, port, err := net.SplitHostPort(addr); err == nil && port != "443" && c.Webmail.TLS != "behind-proxy" {
		host = net.JoinHostPort(host, port)
	}
	return "https://" + host
}

// openMail opens the webmail's own database. Without it the node does everything else: a broken one must not stop mail.
func (a *App) openMail(c *config.Config) {
	if !c.Webmail.On() {
		return
	}
	path := filepath.Join(c.DataDir, "webmail.db")
	s, err := mailbox.Open(path, mailbox.Options{
		Fetch: a.spool.Fetch, Append: a.spool.Append, Record: a.spool.Record, Note: a.spool.Note,
		Events: a.accountEvents, TempDir: filepath.Join(c.DataDir, "tmp"), Log: a.log,
	})
	if err != nil {
		err = fmt.Errorf("can't open %s: %w; move it away and restart: it is made again from the store", path, err)
		a.noWebmail(err)
		return
	}
	a.web.mail = s
	a.life.add("webmail database", func(context.Context) error { return s.Close() })
}

// follow feeds the index, and the webmail's database beside it.
func (a *App) follow(ctx context.Context) error {
	if a.web.mail == nil {
		return a.spool.Follow(ctx, a.index)
	}
	return a.spool.Follow(ctx, a.index, a.web.mail)
}

// accountEvents hands on what the webmail's database has read.
func (a *App) accountEvents(evs []spool.Event) {
	if a.web.accounts != nil {
		a.web.accounts.Apply(evs)
		a.web.sessions.Apply(evs)
	}
}

// makeWeb makes what stands behind the pages. It comes after relay and before the index follows the store.
func (a *App) makeWeb(ctx context.Context) error {
	if a.web.mail == nil {
		return nil
	}
	if err := a.makePages(ctx); err != nil {
		a.noWebmail(err)
		a.web.accounts, a.web.sessions, a.web.server = nil, nil, nil
	}
	return nil
}

func (a *App) makePages(ctx context.Context) error {
	c := a.cfg.Load()
	var err error
	if a.web.accounts, err = accounts.Open(accounts.Options{
		Record: a.spool.Record, Note: a.spool.Note, Claim: a.spool.Claim, Secrets: a.keys, Outage: a.keeper.Outage,
		Hosted: a.hosted, Log: a.log,
	}); err != nil {
		return must("accounts", err)
	}
	known, err := a.web.mail.Accounts(ctx)
	if err != nil {
		return must("accounts", err)
	}
	a.web.accounts.Apply(known)
	in, err := a.makeSignIn(c, a.web.accounts, known)
	if err != nil {
		return err
	}
	a.web.server, err = webmail.New(webmail.Options{
		Mail: a.web.mail, Accounts: a.web.accounts, Sender: &sender{a.submit, a.web.accounts}, Outages: a.picture, SignIn: in,
		Names: a.webNames(c), Secure: !c.Dev, Contact: c.Webmail.Contact, Limits: webmail.Limits{Message: int64(c.Sending.MaxMessageSize)}, Log: a.log, Metrics: a.reg, Version: a.o.Version,
	})
	return must("webmail", err)
}

// webNames are the host names that it answers to.
func (a *App) webNames(c *config.Config) []string {
	if c.Dev { // on loopback whatever leads there is meant; a name that doesn't resolve to it leads nowhere
		return []string{"localhost", "127.0.0.1", "::1", "[::1]"}
	}
	return c.Webmail.Hostnames
}

// hosted says whether a domain, in lower case, is in the configuration.
func (a *App) hosted(domain string) bool {
	_, ok := a.cfg.Load().Domain(domain)
	return ok
}

// startWeb serves the pages, as soon as there is a cluster key.
func (a *App) startWeb(ctx context.Context) error {
	c := a.cfg.Load()
	if len(a.web.listeners) == 0 {
		return nil
	}
	o := webhost.Options{
		Listeners: a.web.listeners, Redirect: a.web.redirect, Names: c.Webmail.Hostnames, Proxies: c.Webmail.ProxyNets,
		MaxConnections: c.Webmail.MaxConnections, Log: a.log,
	}
	if c.Dev {
		o.Proxies = devProxies()
	}
	var err error
	switch c.Webmail.TLS {
	case "files":
		o.TLS, err = a.filesTLS(c)
	case "acme":
		o.TLS, err = a.acmeTLS(c)
		if err == nil {
			o.Challenge = a.web.acme.Challenge
		}
	}
	if err != nil {
		a.noWebmail(err)
		return nil
	}
	a.web.host = webhost.New(o)
	a.web.host.Start()
	a.life.add("webmail", func(ctx context.Context) error {
		if a.web.server != nil {
			a.web.server.Close()
		}
		return a.web.host.Stop(ctx)
	})
	if a.web.server == nil {
		return nil
	}
	a.runWeb("full text", a.web.mail.Run)
	a.runWeb("hand-over mails", a.handovers)
	open := make(chan struct{})
	a.life.run("webmail opener", func(ctx context.Context) error {
		defer close(open)
		if _, err := a.keys.wait(ctx); err == nil {
			a.web.host.SetHandler(a.web.server)
		}
		return nil
	})
	select { // as a rule it is a matter of milliseconds, and then it is open when Start returns
	case <-open:
	case <-time.After(openWait):
	case <-ctx.Done():
	}
	return nil
}

// openWait is how long a start waits for the cluster key.
const openWait = 3 * time.Second

// filesTLS takes the certificate from files, and reads them again when they change.
func (a *App) filesTLS(c *config.Config) (*tls.Config, error) {
	cert, key := c.WebmailCert()
	s, err := tlscert.New(tlscert.Options{CertFile: cert, KeyFile: key, Dir: c.DataDir, Hostname: c.Webmail.Hostnames[0], Log: a.log})
	if err != nil {
		return nil, admin.Errorf(admin.KindFailed, "mend tls_cert and tls_key in [webmail]", "no certificate for the webmail: %w", err)
	}
	if smtp, _ := c.SMTPCert(); smtp == cert { // read and watched already
		return webhost.TLSFromFiles(a.certs.Get), nil
	}
	a.runWeb("webmail certificate", func(ctx context.Context) error {
		s.Watch(ctx, certEvery)
		return nil
	})
	return webhost.TLSFromFiles(s.Get), nil
}

// acmeTLS has certificates made.
func (a *App) acmeTLS(c *config.Config) (*tls.Config, error) {
	var err error
	a.web.acme, err = webhost.NewACME(webhost.ACMEOptions{
		CA: c.Webmail.ACMECA, CARoot: c.Webmail.ACMECARoot, Email: c.Webmail.ACMEEmail, Names: c.ACMENames(),
		HTTPPort: portOf(a.web.redirect), TLSPort: portOf(a.web.listeners), Log: a.log,
		Storage: webhost.NewStorage(filepath.Join(c.DataDir, "tls"), lateVault{a}, a.log),
	})
	if err != nil {
		return nil, admin.Errorf(admin.KindUsage, "mend [webmail] acme_ca_root", "no certificates for the webmail: %w", err)
	}
	a.certs.acme.Store(a.web.acme)
	a.life.add("certificates of the webmail", func(context.Context) error { a.web.acme.Stop(); return nil })
	a.runWeb("certificates by ACME", func(ctx context.Context) error {
		if _, err := a.keys.wait(ctx); err != nil {
			return nil //nolint:nilerr // the node stops
		}
		wait, cancel := context.WithTimeout(ctx, acmeWait)
		defer cancel()
		if err := a.spool.CaughtUp(wait); err != nil && ctx.Err() == nil { // the store is away: what is on disk will do
			a.log.Warn("certificates of other nodes aren't known yet", "err", err)
		}
		if err := a.web.acme.Manage(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	return a.web.acme.TLS(), nil
}

// acmeWait is how long the index may take to know which certificates the cluster has.
const acmeWait = 30 * time.Second

func portOf(list []net.Listener) int {
	if len(list) == 0 {
		return 0
	}
	_, port, err := net.SplitHostPort(list[0].Addr().String())
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// webTrouble says why people can't use the webmail though it is on, "" when they can.
func (a *App) webTrouble() string {
	c := a.cfg.Load()
	if !c.Webmail.On() {
		return ""
	}
	if err := a.web.failed(); err != nil {
		return "no webmail: " + err.Error()
	}
	if a.web.acme != nil {
		if missing := slices.DeleteFunc(a.web.acme.Missing(), func(name string) bool { return !slices.Contains(c.Webmail.Hostnames, name) }); len(missing) > 0 {
			return fmt.Sprintf("the webmail has no certificate yet for %s: the CA has to reach port 80 or 443 of that name; the log says what it answered", strings.Join(missing, ", "))
		}
	}
	return ""
}

var errNoWebmail = errors.New("this node has no webmail")

// people returns the accounts, or what to do to have some.
func (a *App) people() (*accounts.Directory, error) {
	if a.web.accounts != nil {
		return a.web.accounts, nil
	}
	if err := a.web.failed(); err != nil {
		return nil, admin.Errorf(admin.KindFailed, "mend what is named", "no accounts: %w", err)
	}
	return nil, admin.Errorf(admin.KindUsage, `write [webmail] listen = ["0.0.0.0:443", "[::]:443"] and restart`, "%w, and so no accounts", errNoWebmail)
}
