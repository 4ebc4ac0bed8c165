package policy

import (
	"github.com/prometheus/client_golang/prometheus"

	"restante/relay/policy/msgauth"
)

// Metrics of the border. All methods are safe on nil.
type Metrics struct {
	refusals *prometheus.CounterVec
	taken    *prometheus.CounterVec
	results  *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_border_refusals_total", Help: "Recipients and messages refused at the border, by stage, reason and the recipient's domain.",
		}, []string{"stage", "reason", "domain"}),
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_border_taken_total", Help: "Messages taken although something spoke against them, by what was done (mark, quarantine) and the reason.",
		}, []string{"action", "reason"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_border_results_total", Help: "Messages judged, by method (spf, dkim, dmarc) and result.",
		}, []string{"method", "result"}),
	}
	r.MustRegister(m.refusals, m.taken, m.results)
	return m
}

func (m *Metrics) refused(stage, reason, domain string) {
	if m != nil {
		m.refusals.WithLabelValues(stage, reason, domain).Inc()
	}
}

func (m *Metrics) took(action Action, reason string) {
	if m != nil {
		m.taken.WithLabelValues(string(action), reason).Inc()
	}
}

// judged counts the results of one message; of several signatures each.
func (m *Metrics) judged(v *msgauth.Verdict) {
	if m == nil || !v.Judged {
		return
	}
	count := func(method string, r msgauth.Result) {
		if r != "" {
			m.results.WithLabelValues(method, string(r)).Inc()
		}
	}
	count("spf", v.SPF.Result)
	for _, s := range v.DKIM {
		count("dkim", s.Result)
	}
	count("dmarc", v.DMARC.Result)
}
