package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/app"
	"restante/cmd/internal/config"
)

// stopTime is how long a clean stop may take: messages in flight finish, the streams are sealed.
const stopTime = 30 * time.Second

type serveFlags struct {
	config.Flags
	dev        bool
	devPrimary string
}

func newServe(c *command) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node: take mail, pass it, keep it, hand it over",
		Long: `Run a node, by a configuration file or by flags alone. SIGHUP reloads the configuration; SIGTERM and
Ctrl-C stop it cleanly: messages in flight finish, idle peers are sent away with 421.

--dev runs everything on this machine without root: SMTP on 127.0.0.1:2525, HTTP on 127.0.0.1:8080, the
webmail on http://127.0.0.1:8025 with three people in it, data in ./restante-data, the domain example.test, and
a stand-in primary on 127.0.0.1:2600 that can be stopped and started.`,
		Example: `  restante serve --dev
  restante serve --domain example.com --primary mail.example.com:25
  restante serve -c /etc/restante/restante.toml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.serve(cmd.Context(), &f) },
	}
	p := cmd.Flags()
	p.StringSliceVar(&f.Domains, "domain", nil, "a domain to stand behind (repeat it)")
	p.StringSliceVar(&f.Primary, "primary", nil, `its mail server, host[:port] (repeat it in order of preference), or "mx"`)
	p.StringSliceVar(&f.Recipients, "recipients", nil, `addresses that exist, or "@" for any`)
	p.StringVar(&f.WhenUp, "when-up", "", "while the primary is up: pass (on to it at once) or spool (and replay)")
	p.StringVar(&f.Hostname, "hostname", "", "the name of this machine in DNS")
	p.StringSliceVar(&f.SMTPListen, "smtp-listen", nil, "address:port to take mail on")
	p.StringVar(&f.HTTPListen, "http-listen", "", `address:port of /healthz, /readyz and /metrics, or "off"`)
	p.StringSliceVar(&f.WebmailListen, "webmail-listen", nil, `address:port of the webmail, or "off"`)
	p.StringVar(&f.DataDir, "data-dir", "", "index, journal, admin socket, and mail unless --store says otherwise")
	p.StringVar(&f.Store, "store", "", "file:///folder or s3://bucket/prefix?region=...&endpoint=...")
	p.StringVar(&f.Socket, "admin-socket", "", "the admin socket")
	p.StringVar(&f.LogLevel, "log-level", "", "debug, info, warn or error")
	p.BoolVar(&f.dev, "dev", false, "try it on this machine, with a stand-in primary")
	p.StringVar(&f.devPrimary, "dev-primary-listen", config.DevPrimary, "with --dev: where the stand-in primary listens")
	return cmd
}

// load finds the configuration that serve runs with. It is called again at each reload.
func (c *command) load(f *serveFlags) (*config.Config, error) {
	if f.dev {
		return config.LoadDev(f.Flags, f.devPrimary)
	}
	path, explicit := c.configPath()
	if !explicit {
		if _, err := os.Stat(path); len(f.Domains) > 0 || errors.Is(err, fs.ErrNotExist) {
			path = ""
		}
	}
	if path == "" && len(f.Domains) == 0 {
		return nil, admin.Errorf(admin.KindUsage, "restante serve --dev                                                    try it on this machine\n"+
			"restante serve --domain example.com --primary mail.example.com:25       by flags alone\n"+
			"restante config init && restante serve                                  by a file",
			"there is nothing to serve yet: no %s and no --domain", config.DefaultPath)
	}
	return config.Load(path, f.Flags)
}

func (c *command) serve(ctx context.Context, f *serveFlags) error {
	cfg, err := c.load(f)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // who reads the log may go: mail is taken without it
	level := new(slog.LevelVar)
	log := slog.New(c.logHandler(cfg, level))
	for _, w := range cfg.Warnings() {
		if !cfg.Dev {
			log.Warn(w)
		}
	}
	a, err := app.New(app.Options{
		Config: cfg, Log: log, Level: level, Version: Version(),
		Load: func() (*config.Config, error) { return c.load(f) },
	})
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	if cfg.Dev {
		c.greet(a)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			if _, err := a.Reload(ctx, "SIGHUP"); err != nil {
				log.Error("reload refused, everything stays as it was", "err", err)
			}
		case <-ctx.Done():
			log.Info("stopping: messages in flight finish")
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			return a.Stop(stop)
		case err := <-a.Failed():
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
			defer cancel()
			return errors.Join(err, a.Stop(stop))
		}
	}
}

func (c *command) logHandler(cfg *config.Config, level *slog.LevelVar) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level.Set(slog.LevelInfo) // validated before
	}
	if cfg.Log.Format == "text" || cfg.Log.Format == "auto" && (c.Terminal || cfg.Dev) {
		return slog.NewTextHandler(c.Err, o)
	}
	return slog.NewJSONHandler(c.Err, o)
}

// greet says what to type next, in lines that fit a small terminal.
func (c *command) greet(a *app.App) {
	run := program()
	if a.Addrs().Socket != defaultDevSocket() {
		run += " --socket " + a.Addrs().Socket
	}
	fmt.Fprintf(c.Out, `
Restante runs for %s: SMTP on %s, HTTP on %s,
stand-in primary on %s. Try, in another terminal:

  %s dev primary stop
  %s dev send --count 20
  %s dev primary start
  %s replay status --watch
  %s outage report

`, config.DevDomain, a.Addrs().SMTP[0], orOff(a.Addrs().HTTP), a.Addrs().Primary, run, run, run, run, run)
	if url := a.Addrs().Webmail; url != "" {
		fmt.Fprintf(c.Out, `Read and answer mail at %s while the primary is stopped: sign in as
%s with the password %s.

`, url, strings.Join(app.DevPeople(), ", "), app.DevPassword)
	}
}

func orOff(s string) string {
	if s == "" {
		return "off"
	}
	return s
}

// program is how this very program can be run again.
func program() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/restante"
	}
	if path, err := exec.LookPath("restante"); err == nil {
		if self, err := os.Executable(); err == nil && path == self {
			return "restante"
		}
	}
	return os.Args[0]
}
