package index

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the index; all methods are safe on nil.
type Metrics struct {
	pairs, events prometheus.Counter
	seconds       prometheus.Histogram
}

// NewMetrics registers the index's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		pairs:  prometheus.NewCounter(prometheus.CounterOpts{Name: "restante_index_pairs_total", Help: "Pairs folded into the index."}),
		events: prometheus.NewCounter(prometheus.CounterOpts{Name: "restante_index_events_total", Help: "Events folded into the index."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "restante_index_apply_seconds", Help: "Time of one transaction of the index.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 9)}),
	}
	r.MustRegister(m.pairs, m.events, m.seconds)
	return m
}

func (m *Metrics) applied(pairs, events int, d time.Duration) {
	if m == nil {
		return
	}
	m.pairs.Add(float64(pairs))
	m.events.Add(float64(events))
	m.seconds.Observe(d.Seconds())
}
