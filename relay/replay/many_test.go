package replay

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/relay/health"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
	"restante/spool/index"
)

// manyPending is an index and a spool with any number of pending messages, all alike, that are made up
// when asked for. It folds what was settled `lag` outcomes late.
type manyPending struct {
	Index
	n, lag int

	mu      sync.Mutex
	done    []bool // folded as delivered
	queue   []int
	double  int
	changed chan struct{}
}

func manyID(i int) string {
	var u ulid.ULID
	u[0] = 1
	u[12], u[13], u[14], u[15] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
	return u.String()
}

func manyNumber(id string) int {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		panic(err)
	}
	return int(u[12])<<24 | int(u[13])<<16 | int(u[14])<<8 | int(u[15])
}

func (m *manyPending) Sync(context.Context) error { return nil }

func (m *manyPending) Pending(_ context.Context, domain string, after index.Cursor, limit int) ([]spool.Pair, index.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := 0
	if after != "" {
		from = manyNumber(string(after)) + 1
	}
	var ps []spool.Pair
	for i := from; i < m.n; i++ {
		if m.done[i] {
			continue
		}
		ps = append(ps, spool.Pair{Entry: manyID(i), Domain: domain, Address: "u@" + domain, State: spool.StatePending})
		if len(ps) == limit {
			return ps, index.Cursor(manyID(i)), nil
		}
	}
	return ps, "", nil
}

func (m *manyPending) Settle(ev spool.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(m.queue, manyNumber(ev.Entry))
	if len(m.queue) > m.lag || manyNumber(ev.Entry) == m.n-1 {
		m.foldLocked()
	}
	return nil
}

func (m *manyPending) foldLocked() {
	for _, i := range m.queue {
		if m.done[i] {
			m.double++
		}
		m.done[i] = true
	}
	m.queue = nil
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *manyPending) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *manyPending) Fetch(_ context.Context, id string, _ spool.Location) (*spool.Entry, *spool.Body, error) {
	b := spool.NewBody("", 1000)
	_, err := b.Write([]byte("Subject: x\r\n\r\nx\r\n"))
	return &spool.Entry{ID: id, From: "a@b.test", Rcpts: []spool.Recipient{{Address: "u@" + testDomain, Domain: testDomain}}}, b, err
}

func (m *manyPending) Known(context.Context, string) (bool, error) { return true, nil }
func (m *manyPending) Paused(context.Context, string) (spool.Event, bool, error) {
	return spool.Event{}, false, nil
}
func (m *manyPending) Summary(context.Context, string) (index.Summary, error) {
	return index.Summary{}, nil
}
func (m *manyPending) Entry(_ context.Context, id string) (*index.View, error) {
	return &index.View{Pairs: []spool.Pair{{Entry: id, State: spool.StatePending}}}, nil
}
func (m *manyPending) Note(...spool.Event)                          {}
func (m *manyPending) Record(context.Context, ...spool.Event) error { return nil }
func (m *manyPending) Lease(context.Context, string) (Lease, error) { return alwaysLease{}, nil }

type alwaysLease struct{}

func (alwaysLease) Valid() bool                   { return true }
func (alwaysLease) Lost() <-chan struct{}         { return nil }
func (alwaysLease) Generation() int64             { return 1 }
func (alwaysLease) Release(context.Context) error { return nil }

// TestMemoryStaysBounded drains far more messages than may be held in memory. RESTANTE_TEST_MILLION=1
// makes it a million of them.
func TestMemoryStaysBounded(t *testing.T) {
	n := 60_000
	if testing.Short() {
		n = 30_000
	}
	if os.Getenv("RESTANTE_TEST_MILLION") != "" {
		n = 1_000_000
	}
	m := &manyPending{n: n, lag: 500, done: make([]bool, n), changed: make(chan struct{})}
	s := sink.New(sink.Options{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	target, err := health.ParsePrimary(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	target.TLS.Mode = smtpc.TLSNone
	h := &fakeHealth{state: health.Up, target: target, dialer: smtpc.Dialer{Hostname: "mx2.example.test"}}
	e, err := New(Options{Spool: m, Index: m, Health: h, Domains: []Domain{{Name: testDomain}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	began := time.Now()
	go func() { ran <- e.Run(ctx) }()
	most, heap := 0, uint64(0)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.Stats().Messages < int64(n) && time.Since(began) < 10*time.Minute {
		<-tick.C
		e.mu.Lock()
		most = max(most, len(e.domains[testDomain].claims.m))
		e.mu.Unlock()
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		heap = max(heap, ms.HeapAlloc)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	t.Logf("%d messages in %v (%.0f/s); %d claims at most, heap %d MB at most", n, time.Since(began).Round(time.Millisecond),
		float64(n)/time.Since(began).Seconds(), most, heap>>20)
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := s.Stats().Messages; got != int64(n) || m.double > 0 {
		t.Errorf("%d messages sent, %d of them twice; want %d", got, m.double, n)
	}
	// What was settled before the present scan began, during it, and what is under way.
	if limit := 2*confirmAbove + 3*ReadyCount; most > limit {
		t.Errorf("%d claims were held, want %d at most", most, limit)
	}
}

// TestClaimsAreConfirmedAtTheLimit: at the limit reading pauses, and goes on when the index has caught up.
func TestClaimsAreConfirmedAtTheLimit(t *testing.T) {
	m := &manyPending{n: claimsMost + 1000, done: make([]bool, claimsMost+1000), changed: make(chan struct{})}
	for i := range claimsMost + 1 {
		m.done[i] = true
	}
	e, err := New(Options{Spool: m, Index: m, Health: &fakeHealth{state: health.Up}, Domains: []Domain{{Name: testDomain}}})
	if err != nil {
		t.Fatal(err)
	}
	d, g := e.domains[testDomain], e.newGroup("set")
	d.group, d.lease = g, alwaysLease{}
	for i := range claimsMost + 1 {
		d.claims.settle(key{id: ulid.MustParse(manyID(i))}, 0, 1)
	}
	d.scan = scan{no: 2, began: time.Now().Add(-scanPause), last: ulid.MustParse(manyID(claimsMost + 100))}
	g.feedDomain(t.Context(), d, nil)
	if d.claims.settled > 0 {
		t.Errorf("%d claims are held that the index has long known", d.claims.settled)
	}
	g.stop()
}

func TestClaims(t *testing.T) {
	cfg := Config{}.withDefaults()
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	pair := func(i, round, attempts int, changed time.Time) (*spool.Pair, key) {
		p := &spool.Pair{Entry: manyID(i), Round: round, Attempts: attempts, Changed: changed}
		k, ok := keyOf(p)
		if !ok {
			t.Fatal("id")
		}
		return p, k
	}
	c := newClaims()
	take := func(p *spool.Pair, k key, scan uint32, now time.Time) (bool, time.Time) {
		return c.take(p, k, scan, now, time.Time{}, &cfg)
	}
	p, k := pair(1, 0, 0, time.Time{})
	if ok, _ := take(p, k, 1, now); !ok {
		t.Fatal("a fresh pair")
	}
	if ok, _ := take(p, k, 1, now); ok {
		t.Fatal("twice")
	}
	c.settle(k, 0, 1)
	if c.confirm(1, k.id, true) != 0 {
		t.Error("confirmed by the scan that may have begun before")
	}
	if ok, _ := take(p, k, 2, now); ok {
		t.Error("settled, and the index lags")
	}
	if c.confirm(2, k.id, true) != 0 {
		t.Error("confirmed, though scan 2 showed it")
	}
	if c.confirm(3, k.id, false) != 0 {
		t.Error("confirmed, though scan 3 hasn't passed it")
	}
	next := k.id
	next[15]++
	if c.confirm(3, next, false) != 1 || len(c.m) != 0 || c.settled != 0 {
		t.Errorf("not confirmed: %+v", c)
	}

	take(p, k, 3, now)
	c.settle(k, 0, 3)
	again, _ := pair(1, 1, 0, time.Time{})
	if ok, _ := take(again, k, 4, now); !ok {
		t.Error("a retry opens a new round")
	}
	c.putOff(k, now.Add(time.Minute), 3)
	if ok, due := take(again, k, 4, now); ok || !due.Equal(now.Add(time.Minute)) {
		t.Errorf("backing off: %v, due %v", ok, due)
	}
	if ok, _ := take(again, k, 4, now.Add(time.Minute)); !ok || again.Attempts != 3 {
		t.Errorf("after the backoff: %v, %d attempts", ok, again.Attempts)
	}
	c.forget(k)

	// What the index knows of attempts holds after a restart.
	old, k2 := pair(2, 0, 4, now)
	ok, due := take(old, k2, 5, now)
	if wait := due.Sub(now); ok || wait < 96*time.Second || wait > 120*time.Second {
		t.Errorf("fourth backoff: %v, %v", ok, due.Sub(now))
	}
	if ok, _ := c.take(old, k2, 5, now, now.Add(time.Second), &cfg); !ok {
		t.Error("released since")
	}
}

func TestBackoff(t *testing.T) {
	cfg := Config{}.withDefaults()
	var last time.Duration
	spread := make(map[time.Duration]bool)
	for i := range 100 {
		id := ulid.MustParse(manyID(i))
		d := cfg.backoff(id, 1)
		if d < 12*time.Second || d > 15*time.Second {
			t.Errorf("first backoff %v", d)
		}
		if d != cfg.backoff(id, 1) {
			t.Error("not the same again")
		}
		spread[d] = true
		last = cfg.backoff(id, 1000)
		if last < 12*time.Minute || last > 15*time.Minute {
			t.Errorf("last backoff %v", last)
		}
	}
	if len(spread) < 50 {
		t.Errorf("only %d different ones: a thousand entries would come back at once", len(spread))
	}
}

// TestThreeThatLeft: only mail for people who left is pending. Health calls the primary down after three
// refusals, and up again after its probe; that must not go on for ever.
func TestThreeThatLeft(t *testing.T) {
	r := newRig(t, sink.Options{Keep: true}).open()
	r.sink.SetFaults(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageRcpt, Reply: "550 5.1.1 left us"}}})
	var known []string
	for i := range 3 {
		known = append(known, fmt.Sprintf("gone%d@%s", i, testDomain))
	}
	r.learn(known...)
	for _, a := range known {
		r.keep("a@b.test", "Subject: x\r\n\r\nx\r\n", a)
	}
	r.folded(3)
	r.run()
	flaps := 0
	r.until("they are parked", func() bool {
		if r.health.count(health.Refusal) >= 3*(flaps+1) {
			flaps++
			r.health.set(health.Down, testDomain)
			r.health.set(health.Recovering, testDomain)
		}
		return r.counts().Parked == 3
	})
	if flaps > 4 {
		t.Errorf("up and down %d times", flaps)
	}
}

func TestLeaseNames(t *testing.T) {
	names := []string{}
	for _, d := range []string{"example.test", "EXAMPLE.test", "bücher.test", "a_b.test", "xn--bcher-kva.test"} {
		names = append(names, LeaseName(d))
	}
	sort.Strings(names)
	want := "[replay.a_5fb.test replay.b_c3_bccher.test replay.example.test replay.example.test replay.xn--bcher-kva.test]"
	if got := fmt.Sprint(names); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
