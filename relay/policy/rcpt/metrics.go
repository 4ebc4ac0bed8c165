package rcpt

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the directory. All methods are safe on nil.
type Metrics struct {
	checks *prometheus.CounterVec
	asks   *prometheus.CounterVec
	people *prometheus.GaugeVec
	lists  *prometheus.GaugeVec
	taken  *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_recipient_checks_total",
			Help: "Recipients that were looked up because their primary wasn't asked, by what is known (exists, absent, unsure) and what followed (take, defer, refuse).",
		}, []string{"state", "action"}),
		asks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_recipient_probes_total",
			Help: "Recipients that a primary was asked for ahead of mail, by its answer (exists, absent, refused), and sessions in which it answered nothing.",
		}, []string{"result"}),
		people: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_recipients", Help: "Recipients of a domain that are known to exist, or that its primary refused not long ago (absent).",
		}, []string{"domain", "state"}),
		lists: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_recipient_list_addresses", Help: "Addresses of the last full list of a source.",
		}, []string{"domain", "source"}),
		taken: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "restante_recipient_list_time_seconds", Help: "When the last full list of a source was taken in, in seconds since 1970.",
		}, []string{"domain", "source"}),
	}
	r.MustRegister(m.checks, m.asks, m.people, m.lists, m.taken)
	return m
}

func (m *Metrics) checked(a Answer) {
	if m != nil {
		m.checks.WithLabelValues(string(a.State), string(a.Action)).Inc()
	}
}

func (m *Metrics) asked(result string) {
	if m != nil {
		m.asks.WithLabelValues(result).Inc()
	}
}

// forget takes out what is shown of domains: some aren't hosted any more.
func (m *Metrics) forget() {
	if m != nil {
		m.people.Reset()
		m.lists.Reset()
		m.taken.Reset()
	}
}

func (m *Metrics) known(domain string, exist, absent int) {
	if m != nil {
		m.people.WithLabelValues(domain, string(Exists)).Set(float64(exist))
		m.people.WithLabelValues(domain, string(Absent)).Set(float64(absent))
	}
}

func (m *Metrics) listed(domain, source string, count int, at time.Time) {
	if m != nil {
		m.lists.WithLabelValues(domain, source).Set(float64(count))
		m.taken.WithLabelValues(domain, source).Set(float64(at.Unix()))
	}
}
