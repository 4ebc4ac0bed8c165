package wrap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob"
	"restante/spool/blob/blobtest"
	"restante/spool/blob/mem"
	"restante/spool/blob/wrap"
)

var absent = blob.Cond{Absent: true}

func put(t *testing.T, s blob.Store, key, text string) error {
	t.Helper()
	_, err := s.Put(t.Context(), key, strings.NewReader(text), absent)
	return err
}

func get(t *testing.T, s blob.Store, key string) (string, error) {
	t.Helper()
	rd, _, err := s.Get(t.Context(), key, blob.Range{})
	if err != nil {
		return "", err
	}
	defer rd.Close()
	b, err := io.ReadAll(rd)
	return string(b), err
}

func TestFaultlessConformance(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return wrap.NewFault(mem.New()) })
}

// TestLostAnswer: the write landed, its answer did not.
func TestLostAnswer(t *testing.T) {
	f := wrap.NewFault(mem.New())
	f.Add(wrap.Rule{Op: "put", When: "after", Prefix: "mail/", Skip: 1, Times: 1, Action: wrap.Action{Err: wrap.ErrLost}})
	if err := put(t, f, "mail/0", "first"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, f, "mail/1", "ours"); !errors.Is(err, wrap.ErrLost) || errors.Is(err, blob.ErrNotWritten) {
		t.Fatalf("put: %v", err)
	}
	if err := put(t, f, "mail/1", "ours"); !errors.Is(err, blob.ErrPrecondition) {
		t.Fatalf("put again: %v", err)
	}
	if got, err := get(t, f, "mail/1"); got != "ours" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestLatePut: it lands after the time-out and after a 404, or finds the void there.
func TestLatePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wrap.NewFault(mem.New())
		f.Add(wrap.Rule{Op: "put", When: "before", Times: 2, Action: wrap.Action{Hang: true, Late: &wrap.Late{After: time.Minute}}})
		for _, key := range []string{"a", "b"} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			start := time.Now()
			_, err := f.Put(ctx, key, strings.NewReader("ours"), absent)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, blob.ErrNotWritten) || time.Since(start) != 10*time.Second {
				t.Fatalf("put: %v after %v", err, time.Since(start))
			}
			if _, err := get(t, f, key); !errors.Is(err, blob.ErrNotExist) {
				t.Fatalf("get before it lands: %v", err)
			}
		}
		if err := put(t, f, "b", "void"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for key, want := range map[string]string{"a": "ours", "b": "void"} {
			if got, err := get(t, f, key); got != want || err != nil {
				t.Errorf("%s: %q, %v", key, got, err)
			}
		}
		landed := f.Landed()
		if len(landed) != 2 || landed[0].Err != nil || !errors.Is(landed[1].Err, blob.ErrPrecondition) {
			t.Errorf("landed %+v", landed)
		}
	})
}

// TestLateByCalls: it lands after the n-th look at its key.
func TestLateByCalls(t *testing.T) {
	f := wrap.NewFault(mem.New())
	f.Add(wrap.Rule{Op: "put", When: "before", Times: 1, Action: wrap.Action{Late: &wrap.Late{Calls: 3}}})
	if err := put(t, f, "a", "ours"); !errors.Is(err, wrap.ErrLost) {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := get(t, f, "a"); !errors.Is(err, blob.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := put(t, f, "a", "void"); !errors.Is(err, blob.ErrPrecondition) {
		t.Fatalf("it lands just before the third call: %v", err)
	}
}

func TestLand(t *testing.T) {
	store := mem.New()
	f := wrap.NewFault(store)
	f.Add(wrap.Rule{Op: "put", When: "before", Action: wrap.Action{Late: &wrap.Late{}}})
	put(t, f, "a/1", "ours")
	put(t, f, "b/1", "ours")
	f.Crash()
	f.Land("a/")
	if got := f.Landed(); len(got) != 1 || got[0].Key != "a/1" {
		t.Errorf("landed %+v", got)
	}
	if got, err := get(t, store, "a/1"); got != "ours" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := get(t, store, "b/1"); !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("b/1: %v", err)
	}
}

func TestMangle(t *testing.T) {
	f := wrap.NewFault(mem.New())
	const text = "0123456789"
	put(t, f, "a", text)
	for name, mangle := range map[string]func([]byte) []byte{"garble": wrap.Garble, "cut": wrap.Cut} {
		f.Add(wrap.Rule{Op: "get", When: "after", Times: 1, Action: wrap.Action{Mangle: mangle}})
		got, err := get(t, f, "a")
		if err != nil || got == text || name != "cut" && len(got) != len(text) || name == "cut" && got != text[:5] {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if got, _ := get(t, f, "a"); got != text {
			t.Errorf("after %s: %q", name, got)
		}
	}
}

func TestDownAndSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wrap.NewFault(mem.New())
		f.SetDown(wrap.ErrDown)
		if err := put(t, f, "a", "x"); !errors.Is(err, wrap.ErrDown) || !errors.Is(err, blob.ErrNotWritten) {
			t.Error(err)
		}
		for _, err := range f.List(t.Context(), "", "") {
			if !errors.Is(err, wrap.ErrDown) {
				t.Error(err)
			}
		}
		f.SetDown(nil)
		f.Add(wrap.Rule{Action: wrap.Action{Delay: 3 * time.Second}})
		start := time.Now()
		if err := put(t, f, "a", "x"); err != nil || time.Since(start) != 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		f.Clear()
		f.SetFree(1, 2)
		if free, total, err := blob.Space(t.Context(), wrap.Retry(f, wrap.RetryOptions{})); free != 1 || total != 2 || err != nil {
			t.Error(free, total, err)
		}
	})
}

// TestCrashEnumeration shows how every crash point is visited, and that a crash is final.
func TestCrashEnumeration(t *testing.T) {
	calls := func(f *wrap.Fault) (acked int) {
		for _, key := range []string{"a", "b", "c"} {
			if put(t, f, key, key) == nil {
				acked++
			}
		}
		return acked
	}
	f := wrap.NewFault(mem.New())
	calls(f)
	points := f.Points()
	if len(points) != 6 || points[3].String() != "put:after b" || points[3].N != 4 {
		t.Fatal(points)
	}
	for n := 1; n <= len(points); n++ {
		store := mem.New()
		f := wrap.NewFault(store)
		f.CrashAt(n)
		acked := calls(f)
		<-f.Crashed()
		written := len(blobtest.Keys(t, store, "", ""))
		if wantAcked, wantWritten := (n-1)/2, n/2; acked != wantAcked || written != wantWritten {
			t.Errorf("crash at %s: %d acknowledged, %d written, want %d and %d", points[n-1], acked, written, wantAcked, wantWritten)
		}
		if err := f.Delete(t.Context(), "a"); !errors.Is(err, wrap.ErrCrashed) {
			t.Errorf("after the crash: %v", err)
		}
	}
}

func TestScript(t *testing.T) {
	f := wrap.NewFault(mem.New())
	boom := errors.New("boom")
	f.Script(func(p wrap.Point) wrap.Action {
		if p.Op == "delete" && p.When == "after" {
			return wrap.Action{Err: boom}
		}
		return wrap.Action{}
	})
	put(t, f, "a", "x")
	if err := f.Delete(t.Context(), "a"); !errors.Is(err, boom) {
		t.Error(err)
	}
	if _, err := get(t, f, "a"); !errors.Is(err, blob.ErrNotExist) {
		t.Error(err)
	}
	if _, err := f.Put(t.Context(), "b", bytes.NewReader(nil), blob.Cond{}); !errors.Is(err, blob.ErrInvalid) {
		t.Error(err)
	}
}
