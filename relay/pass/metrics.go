package pass

import "github.com/prometheus/client_golang/prometheus"

// Metrics of what became of mail. All methods are safe on nil.
type Metrics struct {
	mail     *prometheus.CounterVec
	octets   *prometheus.CounterVec
	refusals *prometheus.CounterVec
	sessions *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		mail: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_accepted_messages_total", Help: "Messages answered 250, by the way they took: passed or kept.",
		}, []string{"way"}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_accepted_bytes_total", Help: "Octets of messages answered 250, by the way they took.",
		}, []string{"way"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_refused_total", Help: "Senders, recipients and messages answered 4xx or 5xx, or with silence (unsettled), by cause.",
		}, []string{"cause"}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_pass_sessions_total", Help: "Sessions to primaries used by transactions: new, reused, or reopened.",
		}, []string{"kind"}),
	}
	r.MustRegister(m.mail, m.octets, m.refusals, m.sessions)
	return m
}

func (m *Metrics) passed(size int64) {
	if m != nil {
		m.mail.WithLabelValues("passed").Inc()
		m.octets.WithLabelValues("passed").Add(float64(size))
	}
}

func (m *Metrics) kept(size int64) {
	if m != nil {
		m.mail.WithLabelValues("kept").Inc()
		m.octets.WithLabelValues("kept").Add(float64(size))
	}
}

func (m *Metrics) refused(cause string) {
	if m != nil {
		m.refusals.WithLabelValues(cause).Inc()
	}
}

func (m *Metrics) session(kind string) {
	if m != nil {
		m.sessions.WithLabelValues(kind).Inc()
	}
}
