package health

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the Monitor. All methods are safe on nil.
type Metrics struct {
	states *prometheus.GaugeVec
	seen   *prometheus.CounterVec
	probes *prometheus.HistogramVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		states: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_primary_state",
			Help: "1 for the state that a set of primary hosts is in, 0 for the others. Declarations by an admin don't show here.",
		}, []string{"primary", "state"}),
		seen: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_primary_observations_total",
			Help: "What probes, pass-through and replay saw of a set of primary hosts, by kind.",
		}, []string{"primary", "kind"}),
		probes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "restante_primary_probe_seconds",
			Help:    "Duration of probes of primary hosts, by result.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10},
		}, []string{"result"}),
	}
	r.MustRegister(m.states, m.seen, m.probes)
	return m
}

func (m *Metrics) state(label string, s State) {
	if m == nil {
		return
	}
	for _, x := range []State{Up, Suspect, Down, Recovering, RefusesUs, Isolated} {
		v := 0.0
		if x == s {
			v = 1
		}
		m.states.WithLabelValues(label, string(x)).Set(v)
	}
}

func (m *Metrics) forget(label string) {
	if m == nil {
		return
	}
	m.states.DeletePartialMatch(prometheus.Labels{"primary": label})
	m.seen.DeletePartialMatch(prometheus.Labels{"primary": label})
}

func (m *Metrics) observed(label string, k Kind) {
	if m == nil {
		return
	}
	m.seen.WithLabelValues(label, string(k)).Inc()
}

func (m *Metrics) probed(k Kind, d time.Duration) {
	if m == nil {
		return
	}
	m.probes.WithLabelValues(string(k)).Observe(d.Seconds())
}
