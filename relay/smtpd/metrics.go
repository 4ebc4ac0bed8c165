package smtpd

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/relay/reply"
)

// Metrics counts what sessions do; its methods are safe on nil.
type Metrics struct {
	sessions     prometheus.Gauge
	opened       prometheus.Counter
	transactions *prometheus.CounterVec
	accepted     prometheus.Counter // of transactions
	refusals     *prometheus.CounterVec
	recipients   *prometheus.CounterVec
	limits       *prometheus.CounterVec
	handshakes   *prometheus.CounterVec
	octets       prometheus.Counter
	duration     prometheus.Histogram
	handler      prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "restante_smtp_" + name, Help: help}
	}
	m := &Metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "restante_smtp_sessions", Help: "SMTP sessions now."}),
		opened:   prometheus.NewCounter(counter("sessions_total", "SMTP sessions begun.")),
		transactions: prometheus.NewCounterVec(counter("transactions_total",
			"Transactions ended, by result: accepted, deferred (4xx), refused (5xx), dropped (closed without a reply), aborted (no message came)."), []string{"result"}),
		refusals: prometheus.NewCounterVec(counter("refused_total",
			"Messages and senders refused, by code and enhanced code."), []string{"code"}),
		recipients: prometheus.NewCounterVec(counter("recipients_refused_total",
			"Recipients refused, by code and enhanced code."), []string{"code"}),
		limits: prometheus.NewCounterVec(counter("limited_total",
			"Sessions and messages refused or ended by a limit, by limit."), []string{"limit"}),
		handshakes: prometheus.NewCounterVec(counter("tls_handshakes_total", "TLS handshakes, by result."), []string{"result"}),
		octets:     prometheus.NewCounter(counter("bytes_total", "Octets of accepted messages.")),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "restante_smtp_transaction_seconds",
			Help: "Time from MAIL to the end of an accepted transaction.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 12)}),
		handler: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "restante_smtp_data_seconds",
			Help: "Time from the end of a message to the reply.", Buckets: prometheus.ExponentialBuckets(0.0005, 3, 12)}),
	}
	m.accepted = m.transactions.WithLabelValues("accepted")
	r.MustRegister(m.sessions, m.opened, m.transactions, m.refusals, m.recipients, m.limits, m.handshakes,
		m.octets, m.duration, m.handler)
	return m
}

// session counts a session that begins (1) or ends (-1).
func (m *Metrics) session(n int) {
	if m == nil {
		return
	}
	m.sessions.Add(float64(n))
	if n > 0 {
		m.opened.Inc()
	}
}

// limited counts a session that met a limit.
func (m *Metrics) limited(limit string) {
	if m != nil {
		m.limits.WithLabelValues(limit).Inc()
	}
}

// tls counts a handshake.
func (m *Metrics) tls(result string) {
	if m != nil {
		m.handshakes.WithLabelValues(result).Inc()
	}
}

// rcptRefused counts a refused recipient.
func (m *Metrics) rcptRefused(r reply.Reply) {
	if m != nil {
		m.recipients.WithLabelValues(label(r)).Inc()
	}
}

// transaction counts a transaction at its end.
func (m *Metrics) transaction(t *txn, all time.Duration) {
	if m == nil {
		return
	}
	switch r := t.result; {
	case r.Positive():
		m.accepted.Inc()
		m.octets.Add(float64(t.size))
		m.duration.Observe(all.Seconds())
		m.handler.Observe(t.took.Seconds())
		return
	case t.drop:
		m.transactions.WithLabelValues("dropped").Inc()
		return
	case r.IsZero():
		m.transactions.WithLabelValues("aborted").Inc()
		return
	case r.Transient():
		m.transactions.WithLabelValues("deferred").Inc()
	default:
		m.transactions.WithLabelValues("refused").Inc()
	}
	m.refusals.WithLabelValues(label(t.result)).Inc()
}

// label is "550 5.1.1". A primary may send any number, but there are few of each class that exist.
func label(r reply.Reply) string {
	e := r.Enhanced
	if e[0] < 2 || e[0] > 5 || e[1] < 0 || e[1] > 7 || e[2] < 0 || e[2] > 30 {
		return strconv.Itoa(r.Code)
	}
	return strconv.Itoa(r.Code) + " " + strconv.Itoa(e[0]) + "." + strconv.Itoa(e[1]) + "." + strconv.Itoa(e[2])
}
