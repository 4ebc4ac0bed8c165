package scan

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fake is a filter that answers as it is told.
type fake struct {
	asked  atomic.Int64
	answer func(ctx context.Context) (finding, error)
}

func (f *fake) ask(ctx context.Context, _ *Message) (finding, error) {
	f.asked.Add(1)
	return f.answer(ctx)
}

func (f *fake) look(ctx context.Context) (string, error) {
	_, err := f.answer(ctx)
	return "fake", err
}

func (f *fake) close() {}

// faked is a set with one fake filter.
func faked(t *testing.T, c Filter, f *fake) *Set {
	t.Helper()
	s, err := New(Options{Hostname: "mx2.example.net", Metrics: NewMetrics(prometheus.NewRegistry())})
	if err != nil {
		t.Fatal(err)
	}
	gates := []*gate{s.newGate("fake", "nowhere", c, f)}
	s.gates.Store(&gates)
	return s
}

func TestFailingOpenAndClosed(t *testing.T) {
	f := &fake{answer: func(context.Context) (finding, error) { return finding{}, errors.New("broken") }}
	r := faked(t, Filter{}, f).Scan(context.Background(), message("Hello", "x"))
	if r.Action != Mark || r.Verdicts["fake"] != "not scanned" || r.Reason != "fake: not scanned: broken" ||
		string(r.Fields) != "X-Restante-Scan: mx2.example.net; fake=not-scanned\r\n" {
		t.Errorf("open: %+v %s", r, r.Fields)
	}
	r = faked(t, Filter{WhenFailing: Defer}, f).Scan(context.Background(), message("Hello", "x"))
	if r.Action != Defer || r.Reply.String() != "451 4.3.0 Mail can't be checked at the moment, try again later" || r.Reply.Cause == nil || r.Fields != nil {
		t.Errorf("closed: %+v", r)
	}
	var none *Set
	if r := none.Scan(context.Background(), Message{}); r.Action != Take || r.Verdicts != nil || none.Status() != nil {
		t.Errorf("none: %+v", r)
	}
}

// TestHangingFilter: nobody waits longer than the time limit, and after some failures nobody waits at all until one message
// has found the filter well again.
func TestHangingFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		f := &fake{answer: func(ctx context.Context) (finding, error) {
			if well.Load() {
				return finding{verdict: "clean"}, nil
			}
			<-ctx.Done()
			return finding{}, ctx.Err()
		}}
		s := faked(t, Filter{Timeout: 5 * time.Second, Connections: 2}, f)
		scan := func() (Result, time.Duration) {
			start := time.Now()
			return s.Scan(t.Context(), message("Hello", "x")), time.Since(start)
		}
		for i := range 5 {
			r, took := scan()
			if r.Action != Mark || i < failuresInRow && took != 5*time.Second || i >= failuresInRow && took != 0 {
				t.Errorf("%d: %q after %v", i, r.Reason, took)
			}
		}
		if f.asked.Load() != failuresInRow {
			t.Errorf("asked %d times", f.asked.Load())
		}
		time.Sleep(pauseAfter)
		well.Store(true)
		if r, _ := scan(); r.Action != Take || !s.Status()[0].Up {
			t.Errorf("%+v %+v", r, s.Status())
		}
		// All connections in use: the others wait for as long as they may.
		well.Store(false)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if r, took := scan(); r.Action != Mark || took > 5*time.Second {
					t.Errorf("%q after %v", r.Reason, took)
				}
			})
		}
		wg.Wait()
		// A session that went away says nothing of the filter.
		well.Store(true)
		s.Look(t.Context())
		well.Store(false)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.Scan(ctx, message("Hello", "x"))
		if !s.Status()[0].Up {
			t.Error("a session's end counted as the filter's failure")
		}
	})
}

func TestRspamdAnswersBadly(t *testing.T) {
	var status int
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a test's own client
	}))
	defer srv.Close()
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{200, "", "no JSON"}, {200, "{}", "names no action"}, {200, `{"error":"too\r\nbad"}`, "too bad"}, {200, strings.Repeat(" ", maxAnswer+1), "more than"},
		{403, "", "password"}, {500, `{"error":"cannot scan"}`, "HTTP 500: cannot scan"}, {302, "", "HTTP 302"}, {200, `{"action":"reject","score":"x"}`, "no JSON"},
		{200, `[]`, "no JSON"},
	} {
		if len(c.body) > maxAnswer && testing.Short() {
			continue // the race detector takes long to read it
		}
		status, body = c.status, c.body
		s := newSet(t, Config{Rspamd: Rspamd{URL: srv.URL}})
		if r := s.Scan(context.Background(), message("Hello", "x")); r.Action != Mark || !strings.Contains(r.Reason, c.want) {
			t.Errorf("%d %.20q: %q %q", c.status, c.body, r.Action, r.Reason)
		}
	}
	status, body = 413, ""
	s := newSet(t, Config{Rspamd: Rspamd{URL: srv.URL, Filter: Filter{TooBig: Refuse}}})
	if r := s.Scan(context.Background(), message("Hello", "x")); r.Action != Refuse || r.Reply.Code != 552 {
		t.Errorf("too large: %+v", r)
	}
	// What rspamd says reaches a reply and a field as one harmless line.
	status = 200
	body = `{"action":"soft reject","score":1,"required_score":2,"messages":{"smtp_message":"a\r\nQUIT\u0000\u20ac"},"symbols":{"X;\r\nY: z":{"score":1}}}`
	s = newSet(t, Config{Rspamd: Rspamd{URL: srv.URL}})
	if r := s.Scan(context.Background(), message("Hello", "x")); r.Reply.String() != "451 4.7.1 a QUIT??" || strings.ContainsAny(r.Reason+r.Verdicts["rspamd.tests"], "\r\n") {
		t.Errorf("%q %q", r.Reply.String(), r.Verdicts)
	}
	body = `{"action":"my own","score":1,"required_score":2,"symbols":{"X;\r\nY: z":{"score":1}}}`
	r := s.Scan(context.Background(), message("Hello", "x"))
	if r.Action != Mark || !bytes.HasSuffix(r.Fields, []byte("score=1.00/2.00\r\n\ttests=X--Y:-z\r\n")) {
		t.Errorf("%q %s", r.Action, r.Fields)
	}
	body = `{"action":"no action"}`
	if r := s.Scan(context.Background(), message("a", "x")); r.Action != Take {
		t.Errorf("%+v", r)
	}
}

func TestClamdAnswersBadly(t *testing.T) {
	for _, c := range []struct {
		name, says string
		reads      int // octets before it answers and closes; -1: it never answers
		want       string
	}{
		{"error", "stream: Can't allocate memory ERROR\x00", 100, "Can't allocate memory ERROR"},
		{"nothing", "", 100, ""},
		{"at once", "", 0, ""},
		{"unknown command", "UNKNOWN COMMAND\x00", 10, "UNKNOWN COMMAND"},
		{"without an end", strings.Repeat("x", 3*maxLine), 100, ""},
		{"silent", "", -1, "deadline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if c.reads < 0 {
					_, _ = io.Copy(io.Discard, conn) // until the other gives up
					return
				}
				_, _ = io.CopyN(io.Discard, conn, int64(c.reads))
				_, _ = io.WriteString(conn, c.says) // a test's own client
			}()
			s := newSet(t, Config{Clamd: Clamd{Address: l.Addr().String(), Filter: Filter{WhenFailing: Defer, Timeout: 300 * time.Millisecond}}})
			r := s.Scan(context.Background(), message("Hello", strings.Repeat("x", 100)))
			if r.Action != Defer || !strings.Contains(r.Reason, c.want) {
				t.Errorf("%q %q", r.Action, r.Reason)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := newSet(t, Config{Rspamd: Rspamd{URL: "http://" + l.Addr().String()}, Clamd: Clamd{Address: "unix:/nowhere/clamd.ctl", Filter: Filter{WhenFailing: Defer}}})
	s.Look(context.Background())
	for _, st := range s.Status() {
		if st.Up || st.Failure == "" || st.At.IsZero() || st.Closed != (st.Name == "clamd") {
			t.Errorf("%+v", st)
		}
	}
	if r := s.Scan(context.Background(), message("Hello", "x")); r.Action != Defer || len(r.Verdicts) != 2 {
		t.Errorf("%+v", r)
	}
	for _, bad := range []Config{{Rspamd: Rspamd{URL: "localhost:11333"}}, {Rspamd: Rspamd{URL: "http://u:p@localhost"}}, {Rspamd: Rspamd{URL: "unix:"}}, {Clamd: Clamd{Address: "localhost"}}} {
		if err := s.SetConfig(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if len(s.Status()) != 2 {
		t.Error("a refused configuration changed something")
	}
	if err := s.SetConfig(Config{}); err != nil || s.On() {
		t.Error("filters stay on")
	}
}

// TestRspamdIsTold: what rspamd is told over TLS with a CA of one's own: the password, each recipient up to maxRcpts, addresses in UTF-8; and
// nothing that would end a header line.
func TestRspamdIsTold(t *testing.T) {
	var got http.Header
	var body []byte
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		body, _ = io.ReadAll(r.Body)                       // a test's own client
		_, _ = io.WriteString(w, `{"action":"no action"}`) // likewise
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	s := newSet(t, Config{Rspamd: Rspamd{URL: srv.URL, Password: "secret", RootCAs: pool}})
	m := message("Hello", "x")
	m.From, m.Client.Helo, m.Client.Name = "ännä@küche.example", "a\r\nPass: all", ""
	for range 2 * maxRcpts {
		m.Rcpts = append(m.Rcpts, "info@example.com")
	}
	if r := s.Scan(context.Background(), m); r.Action != Take || r.Verdicts["rspamd"] != "no action" {
		t.Fatalf("%+v", r)
	}
	if got.Get("From") != m.From || got.Get("Password") != "secret" || got.Get("IP") != "192.0.2.7" || got.Get("Hostname") != "unknown" || got.Get("Queue-Id") != m.ID ||
		got.Get("Helo") != "" || got.Get("Pass") != "" || len(got["Rcpt"]) != maxRcpts || got.Get("TLS-Version") != "TLS1.3" || int64(len(body)) != m.Size {
		t.Errorf("rspamd was told %v and given %d octets", got, len(body))
	}
	if r := newSet(t, Config{Rspamd: Rspamd{URL: srv.URL}}).Scan(context.Background(), m); r.Action != Mark || !strings.Contains(r.Reason, "certificate") {
		t.Errorf("with an unknown certificate: %+v", r)
	}
}
