package replay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what Prometheus sees of replay. All methods work on nil.
type Metrics struct {
	attempted   *prometheus.CounterVec // result
	parkedPairs prometheus.Counter
	connects    *prometheus.CounterVec // result
	connections *prometheus.GaugeVec   // primary
	window      *prometheus.GaugeVec   // primary
	pending     *prometheus.GaugeVec   // domain
	oldest      *prometheus.GaugeVec   // domain
}

// NewMetrics registers the metrics of replay.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_replay_attempts_total",
			Help: "Attempts to deliver a pair to a primary, by result; the rate of replay is that of result=\"delivered\".",
		}, []string{"result"}),
		parkedPairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "restante_replay_parked_total", Help: "Pairs that replay has parked.",
		}),
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_replay_connect_failures_total",
			Help: "Connections to a primary that did not come to a session: limit (others work) or down (none does).",
		}, []string{"cause"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_replay_connections", Help: "Open connections to a set of primary hosts.",
		}, []string{"primary"}),
		window: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_replay_window", Help: "Connections that the pace allows to a set of primary hosts.",
		}, []string{"primary"}),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_replay_pending", Help: "Pairs waiting to be delivered.",
		}, []string{"domain"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_replay_oldest_pending_seconds", Help: "Age of the oldest pair waiting to be delivered, 0 if none is.",
		}, []string{"domain"}),
	}
	r.MustRegister(m.attempted, m.parkedPairs, m.connects, m.connections, m.window, m.pending, m.oldest)
	return m
}

func (m *Metrics) attempts(vs []verdict) {
	if m == nil {
		return
	}
	for _, v := range vs {
		m.attempted.WithLabelValues(v.fate.String()).Inc()
	}
}

func (m *Metrics) parked() {
	if m != nil {
		m.parkedPairs.Inc()
	}
}

func (m *Metrics) connect(others bool) {
	if m == nil {
		return
	}
	cause := "down"
	if others {
		cause = "limit"
	}
	m.connects.WithLabelValues(cause).Inc()
}

func (m *Metrics) pace(primary string, connections, window int) {
	if m != nil {
		m.connections.WithLabelValues(primary).Set(float64(connections))
		m.window.WithLabelValues(primary).Set(float64(window))
	}
}

func (m *Metrics) waiting(domain string, pending int64, oldest time.Time) {
	if m == nil {
		return
	}
	age := 0.0
	if !oldest.IsZero() && pending > 0 {
		age = time.Since(oldest).Seconds()
	}
	m.pending.WithLabelValues(domain).Set(float64(pending))
	m.oldest.WithLabelValues(domain).Set(age)
}
