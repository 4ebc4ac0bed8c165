package wrap

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/spool/blob"
)

// Metrics are of calls to a store. Its methods are safe on nil.
type Metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	octets  *prometheus.CounterVec
}

// NewMetrics registers
//
//	restante_store_calls_total{op, result}    op: put, get, list, prefixes, delete; result: see Result
//	restante_store_call_seconds{op}           until the answer is there; of a Get, until its first octet may be read
//	restante_store_bytes_total{direction}     in (put), out (read)
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_store_calls_total", Help: "Calls to the store, by operation and result."}, []string{"op", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "restante_store_call_seconds", Help: "Time that calls to the store took.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}}, []string{"op"}),
		octets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "restante_store_bytes_total", Help: "Octets written to and read from the store."}, []string{"direction"}),
	}
	r.MustRegister(m.calls, m.seconds, m.octets)
	return m
}

func (m *Metrics) done(op string, start time.Time, err error) {
	if m == nil {
		return
	}
	m.calls.WithLabelValues(op, Result(err)).Inc()
	m.seconds.WithLabelValues(op).Observe(time.Since(start).Seconds())
}

func (m *Metrics) count(direction string, n int64) {
	if m != nil {
		m.octets.WithLabelValues(direction).Add(float64(n))
	}
}

// Result names what became of a call in one word: ok, not-exist, precondition, no-space, not-written, unreadable, invalid,
// unfit, timeout, canceled, or error. Of these timeout, canceled and error leave the outcome of a Put unknown.
func Result(err error) string {
	if err == nil {
		return "ok"
	}
	for _, r := range []struct {
		err  error
		name string
	}{
		{blob.ErrNotExist, "not-exist"},
		{blob.ErrPrecondition, "precondition"},
		{blob.ErrNoSpace, "no-space"},
		{blob.ErrInvalid, "invalid"},
		{blob.ErrRange, "invalid"},
		{blob.ErrUnfit, "unfit"},
		{blob.ErrUnreadable, "unreadable"},
		{blob.ErrNotWritten, "not-written"},
		{context.DeadlineExceeded, "timeout"},
		{context.Canceled, "canceled"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "error"
}

// Meter counts and times the calls to s.
func Meter(s blob.Store, m *Metrics) blob.Store { return &meter{Store: s, m: m} }

type meter struct {
	blob.Store
	m *Metrics
}

// Put implements blob.Store.
func (m *meter) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	start := time.Now()
	etag, err := m.Store.Put(ctx, key, body, cond)
	m.m.done(opPut, start, err)
	if err == nil {
		m.m.count("in", body.Size())
	}
	return etag, err
}

// Get implements blob.Store.
func (m *meter) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	start := time.Now()
	rd, info, err := m.Store.Get(ctx, key, r)
	m.m.done(opGet, start, err)
	if err != nil {
		return nil, blob.Info{}, err
	}
	return &meteredReader{rd, m.m, 0}, info, nil
}

type meteredReader struct {
	io.ReadCloser
	m *Metrics
	n int64
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	return n, err
}

func (r *meteredReader) Close() error {
	r.m.count("out", r.n)
	r.n = 0
	return r.ReadCloser.Close()
}

// List implements blob.Store.
func (m *meter) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return metered(m.m, opList, m.Store.List(ctx, prefix, after))
}

// Prefixes implements blob.Store.
func (m *meter) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return metered(m.m, opPrefixes, m.Store.Prefixes(ctx, prefix))
}

// metered counts a list as one call; what the consumer takes between items is in its time.
func metered[T any](m *Metrics, op string, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		start := time.Now()
		var failed error
		defer func() { m.done(op, start, failed) }()
		for v, err := range all {
			failed = err
			if !yield(v, err) {
				return
			}
		}
	}
}

// Delete implements blob.Store.
func (m *meter) Delete(ctx context.Context, key string) error {
	start := time.Now()
	err := m.Store.Delete(ctx, key)
	m.m.done(opDelete, start, err)
	return err
}

// Free implements blob.Spacer.
func (m *meter) Free(ctx context.Context) (free, total int64, err error) {
	return blob.Space(ctx, m.Store)
}

// Close closes the store beneath.
func (m *meter) Close() error { return blob.Close(m.Store) }
