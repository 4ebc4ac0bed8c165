package rcpt

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the directory. All methods are safe on nil.
type Metrics struct{}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics { return &Metrics{} }
