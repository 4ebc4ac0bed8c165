package submit

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what was submitted and what came back. A nil *metrics counts nothing.
type metrics struct {
	messages *prometheus.CounterVec
	bounces  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	if reg == nil {
		return nil, nil
	}
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_submit_messages_total",
			Help: "Messages written here, by what became of handing them in: kept, again, undone, refused, limit, stopped, ..."}, []string{"result"}),
		bounces: prometheus.NewCounter(prometheus.CounterOpts{Name: "restante_submit_bounces_total", Help: "Reports to writers that something could not be delivered."}),
	}
	for _, c := range []prometheus.Collector{m.messages, m.bounces} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("submit: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) submitted(result string) {
	if m != nil {
		m.messages.WithLabelValues(result).Inc()
	}
}

func (m *metrics) bounced() {
	if m != nil {
		m.bounces.Inc()
	}
}
