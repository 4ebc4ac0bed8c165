package source

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of reading lists. Its methods are safe on nil.
type Metrics struct {
	reads   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_recipients_sync_total",
			Help: "Lists of recipients that were read, by domain, source (file, ldap) and result (ok, failed)."}, []string{"domain", "source", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "restante_recipients_sync_seconds",
			Help: "How long reading a list of recipients took.", Buckets: []float64{.01, .1, 1, 5, 30, 120}}, []string{"source"}),
	}
	r.MustRegister(m.reads, m.seconds)
	return m
}

func (m *Metrics) read(domain, source string, err error, took time.Duration) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.reads.WithLabelValues(domain, source, result).Inc()
	m.seconds.WithLabelValues(source).Observe(took.Seconds())
}
