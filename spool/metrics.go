package spool

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the spool's own. Its methods are safe on nil.
type Metrics struct {
	commits *prometheus.HistogramVec // seconds from forming a batch to its settling
	entries *prometheus.HistogramVec // entries or events in a batch
	octets  *prometheus.CounterVec
	settled *prometheus.CounterVec
	up      prometheus.Gauge
	alerts  *prometheus.CounterVec
}

// NewMetrics registers the spool's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "restante_spool_commit_seconds",
			Help: "Time from forming a batch to its being settled.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18)}, []string{"stream"}),
		entries: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "restante_spool_batch_items",
			Help: "Entries or events in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}, []string{"stream"}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_spool_batch_bytes_total",
			Help: "Octets of the batches kept."}, []string{"stream"}),
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_spool_batches_total",
			Help: "Batches by how they ended: kept, refused, void, foreign, unreadable."}, []string{"stream", "result"}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{Name: "restante_spool_available",
			Help: "1 while new mail can be kept."}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_spool_alerts_total",
			Help: "What should not happen: foreign-bytes, journal-damaged, journal-unwritable, unsettled."}, []string{"what"}),
	}
	r.MustRegister(m.commits, m.entries, m.octets, m.settled, m.up, m.alerts)
	return m
}

func (m *Metrics) batch(stream, result string, items int, octets int64, took time.Duration) {
	if m == nil {
		return
	}
	m.settled.WithLabelValues(stream, result).Inc()
	if result == "kept" {
		m.commits.WithLabelValues(stream).Observe(took.Seconds())
		m.entries.WithLabelValues(stream).Observe(float64(items))
		m.octets.WithLabelValues(stream).Add(float64(octets))
	}
}

func (m *Metrics) available(up bool) {
	if m == nil {
		return
	}
	if up {
		m.up.Set(1)
	} else {
		m.up.Set(0)
	}
}

func (m *Metrics) alert(what string) {
	if m != nil {
		m.alerts.WithLabelValues(what).Inc()
	}
}
