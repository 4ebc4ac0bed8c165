package pass

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"restante/dns"
	"restante/dns/dnstest"
	"restante/relay/health"
	"restante/relay/policy"
	"restante/relay/policy/msgauth"
	"restante/relay/smtpd"
	"restante/spool"
)

// front is the whole accept path: a stranger at a real SMTP server, the border with its DNS, and a Handler
// with two domains, of which a.example's primary is down and b.example's is up.
type front struct {
	*rig
	t      testing.TB
	dns    *dnstest.Server
	border *policy.Border
	addr   string
	client atomic.Pointer[net.TCPAddr] // that the next session seems to come from
	log    logged
	reg    *prometheus.Registry
}

// newFront makes one; change may set more of the border's options.
func newFront(t testing.TB, zone string, change func(*policy.Options)) *front {
	t.Helper()
	f := &front{t: t, dns: dnstest.New(t, zone), reg: prometheus.NewRegistry()}
	resolver, err := dns.New(dns.Options{Servers: []string{"192.0.2.53"}, Exchange: f.dns.Exchange})
	if err != nil {
		t.Fatal(err)
	}
	o := policy.Options{
		Auth:       msgauth.New(msgauth.Options{Resolver: resolver, AuthservID: "mx2.test", Timeout: 2 * time.Second}),
		AuthservID: "mx2.test", Log: f.log.logger(), Metrics: policy.NewMetrics(f.reg),
	}
	if change != nil {
		change(&o)
	}
	f.border = policy.New(o)
	f.rig = newRig(t, func(o *Options) { o.Border = f.border })
	f.prim.set(domA, health.Down, true)
	server, err := smtpd.New(smtpd.Options{Hostname: "mx2.test", Handler: f.Handler, TempDir: t.TempDir(), Log: f.log.logger(), Offers: smtpd.Offers{SMTPUTF8: true}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.Serve(elsewhere{l, f}) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
	return f
}

// elsewhere is a listener whose clients seem to come from the address that was set.
type elsewhere struct {
	net.Listener
	f *front
}

func (e elsewhere) Accept() (net.Conn, error) {
	c, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return from{c, e.f.client.Load()}, nil
}

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// conn is a stranger's session.
type conn struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// dial opens a session from an address and says EHLO.
func (f *front) dial(client, helo string) *conn {
	f.t.Helper()
	f.client.Store(&net.TCPAddr{IP: net.ParseIP(client), Port: 4711})
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	s := &conn{f.t, c, bufio.NewReader(c)}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	s.reply()
	s.do("EHLO " + helo)
	return s
}

// reply reads one and returns its last line.
func (c *conn) reply() string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

func (c *conn) do(line string) string {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
		c.t.Fatal(err)
	}
	return c.reply()
}

// sent is one transaction.
type sent struct {
	client, helo, from string
	rcpts              []string // one at a.example
	msg                string
}

// submit sends it and returns the first reply that refused, or that to the final dot.
func (f *front) submit(s sent) string {
	f.t.Helper()
	c := f.dial(s.client, s.helo)
	defer c.Close()
	return c.transaction(s)
}

func (c *conn) transaction(s sent) string {
	c.t.Helper()
	if r := c.do("MAIL FROM:<" + s.from + ">"); r[0] != '2' {
		return r
	}
	if s.rcpts == nil {
		s.rcpts = []string{"info@a.example"}
	}
	for _, a := range s.rcpts {
		if r := c.do("RCPT TO:<" + a + ">"); r[0] != '2' {
			return r
		}
	}
	if r := c.do("DATA"); r[0] != '3' {
		return r
	}
	return c.do(strings.ReplaceAll(s.msg, "\r\n.", "\r\n..") + ".")
}

// entry is the last that was kept.
func (f *front) entry() (spool.Entry, string) {
	f.t.Helper()
	f.spool.mu.Lock()
	defer f.spool.mu.Unlock()
	if len(f.spool.entries) == 0 {
		f.t.Fatal("nothing was kept")
	}
	n := len(f.spool.entries) - 1
	return f.spool.entries[n], f.spool.bodies[n]
}

// verdicts of an entry as words "key=value", those that are asked for.
func verdicts(e spool.Entry, keys ...string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(e.Verdicts)) {
		if len(keys) == 0 || slices.Contains(keys, k) {
			out = append(out, k+"="+e.Verdicts[k])
		}
	}
	return strings.Join(out, " ")
}

// count is the value of a metric with these label values, in the order of the labels' names.
func (f *front) count(name string, values ...string) float64 {
	f.t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, fam := range families {
		if fam.GetName() != name {
			continue
		}
		for _, m := range fam.GetMetric() {
			if slices.EqualFunc(m.GetLabel(), values, func(l *dto.LabelPair, v string) bool { return l.GetValue() == v }) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// logged keeps the lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// wait returns the next line that has all the words, and is empty then: smtpd writes of a message when the sender has its reply.
func (l *logged) wait(t testing.TB, words ...string) {
	t.Helper()
	for range 400 {
		l.mu.Lock()
		for _, line := range l.lines {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				l.lines = nil
				l.mu.Unlock()
				return
			}
		}
		l.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Errorf("the log has no line with %q:\n%s", words, strings.Join(l.lines, ""))
}
