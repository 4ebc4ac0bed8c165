package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/smtpc"
	"restante/spool"
)

// fakePrimary is a Prober over hosts that tests switch on and off.
type fakePrimary struct {
	mu     sync.Mutex
	dead   map[string]bool
	banned map[string]bool
	refuse map[string]bool // recipients
	nodns  map[string]bool // hosts whose name doesn't resolve
	hang   map[string]bool
	offers smtpc.Offers
	probes []string // host of each
	asked  []string // recipients of the last
	times  []time.Time
}

func newFake() *fakePrimary {
	return &fakePrimary{dead: map[string]bool{}, banned: map[string]bool{}, refuse: map[string]bool{}, nodns: map[string]bool{}, hang: map[string]bool{}}
}

func (f *fakePrimary) set(m map[string]bool, k string, v bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m[k] = v
}

func (f *fakePrimary) count(host string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, h := range f.probes {
		if h == host {
			n++
		}
	}
	return n
}

func (f *fakePrimary) Probe(ctx context.Context, t smtpc.Target, rcpts []string) Probed {
	f.mu.Lock()
	f.probes, f.times, f.asked = append(f.probes, t.Host), append(f.times, time.Now()), rcpts
	hang, offers := f.hang[t.Host], f.offers
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return Probed{Observation: Observation{Kind: Lost, Reason: "timed out"}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.nodns[t.Host]:
		return Probed{Observation: Judge(&smtpc.Error{Stage: smtpc.StageResolve, Err: &net.DNSError{Err: "no such host", Name: t.Host}}, t.Name)}
	case f.dead[t.Host]:
		return Probed{Observation: Observation{Kind: Lost, Reason: "refused"}}
	case f.banned[t.Host]:
		return Probed{Observation: Observation{Kind: Ban, Reason: "554"}}
	}
	p := Probed{Observation: Observation{Kind: Good, Host: t.Host}, Remote: "192.0.2.1:25", Offers: &offers}
	for _, r := range rcpts {
		if !f.refuse[r] {
			p.Refused = nil
			return p
		}
		p.Refused = append(p.Refused, r)
	}
	if len(p.Refused) > 0 {
		p.Observation = Observation{Kind: Lost, Reason: "refuses known recipients"}
		p.Refused = slices.Clone(rcpts)
	}
	return p
}

type rig struct {
	*Monitor
	fake    *fakePrimary
	mu      sync.Mutex
	changes []string
	pending map[string]bool
	known   map[string][]string
	events  []spool.Event
	storeUp bool
	dnsUp   bool
}

func (r *rig) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes)
}

func (r *rig) lock(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// start runs a Monitor within the bubble; the test has to cancel ctx before it ends.
func start(t *testing.T, ctx context.Context, change func(*Options), domains ...Domain) *rig {
	t.Helper()
	r := &rig{fake: newFake(), pending: map[string]bool{}, known: map[string][]string{}, storeUp: true, dnsUp: true}
	o := Options{
		Domains: domains, Prober: r.fake,
		HasPending: func(d string) bool { r.mu.Lock(); defer r.mu.Unlock(); return r.pending[d] },
		Known:      func(d string) []string { r.mu.Lock(); defer r.mu.Unlock(); return r.known[d] },
		Note:       func(evs ...spool.Event) { r.lock(func() { r.events = append(r.events, evs...) }) },
		StoreUp:    func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.storeUp },
		ResolverUp: func(context.Context) bool { r.mu.Lock(); defer r.mu.Unlock(); return r.dnsUp },
	}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Monitor = m
	m.Subscribe(func(c Change) {
		r.lock(func() {
			r.changes = append(r.changes, fmt.Sprintf("%s %s>%s", c.Domain, c.Before.State, c.After.State))
		})
	})
	go m.Run(ctx)
	synctest.Wait()
	return r
}

func (r *rig) want(t *testing.T, domain string, s State) {
	t.Helper()
	if got := r.State(domain); got.State != s {
		t.Fatalf("%s is %s (%s), want %s; changes: %v", domain, got.State, got.Reason, s, r.log())
	}
}

func bubble(t *testing.T, f func(t *testing.T, ctx context.Context)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		f(t, ctx)
	})
}

func dom(name string, primary ...string) Domain {
	return Domain{Name: name, Primary: primary, Interval: 10 * time.Second}
}

func TestMonitorLife(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"), dom("b.example", "H1:25"))
		r.want(t, "A.example", Up) // the first probe is sent at once
		if r.Key("a.example") != r.Key("b.example") {
			t.Fatal("two domains with the same primary aren't one set")
		}
		r.fake.set(r.fake.dead, "h1", true)
		r.lock(func() { r.pending["b.example"] = true })
		time.Sleep(10*time.Second + 3*2*time.Second)
		synctest.Wait()
		r.want(t, "a.example", Down)
		r.fake.set(r.fake.dead, "h1", false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.want(t, "a.example", Recovering)
		r.Observe("a.example", Observation{Kind: Empty}) // but b.example has mail
		r.want(t, "a.example", Recovering)
		r.Observe("b.example", Observation{Kind: Took, Replay: true})
		synctest.Wait()
		r.want(t, "a.example", Up)
		var want []string
		for _, c := range []string{"suspect>up", "up>suspect", "suspect>down", "down>recovering", "recovering>up"} {
			want = append(want, "a.example "+c, "b.example "+c)
		}
		if got := r.log(); !reflect.DeepEqual(got, want) {
			t.Fatalf("changes %q\nwant %q", got, want)
		}
	})
}

func TestMonitorPace(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"))
		time.Sleep(time.Hour)
		r.fake.mu.Lock()
		times := slices.Clone(r.fake.times)
		r.fake.mu.Unlock()
		var gaps []time.Duration
		for i := range times[1:] {
			gaps = append(gaps, times[i+1].Sub(times[i]))
		}
		if least, most := slices.Min(gaps), slices.Max(gaps); most > 10*time.Second || least < 7500*time.Millisecond || most-least < time.Second {
			t.Fatalf("while up, %d gaps from %v to %v; want them jittered, below the interval", len(gaps), least, most)
		}
		// Mail that the primary takes makes most probes needless.
		n := r.fake.count("h1")
		for range 360 {
			r.Observe("a.example", Observation{Kind: Took})
			time.Sleep(10 * time.Second)
		}
		if with := r.fake.count("h1") - n; with > n/3 || with == 0 {
			t.Fatalf("%d probes in an hour of mail, %d without", with, n)
		}
		// In trouble the next probe comes at once and the ones after it soon.
		r.fake.set(r.fake.dead, "h1", true)
		n = r.fake.count("h1")
		r.Observe("a.example", Observation{Kind: Lost})
		time.Sleep(time.Second)
		if r.fake.count("h1") != n+1 {
			t.Fatalf("%d probes within a second of a lost connection, want 1", r.fake.count("h1")-n)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		r.want(t, "a.example", Down)
	})
}

func TestMonitorHungHostLeavesTimeForTheNext(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1", "h2"))
		r.fake.set(r.fake.hang, "h1", true)
		time.Sleep(time.Minute)
		r.want(t, "a.example", Up)
		if ts := r.Targets("a.example"); len(ts) != 2 || ts[0].Host != "h2" || ts[1].Host != "h1" {
			t.Fatalf("targets %v, want the host that answers first", ts)
		}
		r.fake.set(r.fake.hang, "h1", false)
		time.Sleep(time.Minute)
		if ts := r.Targets("a.example"); ts[0].Host != "h1" {
			t.Fatalf("targets %v, want the preferred host again", ts)
		}
	})
}

func TestMonitorRefusesUs(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, func(o *Options) { o.TookMail = func(d string) bool { return d == "b.example" } },
			dom("a.example", "h1"), dom("b.example", "h2"))
		r.fake.set(r.fake.banned, "h1", true)
		r.fake.set(r.fake.banned, "h2", true)
		time.Sleep(time.Minute)
		r.want(t, "a.example", RefusesUs)
		r.want(t, "b.example", Down)
	})
}

func TestMonitorAsksPostmaster(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"))
		asked := func() string { r.fake.mu.Lock(); defer r.fake.mu.Unlock(); return fmt.Sprint(r.fake.asked) }
		if got := asked(); got != "[postmaster@a.example]" {
			t.Fatalf("asked for %s", got)
		}
		r.Observe("a.example", Observation{Kind: Took})
		time.Sleep(time.Minute)
		if got := asked(); got != "[]" {
			t.Fatalf("asked for %s, though it takes mail", got)
		}
		r.lock(func() { r.known["a.example"] = []string{"1@a.example", "2@a.example", "3@a.example", "4@a.example"} })
		time.Sleep(time.Minute)
		if got := asked(); got != "[1@a.example 2@a.example 3@a.example]" {
			t.Fatalf("asked for %s", got)
		}
	})
}

func TestMonitorKnownRecipients(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"))
		r.lock(func() { r.known["a.example"] = []string{"gone@a.example", "anna@a.example"} })
		r.fake.set(r.fake.refuse, "gone@a.example", true)
		time.Sleep(time.Minute)
		r.want(t, "a.example", Up) // one that left proves nothing
		r.fake.set(r.fake.refuse, "anna@a.example", true)
		time.Sleep(time.Minute)
		r.want(t, "a.example", Down) // it refuses everybody it had
		r.fake.set(r.fake.refuse, "anna@a.example", false)
		time.Sleep(20 * time.Second)
		r.want(t, "a.example", Up)
		// The only known one leaves; the primary takes mail for others meanwhile: it isn't ill.
		r.lock(func() { r.known["a.example"] = []string{"gone@a.example"} })
		for range 100 {
			if r.State("a.example").State != Up {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		r.want(t, "a.example", Suspect)
		r.Observe("a.example", Observation{Kind: Took})
		time.Sleep(time.Minute)
		r.want(t, "a.example", Up)
	})
}

func TestMonitorIsolated(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"), dom("b.example", "h2"), dom("c.example", "h3"))
		gone := func(v bool, hosts ...string) {
			for _, h := range hosts {
				r.fake.set(r.fake.dead, h, v)
			}
		}
		// One primary and the store, but DNS answers: not our line.
		gone(true, "h1")
		r.lock(func() { r.storeUp = false })
		time.Sleep(time.Minute)
		r.want(t, "a.example", Down)
		gone(false, "h1")
		time.Sleep(time.Minute)
		r.want(t, "a.example", Up)

		gone(true, "h1", "h2", "h3")
		r.lock(func() { r.dnsUp = false })
		time.Sleep(time.Minute)
		for _, d := range r.Domains() {
			r.want(t, d, Isolated)
		}
		// The line is back, and one of them was indeed dead.
		r.lock(func() { r.dnsUp, r.storeUp = true, true })
		gone(false, "h1", "h2")
		time.Sleep(time.Minute)
		r.want(t, "a.example", Up)
		r.want(t, "c.example", Down)
	})
}

func TestMonitorDeclare(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"), dom("b.example", "h1"))
		end := time.Now().Add(15 * time.Minute)
		r.Declare(Declaration{Target: "A.Example", Until: end, Reason: "mailboxes are gone", By: "admin root"})
		synctest.Wait()
		r.want(t, "a.example", Down)
		r.want(t, "b.example", Up)
		if got := r.State("a.example"); got.Declaration == nil || !strings.Contains(got.Reason, "mailboxes are gone") {
			t.Fatalf("record %+v doesn't show the declaration", got)
		}
		if _, ok := r.Declared("Anna@a.example"); !ok {
			t.Fatal("an address of a declared domain isn't declared")
		}
		// While it is in force, pending mail of the domain doesn't hold the others back.
		r.lock(func() { r.pending["a.example"] = true })
		r.fake.set(r.fake.dead, "h1", true)
		time.Sleep(time.Minute)
		r.fake.set(r.fake.dead, "h1", false)
		time.Sleep(time.Minute)
		r.want(t, "b.example", Up)
		r.want(t, "a.example", Down)
		// It ends by itself, and then kept mail goes first.
		time.Sleep(time.Until(end))
		synctest.Wait()
		r.want(t, "a.example", Recovering)
		r.Observe("a.example", Observation{Kind: Took, Replay: true})
		synctest.Wait()
		r.want(t, "a.example", Up)
		log := r.log()
		var a []string
		for _, c := range log {
			if strings.HasPrefix(c, "a.") {
				a = append(a, strings.TrimPrefix(c, "a.example "))
			}
		}
		if want := []string{"suspect>up", "up>down", "down>recovering", "recovering>up"}; !reflect.DeepEqual(a, want) {
			t.Fatalf("changes of the declared domain: %q, want %q", a, want)
		}
	})
}

func TestMonitorDeclareAddress(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"))
		r.Declare(Declaration{Target: "Me@A.example", Until: time.Now().Add(time.Minute)})
		synctest.Wait()
		r.want(t, "a.example", Up)
		if _, ok := r.Declared("me@a.example"); !ok {
			t.Fatal("the address isn't declared")
		}
		if _, ok := r.Declared("you@a.example"); ok {
			t.Fatal("another address is declared")
		}
		if ds := r.Declarations(); len(ds) != 1 || ds[0].Target != "me@a.example" {
			t.Fatalf("declarations %v", ds)
		}
		if !r.End("ME@a.example") || r.End("me@a.example") {
			t.Fatal("End doesn't say whether there was one")
		}
		if _, ok := r.Declared("me@a.example"); ok {
			t.Fatal("still declared")
		}
		if len(r.log()) != 1 {
			t.Fatalf("changes %q, want only the first probe's", r.log())
		}
	})
}

func TestMonitorReload(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"))
		r.fake.set(r.fake.dead, "h1", true)
		time.Sleep(time.Minute)
		r.want(t, "a.example", Down)
		since := r.State("a.example").Since
		if err := r.SetConfig([]Domain{dom("a.example", "h1"), dom("b.example", "bad host:x")}); err == nil {
			t.Fatal("a bad primary was taken")
		}
		if ds := r.Domains(); len(ds) != 1 {
			t.Fatalf("domains %v after a refused configuration", ds)
		}
		if err := r.SetConfig([]Domain{dom("a.example", "h1"), dom("c.example", "h3")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.want(t, "c.example", Up) // probed at once
		if got := r.State("a.example"); got.State != Down || !got.Since.Equal(since) {
			t.Fatalf("a set that stays lost its state: %+v", got)
		}
		if err := r.SetConfig([]Domain{dom("c.example", "h3")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n := r.fake.count("h1")
		time.Sleep(time.Hour)
		if r.fake.count("h1") != n {
			t.Fatal("a primary that is gone from the configuration is still probed")
		}
		if got := r.State("a.example"); got != (Record{}) {
			t.Fatalf("a domain that isn't hosted any more has %+v", got)
		}
	})
}

func TestMonitorMX(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		var mu sync.Mutex
		hosts, mxErr := []string{"MX1.a.example."}, error(nil)
		r := start(t, ctx, func(o *Options) {
			o.MX = func(context.Context, string) ([]string, error) { mu.Lock(); defer mu.Unlock(); return hosts, mxErr }
		}, dom("a.example", "mx"), dom("b.example", "mx1.a.example"))
		r.want(t, "a.example", Up)
		if r.Key("a.example") != r.Key("b.example") {
			t.Fatal("the same host from DNS and from the configuration aren't one set")
		}
		mu.Lock()
		hosts, mxErr = nil, errors.New("SERVFAIL")
		mu.Unlock()
		time.Sleep(time.Hour)
		r.want(t, "a.example", Up) // what was last good outlives DNS
		mu.Lock()
		hosts, mxErr = []string{"mx9.a.example"}, nil
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		if ts := r.Targets("a.example"); len(ts) != 1 || ts[0].Host != "mx9.a.example" {
			t.Fatalf("targets %v after MX changed", ts)
		}
		r.want(t, "a.example", Up)
	})
}

func TestMonitorStateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "primaries.json")
	with := func(o *Options) { o.StateFile = file }
	var since time.Time
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, with, dom("a.example", "h1"))
		r.Observe("a.example", Observation{Kind: Took})
		r.fake.set(r.fake.dead, "h1", true)
		time.Sleep(time.Minute)
		r.want(t, "a.example", Down)
		since = r.State("a.example").DownSince
	})
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, func(o *Options) {
			with(o)
			f := newFake()
			f.nodns["h1"], f.dead["192.0.2.1"] = true, true
			o.Prober = f
		}, dom("a.example", "h1"))
		r.want(t, "a.example", Down)
		got := r.State("a.example")
		if !got.DownSince.Equal(since) || !got.TookMail {
			t.Fatalf("after a restart: %+v, want the failure of before, since %v", got, since)
		}
		if len(r.log()) != 0 {
			t.Fatalf("a restart told %q", r.log())
		}
		f := r.o.Prober.(*fakePrimary)
		f.set(f.dead, "192.0.2.1", false)
		time.Sleep(time.Minute)
		r.want(t, "a.example", Up) // by its last good address
	})
	if err := os.WriteFile(file, []byte(`{"sets":{`), 0o600); err != nil {
		t.Fatal(err)
	}
	bubble(t, func(t *testing.T, ctx context.Context) {
		start(t, ctx, with, dom("a.example", "h1")).want(t, "a.example", Up)
	})
}

func TestMonitorOffers(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		r := start(t, ctx, nil, dom("a.example", "h1"))
		time.Sleep(time.Hour)
		r.lock(func() {
			if len(r.events) != 1 || r.events[0].Type != spool.Offered || r.events[0].Domain != "a.example" {
				t.Fatalf("events %+v, want one, for the change from nothing", r.events)
			}
			if _, err := json.Marshal(r.events[0]); err != nil {
				t.Fatal(err)
			}
		})
		r.fake.mu.Lock()
		r.fake.offers.Size = 1000
		r.fake.mu.Unlock()
		time.Sleep(time.Minute)
		if o, ok := r.Offers("a.example"); !ok || o.Size != 1000 {
			t.Fatalf("offers %+v", o)
		}
		if _, ok := r.Offers("z.example"); ok {
			t.Fatal("offers of a domain that isn't hosted")
		}
		r.lock(func() {
			if len(r.events) != 2 {
				t.Fatalf("%d events", len(r.events))
			}
		})
	})
}

func TestParsePrimary(t *testing.T) {
	for in, want := range map[string]string{
		"mail.example.com": "mail.example.com 25", "Mail.Example.com.:2600": "mail.example.com 2600",
		"127.0.0.1:2600": "127.0.0.1 2600", "127.0.0.1": "127.0.0.1 25", "[mail.example.com]": "mail.example.com 25",
		"[mail.example.com]:26": "mail.example.com 26", "[2001:db8::1]": "2001:db8::1 25", "[2001:db8::1]:26": "2001:db8::1 26",
		"2001:db8::1": "2001:db8::1 25",
	} {
		if got, err := ParsePrimary(in); err != nil || fmt.Sprint(got.Host, " ", got.Port) != want {
			t.Errorf("ParsePrimary(%q) = %s %d, %v, want %s", in, got.Host, got.Port, err, want)
		}
	}
	for _, in := range []string{"", "mx", "MX", ":25", "host:", "host:0", "host:65536", "host:x", "a b", "a@b", "[::1", "h:1:2"} {
		if got, err := ParsePrimary(in); err == nil {
			t.Errorf("ParsePrimary(%q) = %+v, want an error", in, got)
		}
	}
}
