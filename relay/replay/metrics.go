package replay

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are what Prometheus sees of replay. All methods work on nil.
type Metrics struct {
	attempted   *prometheus.CounterVec // result
	parkedPairs prometheus.Counter
	connects    *prometheus.CounterVec // result
	connections *prometheus.GaugeVec   // primary
	window      *prometheus.GaugeVec   // primary
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
	}
	r.MustRegister(m.attempted, m.parkedPairs, m.connects, m.connections, m.window)
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
