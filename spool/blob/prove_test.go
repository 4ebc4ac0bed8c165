package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

var absent = blob.Cond{Absent: true}

// lame is a store with one defect.
type lame struct {
	*mem.Store
	defect string
	mu     sync.Mutex // makes replace atomic
}

// replace overwrites without condition, as a server does that doesn't know them.
func (s *lame) replace(ctx context.Context, key string, body blob.Body) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Store.Delete(ctx, key); err != nil {
		return "", err
	}
	return s.Store.Put(ctx, key, body, absent)
}

func (s *lame) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	switch {
	case s.defect == "no conditions (501)":
		return "", fmt.Errorf("%w: A header you provided implies functionality that is not implemented: %w", blob.ErrUnfit, blob.ErrNotWritten)
	case s.defect == "ignores If-None-Match" && cond.Absent, s.defect == "ignores If-Match" && cond.Match != "":
		return s.replace(ctx, key, body)
	case s.defect == "refuses If-Match" && cond.Match != "":
		return "", blob.ErrPrecondition
	case s.defect == "checks before it reads" && cond.Absent:
		if _, _, err := s.Store.Get(ctx, key, blob.Range{}); err == nil {
			return "", blob.ErrPrecondition
		}
		data := make([]byte, body.Size())
		if _, err := body.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return s.replace(ctx, key, bytes.NewReader(data))
	}
	return s.Store.Put(ctx, key, body, cond)
}

func (s *lame) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if s.defect == "ignores ranges" {
		r = blob.Range{}
	}
	return s.Store.Get(ctx, key, r)
}

func (s *lame) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	if s.defect == "lists later" {
		return func(func(blob.Info, error) bool) {}
	}
	return s.Store.List(ctx, prefix, after)
}

func (s *lame) String() string { return "lame://" + strings.ReplaceAll(s.defect, " ", "-") }

// TestProveRefuses: each defect is found, and the error names the store, the defect and the mend.
func TestProveRefuses(t *testing.T) {
	for defect, word := range map[string]string{
		"no conditions (501)":    "not implemented",
		"ignores If-None-Match":  "ignores If-None-Match",
		"ignores If-Match":       "ignores If-Match",
		"refuses If-Match":       "refuses If-Match",
		"checks before it reads": "overwrote one that had finished",
		"ignores ranges":         "range",
		"lists later":            "list did not show",
	} {
		s := &lame{Store: mem.New(), defect: defect}
		err := blob.Prove(t.Context(), s)
		if !errors.Is(err, blob.ErrUnfit) {
			t.Errorf("%s: %v", defect, err)
			continue
		}
		for _, want := range []string{s.String(), word, "file://", "Amazon S3"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v: does not say %q", defect, err, want)
			}
		}
		if keys := blobtest.Keys(t, s.Store, "", ""); len(keys) > 0 {
			t.Errorf("%s: left %q", defect, keys)
		}
	}
}

// TestProveFaults: a call that fails is no defect, at whatever point; and what is left behind goes with a later Prove.
func TestProveFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wrap.NewFault(mem.New())
		if err := blob.Prove(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		points := len(f.Points())
		inner := mem.New()
		for n := 1; n <= points; n++ {
			f := wrap.NewFault(inner)
			f.CrashAt(n)
			if err := blob.Prove(t.Context(), f); !errors.Is(err, wrap.ErrCrashed) || errors.Is(err, blob.ErrUnfit) {
				t.Errorf("crash at point %d: %v", n, err)
			}
		}
		if len(blobtest.Keys(t, inner, "", "")) == 0 {
			t.Fatal("the crashes left nothing behind: the test proves nothing")
		}
		time.Sleep(2 * time.Hour)
		if err := blob.Prove(t.Context(), inner); err != nil {
			t.Fatal(err)
		}
		if keys := blobtest.Keys(t, inner, "", ""); len(keys) > 0 {
			t.Errorf("left %q", keys)
		}
	})
}

// locking lets the first writer of a key keep others out until it is done.
type locking struct {
	*mem.Store
	place chan struct{}
}

func (s *locking) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	s.place <- struct{}{}
	defer func() { <-s.place }()
	return s.Store.Put(ctx, key, body, cond)
}

// TestProveLocking: a store whose first writer wins is as good as one whose first to finish does, and is not waited for without end.
func TestProveLocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := blob.Prove(t.Context(), &locking{mem.New(), make(chan struct{}, 1)}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSpaceAndClose(t *testing.T) {
	bare := struct{ blob.Store }{mem.New()}
	if _, _, err := blob.Space(t.Context(), bare); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if err := blob.Close(bare); err != nil {
		t.Error(err)
	}
}
