package wrap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store {
		s := wrap.Limit(wrap.Count(mem.New()), 3)
		return wrap.Meter(wrap.Retry(s, wrap.RetryOptions{}), wrap.NewMetrics(prometheus.NewRegistry()))
	})
}

// TestRetry: what is safe to repeat is, what isn't is not, and no wait is longer than it should be.
func TestRetry(t *testing.T) {
	transient := errors.New("transient")
	certain := fmt.Errorf("%w: %w", transient, blob.ErrNotWritten)
	for _, c := range []struct {
		op    string
		err   error
		tries int
	}{
		{"put", certain, 5},
		{"put", transient, 1},
		{"put", fmt.Errorf("%w: %w", blob.ErrNoSpace, blob.ErrNotWritten), 1},
		{"put", fmt.Errorf("%w: %w", blob.ErrUnfit, blob.ErrNotWritten), 1},
		{"get", transient, 5},
		{"get", blob.ErrNotExist, 1},
		{"get", blob.ErrUnreadable, 1},
		{"list", transient, 5},
		{"prefixes", transient, 5},
		{"delete", transient, 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := wrap.NewFault(mem.New())
			f.Add(wrap.Rule{Op: c.op, When: "before", Times: 4, Action: wrap.Action{Err: c.err}})
			s := wrap.Retry(f, wrap.RetryOptions{})
			start := time.Now()
			err := call(t, s, c.op)
			if (err == nil) != (c.tries == 5) || err != nil && !errors.Is(err, c.err) {
				t.Errorf("%s with %v: %v", c.op, c.err, err)
			}
			tries := 0
			for _, p := range f.Points() {
				if p.When == "before" {
					tries++
				}
			}
			if took := time.Since(start); tries != c.tries || took > 2250*time.Millisecond || c.tries == 5 && took < 1100*time.Millisecond {
				t.Errorf("%s with %v: %d tries in %v, want %d", c.op, c.err, tries, took, c.tries)
			}
		})
	}
}

// call makes one call that works on an empty store.
func call(t *testing.T, s blob.Store, op string) error {
	switch op {
	case "put":
		return put(t, s, "k", "x")
	case "get":
		_, err := get(t, s, "k")
		if errors.Is(err, blob.ErrNotExist) && !strings.Contains(err.Error(), "before") {
			return nil
		}
		return err
	case "list":
		for _, err := range s.List(t.Context(), "", "") {
			return err
		}
		return nil
	case "prefixes":
		for _, err := range s.Prefixes(t.Context(), "") {
			return err
		}
		return nil
	default:
		return s.Delete(t.Context(), "k")
	}
}

// flaky breaks readers and lists after some octets or items.
type flaky struct {
	blob.Store
	every int
	gets  atomic.Int64
}

type flakyReader struct {
	io.ReadCloser
	left  int
	clean bool // ends as if that were all
}

func (r *flakyReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		if r.clean {
			return 0, io.EOF
		}
		return 0, errors.New("connection reset")
	}
	n, err := r.ReadCloser.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

func (s *flaky) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	rd, info, err := s.Store.Get(ctx, key, r)
	if err != nil {
		return nil, info, err
	}
	n := s.gets.Add(1)
	return &flakyReader{ReadCloser: rd, left: s.every, clean: n%2 == 0}, info, nil
}

// TestResume: a reader that breaks goes on where it stopped; one whose object changed does not.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := mem.New()
		text := strings.Repeat("0123456789", 10)
		etag := blobtest.Put(t, inner, "k", text, absent)
		s := wrap.Retry(&flaky{Store: inner, every: 7}, wrap.RetryOptions{})
		for _, r := range []blob.Range{{}, {Offset: 5}, {Offset: -31}, {Offset: 3, Length: 50}} {
			from, to, _ := r.Resolve(100)
			if got, info := blobtest.Read(t, s, "k", r); got != text[from:to] || info.Size != 100 {
				t.Errorf("%+v: %q", r, got)
			}
		}
		rd, _, err := s.Get(t.Context(), "k", blob.Range{})
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Close()
		blobtest.Put(t, inner, "k", strings.ToUpper(text)+"!", blob.Cond{Match: etag})
		if b, err := io.ReadAll(rd); !errors.Is(err, blob.ErrUnreadable) || len(b) != 7 {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// TestListResumes: a list that breaks goes on after the last key.
func TestListResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := mem.New()
		for i := range 50 {
			blobtest.Put(t, inner, fmt.Sprintf("p/%02d/x", i), "x", absent)
		}
		s := wrap.Retry(brokenLists{inner}, wrap.RetryOptions{})
		if got := blobtest.Keys(t, s, "p/", "p/10/x"); len(got) != 39 || got[38] != "p/49/x" {
			t.Errorf("%q", got)
		}
		s = wrap.Retry(wrap.NewFault(inner), wrap.RetryOptions{})
		n := 0
		for segment, err := range s.Prefixes(t.Context(), "p/") {
			if err != nil || segment != fmt.Sprintf("%02d", n) {
				t.Fatal(segment, err)
			}
			n++
		}
	})
}

// brokenLists gives ten keys, then an error.
type brokenLists struct{ blob.Store }

func (s brokenLists) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		n := 0
		for info, err := range s.Store.List(ctx, prefix, after) {
			if n++; n > 10 {
				yield(blob.Info{}, errors.New("connection reset"))
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestLimit: never more at once than allowed, and who waits in vain has written nothing.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wrap.NewFault(mem.New())
		f.Add(wrap.Rule{When: "before", Action: wrap.Action{Delay: time.Second}})
		s := wrap.Limit(f, 3)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if err := put(t, s, fmt.Sprint(i), "x"); err != nil {
					t.Error(err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		synctest.Wait()
		_, err := s.Put(ctx, "late", strings.NewReader("x"), absent)
		if !errors.Is(err, blob.ErrNotWritten) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting put: %v", err)
		}
		wg.Wait()
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("12 calls of 1 s, 3 at once, took %v", took)
		}
		// A list holds no place while its consumer works.
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := get(t, s, info.Key); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestMeter(t *testing.T) {
	r := prometheus.NewRegistry()
	f := wrap.NewFault(mem.New())
	s := wrap.Meter(f, wrap.NewMetrics(r))
	put(t, s, "a", "12345")
	put(t, s, "a", "12345")
	get(t, s, "a")
	get(t, s, "none")
	f.SetDown(wrap.ErrDown)
	put(t, s, "b", "1")
	s.Delete(t.Context(), "b")
	f.SetDown(nil)
	blobtest.Keys(t, s, "", "")
	want := map[string]float64{
		"restante_store_calls_total delete error":     1,
		"restante_store_calls_total get not-exist":    1,
		"restante_store_calls_total get ok":           1,
		"restante_store_calls_total list ok":          1,
		"restante_store_calls_total put not-written":  1,
		"restante_store_calls_total put ok":           1,
		"restante_store_calls_total put precondition": 1,
		"restante_store_bytes_total in":               5,
		"restante_store_bytes_total out":              5,
		"restante_store_call_seconds put":             3,
		"restante_store_call_seconds get":             2,
		"restante_store_call_seconds list":            1,
		"restante_store_call_seconds delete":          1,
	}
	if diff := cmp.Diff(want, gather(t, r)); diff != "" {
		t.Error(diff)
	}
	put(t, wrap.Meter(mem.New(), nil), "a", "x") // nil Metrics are none
}

// gather returns the value of each counter and the number of observations of each histogram, by name and labels.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

func TestCounter(t *testing.T) {
	c := wrap.Count(mem.New())
	for i := range 2001 {
		put(t, c, fmt.Sprintf("%d/x", i), "x")
	}
	get(t, c, "1/x")
	get(t, c, "none")
	before := c.Bill()
	blobtest.Keys(t, c, "", "")  // 3 requests
	blobtest.Keys(t, c, "z", "") // 1
	for range c.Prefixes(t.Context(), "") {
	} // 3
	c.Delete(t.Context(), "1/x")
	if got, want := c.Bill().Sub(before), (blob.Bill{Lists: 7, Deletes: 1}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := c.Bill(), (blob.Bill{Puts: 2001, Lists: 7, Gets: 2, Deletes: 1}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if s := (blob.Bill{Puts: 1000, Lists: 1000, Gets: 10000}).String(); s != "1000 PUT, 1000 LIST, 10000 GET, 0 DELETE: $0.014000" {
		t.Error(s)
	}
}
