package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// startHTTP serves what machines look at.
func (a *App) startHTTP(context.Context) error {
	a.reg.MustRegister(&pairCollector{a})
	if a.watch.http == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if reasons := a.watch.unready(); len(reasons) > 0 {
			http.Error(w, "not ready: "+strings.Join(reasons, "; "), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, strings.Join(slices.Concat([]string{"ready"}, a.listsReady(r.Context()), a.troubles()), "; "))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.reg, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4}))
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(a.watch.http) }()
	a.life.add("http", func(ctx context.Context) error {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		err := s.Shutdown(short)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return nil
}

// pairCollector reads what is pending and parked from the index when it is asked.
type pairCollector struct{ app *App }

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector. The metrics are unchecked: their domains come and go.
func (c *pairCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *pairCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	gauge := func(name, help string, v float64, labels ...string) {
		names := []string{"domain"}[:min(1, len(labels))]
		out <- prometheus.MustNewConstMetric(description(name, help, names...), prometheus.GaugeValue, v, labels...)
	}
	cfg := c.app.cfg.Load()
	for i := range cfg.Domains {
		d := cfg.Domains[i].Name
		s, err := c.app.index.Summary(ctx, d)
		if err != nil {
			out <- prometheus.NewInvalidMetric(description("restante_pending_pairs", "Pairs waiting for the primary.", "domain"), err)
			return
		}
		gauge("restante_pending_pairs", "Pairs waiting for the primary.", float64(s.All.Pending), d)
		gauge("restante_parked_pairs", "Pairs that need a person.", float64(s.All.Parked), d)
		if in, _, err := c.app.index.Quarantined(ctx, d, ""); err == nil {
			gauge("restante_quarantined_pairs", "Of the parked pairs, those that wait for a release from quarantine.", float64(in), d)
		}
		oldest := 0.0
		if !s.Oldest.IsZero() {
			oldest = time.Since(s.Oldest).Seconds()
		}
		c.collectLists(ctx, d, out)
		gauge("restante_oldest_pending_seconds", "Age of the oldest pending pair, 0 when none is.", oldest, d)
	}
	behind, since := c.app.index.Lag()
	gauge("restante_index_behind_batches", "Batches that the index has not read yet.", float64(behind))
	lag := 0.0
	if behind > 0 && !since.IsZero() {
		lag = time.Since(since).Seconds()
	}
	gauge("restante_index_behind_seconds", "How long the index has been behind.", lag)
	if w := c.app.webmailState(ctx); w != nil {
		open := 0.0
		if w.State == "open" {
			open = 1
		}
		gauge("restante_webmail_open", "1 while people can use the webmail.", open)
		gauge("restante_webmail_signed_in", "People who used the webmail within the last quarter of an hour.", float64(w.SignedIn))
		gauge("restante_webmail_could_sign_in", "People who could sign in if an outage began now.", float64(w.Could))
		gauge("restante_webmail_people", "People who have an account.", float64(w.People))
		gauge("restante_webmail_connections", "Open connections to the webmail.", float64(w.Connections))
		lag := 0.0
		if c.app.web.mail != nil {
			if b := c.app.web.mail.Behind(); !b.Since.IsZero() {
				lag = time.Since(b.Since).Seconds()
			}
		}
		gauge("restante_webmail_behind_seconds", "How long people haven't seen in the webmail all that is kept, 0 while they do.", lag)
	}
	ready := 0.0
	if c.app.ready() {
		ready = 1
	}
	gauge("restante_ready", "1 while mail is taken and can be kept.", ready)
}
