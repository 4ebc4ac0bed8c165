package dnsbl

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what lists say; its methods are safe on nil.
type Metrics struct {
	lookups *prometheus.CounterVec
	usable  *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_dnsbl_lookups_total",
			Help: "Clients looked up in a list, by list and result: listed, clean, failed (no answer, or one that says why not), skipped (too many at a time)."}, []string{"list", "result"}),
		usable: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "restante_dnsbl_in_use",
			Help: "1 for a list that is in use, 0 for one with a fault."}, []string{"list"}),
	}
	r.MustRegister(m.lookups, m.usable)
	return m
}

// looked counts a lookup.
func (m *Metrics) looked(list, result string) {
	if m != nil {
		m.lookups.WithLabelValues(list, result).Inc()
	}
}

// inUse notes whether a list is in use.
func (m *Metrics) inUse(st *state) {
	if m == nil {
		return
	}
	n := 0.0
	if st.usable {
		n = 1
	}
	m.usable.WithLabelValues(st.list.name()).Set(n)
}

// reset forgets lists that are gone.
func (m *Metrics) reset(lists []*state) {
	if m == nil {
		return
	}
	m.usable.Reset()
	for _, st := range lists {
		m.inUse(st)
	}
}
