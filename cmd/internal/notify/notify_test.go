package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// web is a fake transport: each request is kept and answered by reply.
type web struct {
	mu    sync.Mutex
	got   []string // "POST /path body"
	at    []time.Time
	reply func(n int) (int, error)
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	w.mu.Lock()
	w.got = append(w.got, r.Method+" "+r.URL.Path+" "+string(body))
	w.at = append(w.at, time.Now())
	n := len(w.got)
	w.mu.Unlock()
	code, err := 200, error(nil)
	if w.reply != nil {
		code, err = w.reply(n)
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func (w *web) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.got...)
}

func run(t *testing.T, n *Notifier) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	return func() { cancel(); <-done }
}

func TestPostIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{reply: func(n int) (int, error) {
			switch n {
			case 1:
				return 500, nil
			case 2:
				return 0, errors.New("no route to host")
			}
			return 204, nil
		}}
		n := New(Options{Config: Config{URL: "https://h.example/s3cret"}, Hostname: "mx2.example", HTTP: &http.Client{Transport: w}})
		stop := run(t, n)
		n.Send(Notice{Kind: Down, Domain: "example.com", Text: "down"})
		time.Sleep(5 * time.Minute)
		stop()
		if len(w.got) != 3 || w.at[1].Sub(w.at[0]) != time.Second || w.at[2].Sub(w.at[1]) != 10*time.Second {
			t.Fatalf("%v at %v", w.got, w.at)
		}
		var got Notice
		if err := json.Unmarshal([]byte(strings.TrimPrefix(w.got[2], "POST /s3cret ")), &got); err != nil || got.Kind != Down || got.Host != "mx2.example" || got.Domain != "example.com" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestSendNeverBlocksAndSaysWhatWasDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{}
		n := New(Options{Config: Config{URL: "https://h.example/"}, HTTP: &http.Client{Transport: w}})
		for range queueLen + 10 {
			n.Send(Notice{Kind: Parked, Text: "x"})
		}
		stop := run(t, n)
		synctest.Wait()
		stop()
		if len(w.got) != queueLen || !strings.Contains(w.got[0], `"dropped":10`) || strings.Contains(w.got[1], "dropped") {
			t.Errorf("%d sent, first %s", len(w.got), w.got[0])
		}
	})
}

func TestHeartbeatOnlyWhileHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{}
		var mu sync.Mutex
		healthy := true
		n := New(Options{Config: Config{HeartbeatURL: "https://h.example/beat"}, HTTP: &http.Client{Transport: w},
			Healthy: func() bool { mu.Lock(); defer mu.Unlock(); return healthy }})
		stop := run(t, n)
		time.Sleep(150 * time.Second)
		if got := len(w.all()); got != 3 {
			t.Errorf("%d beats in 150 s", got)
		}
		mu.Lock()
		healthy = false
		mu.Unlock()
		time.Sleep(10 * time.Minute)
		stop()
		if got := len(w.all()); got != 3 {
			t.Errorf("%d beats after it was not healthy any more", got)
		}
	})
}

func TestCommand(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	n := New(Options{Config: Config{Command: []string{"/bin/sh", "-c", "cat > " + out}}, Hostname: "mx2.example"})
	if got := n.Test(t.Context(), "admin root"); len(got) != 1 || got[0].Way != "command" || got[0].Err != nil {
		t.Fatal(got)
	}
	text, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(text), `"kind":"test"`) || !strings.Contains(string(text), "admin root") {
		t.Errorf("%s, %v", text, err)
	}
	n.SetConfig(Config{Command: []string{"/bin/sh", "-c", "echo no pager here; exit 3"}})
	if got := n.Test(t.Context(), "x"); got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "no pager here") {
		t.Error(got)
	}
	n.SetConfig(Config{Command: []string{"/bin/sh", "-c", "exec cat /dev/zero"}, Timeout: 100 * time.Millisecond})
	if got := n.Test(t.Context(), "x"); got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "not done within 100 ms") {
		t.Error(got)
	}
}

func TestErrorsHideTheAddress(t *testing.T) {
	w := &web{reply: func(int) (int, error) { return 0, errors.New("refused") }}
	n := New(Options{Config: Config{URL: "https://h.example/s3cret"}, HTTP: &http.Client{Transport: w}})
	got := n.Test(t.Context(), "x")
	if got[0].Err == nil || strings.Contains(got[0].Err.Error(), "s3cret") {
		t.Error(got)
	}
}
