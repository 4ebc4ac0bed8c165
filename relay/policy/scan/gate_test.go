package scan

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/spool"
)

// fake is a filter that answers as it is told.
type fake struct {
	asked  atomic.Int64
	answer func(ctx context.Context, m *Message) (finding, error)
}

func (f *fake) ask(ctx context.Context, m *Message) (finding, error) {
	f.asked.Add(1)
	return f.answer(ctx, m)
}

func (f *fake) look(context.Context) (string, error) { return "fake", nil } // who it is it always says

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
	f := &fake{answer: func(context.Context, *Message) (finding, error) { return finding{}, errors.New("broken") }}
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

// hang waits for as long as there is time.
func hang(ctx context.Context) (finding, error) {
	<-ctx.Done()
	return finding{}, ctx.Err()
}

// running has the filters tried by themselves until the test ends, in fake time.
func running(t *testing.T, s *Set) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// timed is the result of a message, and how long it took.
func timed(t *testing.T, s *Set, m Message) (Result, time.Duration) {
	start := time.Now()
	return s.Scan(t.Context(), m), time.Since(start)
}

// TestHangingFilter: one that scans nothing, yet says who it is, costs the first messages their time limit; then nobody waits,
// however long it lasts, until it works again.
func TestHangingFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		f := &fake{answer: func(ctx context.Context, _ *Message) (finding, error) {
			if hangs.Load() {
				return hang(ctx)
			}
			return finding{verdict: "clean"}, nil
		}}
		s := faked(t, Filter{}, f)
		running(t, s)
		synctest.Wait() // it was tried at the start
		if r, _ := timed(t, s, message("Hello", "x")); r.Action != Take {
			t.Errorf("%+v", r)
		}
		hangs.Store(true)
		begin, waited := time.Now(), 0
		for time.Since(begin) < 5*time.Minute {
			r, took := timed(t, s, message("Hello", "x"))
			if r.Action != Mark || took > DefaultTimeout {
				t.Errorf("%q after %v", r.Reason, took)
			}
			if took > 0 {
				waited++
			}
			time.Sleep(time.Second)
		}
		st := s.Status()[0]
		if waited > 2 || st.Up || st.Since.Sub(begin) > slowAfter+tryTime || !strings.Contains(st.Failure, "a small message for trial isn't scanned within 10s") {
			t.Errorf("%d messages waited; %+v", waited, st)
		}
		hangs.Store(false)
		time.Sleep(tryTime + tryEvery + time.Second)
		if r, _ := timed(t, s, message("Hello", "x")); r.Action != Take || !s.Status()[0].Up || !s.Status()[0].Since.IsZero() {
			t.Errorf("%+v %+v", r, s.Status())
		}
		// One that nobody sends mail is found to hang all the same.
		hangs.Store(true)
		time.Sleep(2*lookEvery + tryTime + time.Second)
		if s.Status()[0].Up {
			t.Error("nobody noticed that it hangs")
		}
		s.gates.Store(new([]*gate)) // nothing more to try
	})
}

// TestBrokenFilter: one that fails at once is found to fail as soon as a message shows it, and not because we stop.
func TestBrokenFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		f := &fake{answer: func(context.Context, *Message) (finding, error) {
			if broken.Load() {
				return finding{}, errors.New("broken")
			}
			return finding{}, nil
		}}
		s := faked(t, Filter{Connections: 1}, f) // less than a share
		running(t, s)
		synctest.Wait()
		if r, _ := timed(t, s, message("Hello", "x")); r.Action != Take {
			t.Errorf("%+v", r)
		}
		broken.Store(true)
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		s.doubt()
		if s.Look(stopped); !s.Status()[0].Up {
			t.Error("a stop counts against it")
		}
		broken.Store(false)
		s.Look(t.Context()) // and all is well
		broken.Store(true)
		s.Scan(t.Context(), message("Hello", "x"))
		if time.Sleep(tryEvery + time.Second); s.Status()[0].Up {
			t.Error("nobody noticed that it is broken")
		}
	})
}

// doubt has all filters tried soon.
func (s *Set) doubt() {
	for _, g := range *s.gates.Load() {
		g.doubt()
	}
}

// TestAway: only who finds nobody there says at once that a filter fails.
func TestAway(t *testing.T) {
	for _, c := range []struct {
		op   string
		err  error
		want bool
	}{
		{"dial", os.NewSyscallError("connect", syscall.ECONNREFUSED), true}, {"dial", os.NewSyscallError("connect", syscall.ENOENT), true},
		{"dial", os.NewSyscallError("connect", syscall.EAGAIN), false}, {"dial", os.ErrDeadlineExceeded, false}, // too many wait
		{"read", os.NewSyscallError("read", syscall.ECONNRESET), false},
	} {
		if got := away(fmt.Errorf("asking: %w", &net.OpError{Op: c.op, Err: c.err})); got != c.want {
			t.Errorf("%s: %v: %v", c.op, c.err, got)
		}
	}
}

// TestOwner: whose share a message takes of.
func TestOwner(t *testing.T) {
	for want, m := range map[string]Message{
		"192.0.2.7":         {Client: spool.Client{Addr: "192.0.2.7"}},
		"2001:db8:0:1::/64": {Client: spool.Client{Addr: "2001:db8:0:1::7"}},
		"anna@example.com":  {Client: spool.Client{Addr: "192.0.2.7"}, Outgoing: true, Account: "anna@example.com"},
	} {
		if got := owner(&m); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestSlowMessages: whoever sends messages that take too long, as many as they can from one address, has them not scanned and nobody else's.
func TestSlowMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inUse, most atomic.Int64
		f := &fake{answer: func(ctx context.Context, m *Message) (finding, error) {
			if m.From != "slow@kunde.example" {
				return finding{verdict: "clean"}, nil
			}
			most.Store(max(most.Load(), inUse.Add(1)))
			defer inUse.Add(-1)
			return hang(ctx)
		}}
		s := faked(t, Filter{WhenFailing: Defer}, f)
		running(t, s)
		var wg sync.WaitGroup
		for i := range 300 {
			m := message("Hello", "x")
			m.From, m.Client.Addr = "slow@kunde.example", fmt.Sprintf("2001:db8::%x", i) // of one network
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond)
				if r, took := timed(t, s, m); r.Action != Defer || took > DefaultTimeout || r.Reply.Code != 451 {
					t.Errorf("%+v after %v", r, took)
				}
			})
		}
		for range 60 {
			time.Sleep(time.Second)
			if r, took := timed(t, s, message("Hello", "x")); r.Action != Take || took > 0 {
				t.Fatalf("%+v after %v", r, took)
			}
		}
		wg.Wait()
		st := s.Status()[0]
		if !st.Up || st.Failed != 300 || !strings.Contains(st.Failure, "octets") || most.Load() != DefaultConnections/shareOf {
			t.Errorf("%+v, %d at a time", st, most.Load())
		}
		if g := (*s.gates.Load())[0]; len(g.shares) != 0 {
			t.Errorf("%d shares are left", len(g.shares))
		}
		// A session that went away says nothing of the filter.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m := message("Hello", "x")
		m.From = "slow@kunde.example"
		if s.Scan(ctx, m); s.Status()[0].Failed != 300 {
			t.Error("a session's end counted as the filter's failure")
		}
	})
}

// TestAllConnectionsInUse: who comes then waits no longer than for a filter that is slow.
func TestAllConnectionsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faked(t, Filter{Connections: 2}, &fake{answer: func(ctx context.Context, _ *Message) (finding, error) { return hang(ctx) }})
		var wg sync.WaitGroup
		var full atomic.Int64
		for i := range 6 {
			m := message("Hello", "x")
			m.Client.Addr = fmt.Sprintf("192.0.2.%d", i%3)
			wg.Go(func() {
				r, took := timed(t, s, m)
				if r.Action != Mark || took != DefaultTimeout {
					t.Errorf("%q after %v", r.Reason, took)
				}
				if strings.Contains(r.Reason, "were in use") {
					full.Add(1)
				}
			})
		}
		wg.Wait()
		if full.Load() == 0 { // at the end of their time some may still get one
			t.Error("nobody was told")
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
	s.Scan(context.Background(), message("Hello", "x"))
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
		got.Get("Helo") != "" || got.Get("Flags") != "" || got.Get("Pass") != "" || len(got["Rcpt"]) != maxRcpts || got.Get("TLS-Version") != "TLS1.3" || int64(len(body)) != m.Size {
		t.Errorf("rspamd was told %v and given %d octets", got, len(body))
	}
	if s.Scan(context.Background(), *trial("mx2.example.net", time.Now())); got.Get("Flags") != "no_log,no_stat" || got.Get("Queue-Id") != "trial" {
		t.Errorf("with the message for trial it was told %v", got)
	}
	if r := newSet(t, Config{Rspamd: Rspamd{URL: srv.URL}}).Scan(context.Background(), m); r.Action != Mark || !strings.Contains(r.Reason, "certificate") {
		t.Errorf("with an unknown certificate: %+v", r)
	}
}
