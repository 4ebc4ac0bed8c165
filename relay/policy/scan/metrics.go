package scan

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what the filters said. A nil *Metrics counts nothing.
type Metrics struct {
	messages *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	up       *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_scan_messages_total",
			Help: "Messages by content filter and what it said: take, mark, quarantine, defer, refuse, or failed and too_big where it wasn't asked to the end."}, []string{"filter", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "restante_scan_seconds",
			Help: "Time that a content filter took for a message, waiting for a free connection included.", Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30}}, []string{"filter"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "restante_scan_up", Help: "Whether a content filter answered when it was last asked."}, []string{"filter"}),
	}
	reg.MustRegister(m.messages, m.seconds, m.up)
	return m
}

func (m *Metrics) found(filter string, f finding) {
	if m == nil {
		return
	}
	result := string(cmp.Or(f.action, "take"))
	switch f.err {
	case nil:
	case errTooBig:
		result = "too_big"
	default:
		result = "failed"
	}
	m.messages.WithLabelValues(filter, result).Inc()
}

func (m *Metrics) took(filter string, d time.Duration) {
	if m != nil {
		m.seconds.WithLabelValues(filter).Observe(d.Seconds())
	}
}

func (m *Metrics) is(filter string, up bool) {
	if m == nil {
		return
	}
	v := 0.0
	if up {
		v = 1
	}
	m.up.WithLabelValues(filter).Set(v)
}
