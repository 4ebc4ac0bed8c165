package replay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/index"
)

const testDomain = "example.test"

// fakeHealth is a health.Monitor that believes what the test says.
type fakeHealth struct {
	mu       sync.Mutex
	state    health.State
	took     time.Time
	declared map[string]bool
	subs     []func(health.Change)
	seen     []health.Observation
	keys     map[string]string // by domain; "set" otherwise
	dialer   smtpc.Dialer
	target   smtpc.Target
}

func (h *fakeHealth) State(string) health.Record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return health.Record{State: h.state, LastTook: h.took}
}

func (h *fakeHealth) Key(domain string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.keys[domain]; k != "" {
		return k
	}
	return "set"
}

func (h *fakeHealth) Declared(target string) (health.Declaration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return health.Declaration{Target: target, Until: time.Now().Add(time.Hour)}, h.declared[target]
}

func (h *fakeHealth) Dial(ctx context.Context, _ string) (*smtpc.Conn, error) {
	h.mu.Lock()
	t := h.target
	h.mu.Unlock()
	return h.dialer.Dial(ctx, t)
}

func (h *fakeHealth) Observe(_ string, o health.Observation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.Kind != health.Took || len(h.seen) < 1000 {
		h.seen = append(h.seen, o)
	}
}

func (h *fakeHealth) Subscribe(f func(health.Change)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = append(h.subs, f)
}

// set changes the state and tells the subscribers.
func (h *fakeHealth) set(s health.State, domains ...string) {
	h.mu.Lock()
	before := h.state
	h.state = s
	subs := h.subs
	h.mu.Unlock()
	for _, f := range subs {
		for _, d := range domains {
			f(health.Change{Domain: d, Before: health.Record{State: before}, After: health.Record{State: s}})
		}
	}
}

func (h *fakeHealth) count(k health.Kind) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, o := range h.seen {
		if o.Kind == k {
			n++
		}
	}
	return n
}

// rig is a spool with its index, a primary and an Engine between them.
type rig struct {
	t       testing.TB
	dir     string
	store   blob.Store
	spool   *spool.Spool
	index   *index.Index
	fold    spool.Fold // default: index
	health  *fakeHealth
	sink    *sink.Server
	options Options
	engine  *Engine

	params spool.Params // of what is kept

	mu      sync.Mutex
	notices []Notice
	stop    []func()
	sent    map[string][]byte // id -> message as kept
}

// quick are bounds for tests: the same proportions, a hundred times faster.
func quick() Config {
	return Config{
		BackoffMin: 100 * time.Millisecond, BackoffMax: time.Second, LostWait: 50 * time.Millisecond,
		PauseRetry: 200 * time.Millisecond, GiveUp: time.Hour,
	}
}

func newRig(t testing.TB, so sink.Options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), store: mem.New(), sent: make(map[string][]byte)}
	so.Strict = true
	r.sink = sink.New(so)
	r.health = &fakeHealth{state: health.Up, declared: make(map[string]bool), keys: make(map[string]string)}
	r.health.dialer = smtpc.Dialer{Hostname: "mx2.example.test"}
	r.options = Options{
		Health: r.health, Config: quick(), Domains: []Domain{{Name: testDomain}}, AuthservID: "mx2.example.test",
		Notify: func(n Notice) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.notices = append(r.notices, n)
		},
	}
	if os.Getenv("RESTANTE_TEST_LOG") != "" {
		r.options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() *rig {
	r.t.Helper()
	r.startSink()
	data := filepath.Join(r.dir, "data")
	s, err := spool.Open(r.t.Context(), spool.Options{
		Store: r.store, DataDir: data,
		Limits: spool.Limits{MinFree: -1, LazyWait: 50 * time.Millisecond, SettleGather: 5 * time.Millisecond, LeaseTerm: 2 * time.Second},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.spool = s
	x, err := index.Open(filepath.Join(r.dir, "index.db"), index.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.index = x
	var fold spool.Fold = x
	if r.fold != nil {
		fold = r.fold
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Follow(ctx, fold) }()
	r.stop = append(r.stop, func() {
		if err := s.Close(context.Background()); err != nil {
			r.t.Log("close spool:", err)
		}
		cancel()
		<-done
		if err := x.Close(); err != nil {
			r.t.Error("close index:", err)
		}
	})
	if r.options.Spool == nil {
		r.options.Spool = FromSpool(s)
	}
	if r.options.Index == nil {
		r.options.Index = x
	}
	return r
}

func (r *rig) startSink() {
	r.t.Helper()
	if r.sink.Running() {
		return
	}
	if err := r.sink.Start(); err != nil {
		r.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(r.sink.Addr())
	if err != nil {
		r.t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		r.t.Fatal(err)
	}
	r.health.mu.Lock()
	r.health.target = smtpc.Target{Host: host, Port: n, TLS: smtpc.TLSPolicy{Mode: smtpc.TLSNone}}
	r.health.mu.Unlock()
}

// run starts the engine; the returned function stops it.
func (r *rig) run() (stop func()) {
	r.t.Helper()
	e, err := New(r.options)
	if err != nil {
		r.t.Fatal(err)
	}
	r.engine = e
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			r.t.Error("run:", err)
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				r.t.Error("the engine does not stop")
			}
		})
	}
	r.stop = append(r.stop, stop)
	r.until("it runs", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.running != nil
	})
	return stop
}

func (r *rig) close() {
	for i := len(r.stop) - 1; i >= 0; i-- {
		r.stop[i]()
	}
	r.stop = nil
	if v := r.sink.Violations(); len(v) > 0 {
		r.t.Errorf("protocol violations: %q", v)
	}
	if r.sink.Running() {
		r.sink.Stop()
	}
}

// keep puts a message for the recipients into the spool.
func (r *rig) keep(from string, body string, rcpts ...string) string {
	r.t.Helper()
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now(), From: from, Params: r.params}
	if !isASCII(from + strings.Join(rcpts, "")) {
		e.Params.SMTPUTF8 = true
	}
	for _, a := range rcpts {
		_, domain, _ := strings.Cut(a, "@")
		e.Rcpts = append(e.Rcpts, spool.Recipient{Address: a, Domain: domain})
	}
	b := spool.NewBody(r.dir, 1<<20)
	defer b.Close()
	if _, err := b.Write([]byte(body)); err != nil {
		r.t.Fatal(err)
	}
	traceFields := "Received: by mx2.example.test id " + e.ID + "\r\n"
	if err := r.spool.Append(r.t.Context(), e, []byte(traceFields), b); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.sent[e.ID] = []byte(traceFields + body)
	r.mu.Unlock()
	return e.ID
}

// keepMany keeps n messages at once, each to user<i>@ the test domain, and waits until they are in the index.
func (r *rig) keepMany(n int) { r.keepMore(0, n) }

// keepMore keeps n messages where there were some before.
func (r *rig) keepMore(before, n int) {
	r.t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 50)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			r.keep("sender@elsewhere.test", fmt.Sprintf("Subject: %d\r\n\r\nHello %d\r\n", i, i), fmt.Sprintf("user%d@%s", i, testDomain))
			<-slots
		})
	}
	wg.Wait()
	r.folded(before + n)
}

// folded waits until the index has all n pairs.
func (r *rig) folded(n int) {
	r.t.Helper()
	r.until("the index has all", func() bool { return r.counts().Accepted() >= int64(n) })
}

func (r *rig) learn(addresses ...string) {
	r.t.Helper()
	var evs []spool.Event
	for _, a := range addresses {
		_, domain, _ := strings.Cut(a, "@")
		evs = append(evs, spool.Event{Type: spool.Learned, Address: a, Domain: domain})
	}
	if err := r.spool.Record(r.t.Context(), evs...); err != nil {
		r.t.Fatal(err)
	}
	r.until("recipients are known", func() bool {
		for _, a := range addresses {
			if known, err := r.index.Known(context.Background(), a); err != nil || !known {
				return false
			}
		}
		return true
	})
}

// finished waits until runs have ended that delivered n pairs in all: one run, or more where the machine was too busy to tell
// the engine of all its mail at once.
func (r *rig) finished(n int64) {
	r.t.Helper()
	r.until("the runs end", func() bool {
		var sum int64
		for _, e := range r.noticed(NoticeFinished) {
			sum += int64(e.Delivered + e.Parked)
		}
		return sum >= n
	})
}

func (r *rig) counts() index.Counts {
	s, err := r.index.Summary(context.Background(), testDomain)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.All
}

func (r *rig) status() Status {
	s, err := r.engine.Status(context.Background(), testDomain)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// until waits for something that other goroutines and real connections bring about.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	limit := time.After(2 * time.Minute) // only a machine that is busy with other things needs that
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			if r.engine != nil {
				r.t.Logf("status %+v", r.status())
			}
			if os.Getenv("RESTANTE_TEST_LOG") != "" {
				buf := make([]byte, 1<<20)
				r.t.Logf("%s", buf[:runtime.Stack(buf, true)])
			}
			r.t.Fatalf("not in time: %s; counts %+v", what, r.counts())
		}
	}
}

func (r *rig) delivered(n int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d delivered", n), func() bool { return r.counts().Delivered == int64(n) })
}

func (r *rig) noticed(k NoticeKind) []Notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ns []Notice
	for _, n := range r.notices {
		if n.Kind == k {
			ns = append(ns, n)
		}
	}
	return ns
}

// exact checks that the primary has each message that was kept exactly once for each recipient, unaltered, and
// nothing else; extra is how many duplicates may be.
func (r *rig) exact(extra int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	got := make(map[string]int)
	for _, m := range r.sink.Messages() {
		id, _, _ := strings.Cut(strings.TrimPrefix(string(m.Data), "Received: by mx2.example.test id "), "\r\n")
		want, ok := r.sent[id]
		if !ok {
			r.t.Errorf("the primary has a message that was never kept: %.80q", m.Data)
			continue
		}
		if !bytes.Equal(m.Data, want) {
			r.t.Errorf("%s altered:\n%q\nwant\n%q", id, m.Data, want)
		}
		for _, a := range m.Rcpts {
			got[id+" "+a]++
		}
		got[id]++
	}
	for id := range r.sent {
		if got[id] == 0 {
			r.t.Errorf("%s is lost", id)
		}
	}
	for k, n := range got {
		if strings.Contains(k, " ") {
			extra -= n - 1
		}
	}
	if extra < 0 {
		r.t.Errorf("%d duplicates more than there may be", -extra)
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
