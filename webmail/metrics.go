package webmail

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what pages are asked for; its methods are safe on nil.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
}

// newMetrics registers the metrics, unless r is nil.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "restante_webmail_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "restante_webmail_request_seconds", Help: "Time to answer, by route; event streams aside.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 9)}, []string{"route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "restante_webmail_streams", Help: "Open pages that new mail is announced to."}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.streams} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// measured counts what a route answers.
func (m *metrics) measured(pattern string, next http.Handler) http.Handler {
	if m == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, sw := time.Now(), &statusWriter{ResponseWriter: w, status: http.StatusOK}
		if pattern == eventsPattern {
			m.streams.Inc()
			defer m.streams.Dec()
		} else {
			defer func() { m.seconds.WithLabelValues(pattern).Observe(time.Since(began).Seconds()) }()
		}
		defer func() { m.requests.WithLabelValues(pattern, strconv.Itoa(sw.status)).Inc() }()
		next.ServeHTTP(sw, r)
	})
}

// statusWriter remembers the status; http.ResponseController sees through it.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
