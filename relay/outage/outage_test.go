package outage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restante/relay/health"
	"restante/spool"
	"restante/spool/index"
)

// world is ledger, index and health in one. The index folds lag after an event is recorded.
type world struct {
	mu       sync.Mutex
	down     error // of Record
	events   []spool.Event
	noted    []spool.Event
	lag      time.Duration
	outages  []index.Outage
	declared map[string]spool.Event
	opener   map[string]spool.Event
	flagged  map[string]time.Time // the last Declared or DeclareEnded
	pending  map[string]int64
	written  map[string]int64 // of those: written here
	earlier  map[string]int64 // pending, of an outage before
	stray    map[string]time.Time
	changed  chan struct{}

	behind      int
	behindSince time.Time

	states map[string]health.Record
	force  map[string]health.Declaration
	subs   []func(health.Change)
	told   []string
}

func newWorld(domains ...string) *world {
	w := &world{
		lag: 500 * time.Millisecond, declared: map[string]spool.Event{}, flagged: map[string]time.Time{}, opener: map[string]spool.Event{}, pending: map[string]int64{}, written: map[string]int64{}, earlier: map[string]int64{}, stray: map[string]time.Time{}, changed: make(chan struct{}),
		states: map[string]health.Record{}, force: map[string]health.Declaration{},
	}
	for _, d := range domains {
		w.states[d] = health.Record{State: health.Up}
	}
	return w
}

func (w *world) Record(_ context.Context, evs ...spool.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return w.down
	}
	for _, ev := range evs {
		if ev.Time.IsZero() {
			ev.Time = time.Now()
		}
		w.events = append(w.events, ev)
		time.AfterFunc(w.lag, func() { w.fold(ev) })
	}
	return nil
}

func (w *world) Note(evs ...spool.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noted = append(w.noted, evs...)
	for _, ev := range evs {
		ev.Time = time.Now()
		if ev.Type == spool.OutageOpened {
			time.AfterFunc(w.lag, func() { w.fold(ev) })
		}
	}
}

func (w *world) fold(ev spool.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev.Type {
	case spool.OutageOpened:
		w.opener[ev.Domain] = ev
		if slices.ContainsFunc(w.outages, func(o index.Outage) bool { return o.ID == ev.Outage }) {
			break // the earlier opening stands
		}
		w.outages = append(w.outages, index.Outage{ID: ev.Outage, Domain: ev.Domain, Opened: ev.Time})
	case spool.OutageClosed:
		for i := range w.outages {
			if w.outages[i].ID == ev.Outage {
				w.outages[i].Closed = ev.Time
			}
		}
	case spool.Declared, spool.DeclareEnded:
		if ev.Time.Before(w.flagged[ev.Domain+ev.Address]) {
			break // the last writer stands
		}
		w.flagged[ev.Domain+ev.Address] = ev.Time
		if ev.Type == spool.DeclareEnded {
			delete(w.declared, ev.Domain+ev.Address)
			break
		}
		w.declared[ev.Domain+ev.Address] = ev
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) OutageOpen(domain string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.outages {
		if o.Domain == domain && o.Closed.IsZero() {
			return o.ID, true
		}
	}
	return "", false
}

func (w *world) OpenOutages() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	open := map[string]string{}
	for _, o := range w.outages {
		if o.Closed.IsZero() {
			open[o.Domain] = o.ID
		}
	}
	return open
}

func (w *world) Outages(_ context.Context, domain string) ([]index.Outage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []index.Outage
	for _, o := range w.outages {
		if o.Domain == domain {
			out = append(out, o)
		}
	}
	return out, nil
}

func (w *world) Summary(_ context.Context, domain string) (index.Summary, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return index.Summary{Domain: domain, All: index.Counts{Pending: w.pending[domain]}}, nil
}

func (w *world) FromOutside(_ context.Context, domain string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending[domain] > w.written[domain], nil
}

func (w *world) Stray(_ context.Context, domain string, after time.Time) (received, since time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.outages {
		if o.Domain == domain && o.Closed.After(after) {
			after = o.Closed
		}
	}
	if at := w.stray[domain]; at.After(after) {
		return at, at, nil
	}
	if w.pending[domain] > w.written[domain]+w.earlier[domain] {
		return time.Unix(0, 0), since, nil
	}
	return received, since, nil
}

func (w *world) OutageOpened(_ context.Context, domain string) (spool.Event, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ev, ok := w.opener[domain]
	return ev, ok, nil
}

func (w *world) Declarations(context.Context) ([]spool.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.declared)), nil
}

func (w *world) Lag() (int, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behind, w.behindSince
}

func (w *world) Changed() <-chan struct{} { w.mu.Lock(); defer w.mu.Unlock(); return w.changed }

func (w *world) Domains() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.states))
}

func (w *world) State(d string) health.Record { w.mu.Lock(); defer w.mu.Unlock(); return w.states[d] }

func (w *world) Declare(d health.Declaration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.force[d.Target] = d
}

func (w *world) End(t string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.force[t]
	delete(w.force, t)
	return ok
}

func (w *world) inForce() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(w.force)), " ")
}

func (w *world) Subscribe(f func(health.Change)) { w.subs = append(w.subs, f) }

// health is world's other face: both Index and Health have a method Declarations.
type healthFace struct{ *world }

func (h healthFace) Declarations() []health.Declaration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.force))
}

func (w *world) set(d string, s health.State) {
	w.mu.Lock()
	before := w.states[d]
	after := health.Record{State: s, Reason: "because " + string(s)}
	w.states[d] = after
	w.mu.Unlock()
	for _, f := range w.subs {
		f(health.Change{Domain: d, Before: before, After: after})
	}
}

func (w *world) setPending(d string, n int64) { w.mu.Lock(); defer w.mu.Unlock(); w.pending[d] = n }

// log is the ledger, in short.
func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var s []string
	for _, ev := range w.events {
		s = append(s, strings.TrimPrefix(string(ev.Type), "outage-")+" "+ev.Outage+ev.Address)
	}
	return strings.Join(s, ", ")
}

func run(t *testing.T, w *world, f func(t *testing.T, k *Keeper)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k, err := New(Options{Ledger: w, Index: w, Health: healthFace{w}, Notify: func(ev spool.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, string(ev.Type))
		}})
		if err != nil {
			t.Fatal(err)
		}
		go k.Run(ctx)
		synctest.Wait()
		f(t, k)
		cancel()
		synctest.Wait()
		time.Sleep(time.Minute) // folds under way
	})
}

func wait(d time.Duration) { time.Sleep(d); synctest.Wait() }

// The bubble's clock begins here.
const day = "2000-01-01"

func TestOpenAndClose(t *testing.T) {
	w := newWorld("a.example", "b.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		w.set("a.example", health.Suspect)
		wait(time.Minute)
		if got := w.log(); got != "" {
			t.Fatalf("a suspicion opened %s", got)
		}
		w.set("a.example", health.Down)
		wait(time.Second)
		if id, ok := k.Outage("a.example"); !ok || id != day+"-a.example" {
			t.Fatalf("outage %q", id)
		}
		k.Kept([]string{"a.example"}, "primary down")
		w.setPending("a.example", 3)
		w.set("a.example", health.Recovering)
		wait(time.Minute)
		w.set("a.example", health.Up)
		wait(time.Minute)
		if got := w.log(); got != "opened "+day+"-a.example" {
			t.Fatalf("events %s, want it open while mail is pending", got)
		}
		w.setPending("a.example", 0)
		wait(3 * time.Second)
		want := "opened " + day + "-a.example, closed " + day + "-a.example"
		if got := w.log(); got != want {
			t.Fatalf("events %s", got)
		}
		if _, ok := k.Outage("a.example"); ok {
			t.Fatal("still open")
		}
		w.set("a.example", health.Down)
		wait(time.Second)
		w.set("a.example", health.Up)
		wait(time.Minute)
		want += ", opened " + day + "-a.example-2, closed " + day + "-a.example-2"
		if got := w.log(); got != want {
			t.Fatalf("events %s, want %s", got, want)
		}
		if got := fmt.Sprint(w.told); got != "[outage-opened outage-closed outage-opened outage-closed]" {
			t.Fatalf("told %s", got)
		}
	})
}

func TestKeptWhileUp(t *testing.T) {
	w := newWorld("a.example")
	w.lag = 10 * time.Second // the index is far behind
	run(t, w, func(t *testing.T, k *Keeper) {
		for range 50 {
			k.Kept([]string{"a.example"}, "all connections are in use")
			wait(100 * time.Millisecond)
		}
		if got := w.log(); got != "opened "+day+"-a.example" {
			t.Fatalf("events %s, want one", got)
		}
		wait(30 * time.Second)
		if got := w.log(); got != "opened "+day+"-a.example, closed "+day+"-a.example" {
			t.Fatalf("events %s", got)
		}
		// Closed, though the index doesn't know it yet, and another entry comes: a new one.
		k.Kept([]string{"a.example"}, "x")
		wait(5 * time.Second)
		if id, ok := k.Outage("a.example"); !ok || id != day+"-a.example-2" {
			t.Fatalf("outage %q %v; events %s", id, ok, w.log())
		}
	})
}

func TestStoreDown(t *testing.T) {
	w := newWorld("a.example")
	w.down = errors.Join(spool.ErrVoid, spool.ErrStoreDown)
	run(t, w, func(t *testing.T, k *Keeper) {
		w.set("a.example", health.Down)
		wait(time.Minute)
		if len(w.told) != 0 {
			t.Fatal("told of what isn't recorded")
		}
		w.mu.Lock()
		w.down = nil
		w.mu.Unlock()
		wait(2 * time.Second)
		if got := w.log(); got != "opened "+day+"-a.example" {
			t.Fatalf("events %q", got)
		}
	})
}

// TestIndexBehind: nothing is pending as far as the index knows, but it doesn't know yet.
func TestIndexBehind(t *testing.T) {
	w := newWorld("a.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		lag := func(n int, since time.Time) { w.mu.Lock(); defer w.mu.Unlock(); w.behind, w.behindSince = n, since }
		lag(0, time.Now()) // it hasn't looked yet
		w.set("a.example", health.Down)
		wait(time.Second)
		w.set("a.example", health.Up)
		wait(time.Minute)
		k.Kept([]string{"a.example"}, "x")
		lag(7, time.Now().Add(-time.Millisecond))
		wait(time.Minute)
		if got := w.log(); got != "opened "+day+"-a.example" {
			t.Fatalf("events %s", got)
		}
		lag(3, time.Now()) // under load it is always a little behind
		wait(2 * time.Second)
		if got := w.log(); got != "opened "+day+"-a.example, closed "+day+"-a.example" {
			t.Fatalf("events %s", got)
		}
	})
}

// TestNoLongerHosted: the outage of a domain that a reload removed ends when nothing is pending for it, even if that was
// kept after the reload, in a transaction that had begun before.
func TestNoLongerHosted(t *testing.T) {
	w := newWorld("a.example", "b.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		w.mu.Lock()
		delete(w.states, "a.example")
		w.mu.Unlock()
		k.Kept([]string{"a.example"}, "primary down")
		w.setPending("a.example", 1)
		wait(time.Minute)
		want := "opened " + day + "-a.example"
		if got := w.log(); got != want {
			t.Fatalf("events %s", got)
		}
		w.setPending("a.example", 0) // removed by an admin
		wait(5 * time.Second)
		if got := w.log(); got != want+", closed "+day+"-a.example" {
			t.Fatalf("events %s", got)
		}
	})
}

// TestAfterKill: a process was killed between keeping mail and telling of it, another found its primary down.
// TestIdTaken: an index that is being made anew doesn't know yet that the day's first outage was long ago
// opened and closed. Once it does, the present one gets an id of its own and is closed in its time.
func TestIdTaken(t *testing.T) {
	w := newWorld("a.example")
	w.lag = 10 * time.Second
	run(t, w, func(t *testing.T, k *Keeper) {
		w.set("a.example", health.Down)
		k.Kept([]string{"a.example"}, "primary down")
		w.setPending("a.example", 1)
		wait(time.Second)
		want := "opened " + day + "-a.example"
		if got := w.log(); got != want {
			t.Fatalf("events %s", got)
		}
		w.mu.Lock()
		w.outages = append(w.outages, index.Outage{ID: day + "-a.example", Domain: "a.example", Opened: time.Now().Add(-2 * time.Hour), Closed: time.Now().Add(-time.Hour)})
		w.mu.Unlock()
		wait(time.Minute)
		want += ", opened " + day + "-a.example-2"
		if got := w.log(); got != want {
			t.Fatalf("events %s, want another outage", got)
		}
		if id, ok := k.Outage("a.example"); !ok || id != day+"-a.example-2" {
			t.Errorf("outage %q", id)
		}
		w.setPending("a.example", 0)
		w.set("a.example", health.Up)
		wait(time.Minute)
		want += ", closed " + day + "-a.example-2"
		if got := w.log(); got != want {
			t.Errorf("events %s", got)
		}
	})
}

func TestAfterKill(t *testing.T) {
	w := newWorld("a.example", "b.example", "c.example")
	w.pending["a.example"] = 1
	w.states["b.example"] = health.Record{State: health.Down}
	run(t, w, func(t *testing.T, k *Keeper) {
		wait(time.Second)
		if got := w.log(); got != "opened "+day+"-a.example, opened "+day+"-b.example" {
			t.Fatalf("events %s", got)
		}
	})
}

func TestDeclare(t *testing.T) {
	w := newWorld("a.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		ctx := t.Context()
		until := time.Now().Add(15 * time.Minute)
		for _, d := range []health.Declaration{
			{Target: "z.example", Until: until}, {Target: "x@z.example", Until: until}, {Target: "not a domain", Until: until},
			{Target: "a@b@a.example", Until: until}, {Target: "a.example"}, {Target: "a.example", Until: time.Now().Add(40 * 24 * time.Hour)},
		} {
			if err := k.Declare(ctx, d); err == nil {
				t.Errorf("%+v was taken", d)
			}
		}
		if err := k.Declare(ctx, health.Declaration{Target: "Me@A.Example", Until: until, By: "admin root", Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		if got := w.log(); got != "declared me@a.example" || w.inForce() != "me@a.example" {
			t.Fatalf("events %s, in force %s", got, w.inForce())
		}
		wait(5 * time.Second)
		if ok, err := k.End(ctx, "me@a.EXAMPLE", "admin root"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		wait(5 * time.Second)
		if ok, err := k.End(ctx, "me@a.example", "admin root"); ok || err != nil {
			t.Fatal(ok, err)
		}
		if got := w.log(); got != "declared me@a.example, declare-ended me@a.example" || w.inForce() != "" {
			t.Fatalf("events %s, in force %q", got, w.inForce())
		}
		w.mu.Lock()
		w.down = spool.ErrVoid
		w.mu.Unlock()
		err := k.Declare(ctx, health.Declaration{Target: "a.example", Until: until})
		if !errors.Is(err, ErrNotRecorded) || w.inForce() != "a.example" || len(w.noted) != 1 {
			t.Fatalf("%v, in force %q, noted %v", err, w.inForce(), w.noted)
		}
		wait(time.Minute)
		if w.inForce() != "a.example" {
			t.Fatal("what isn't recorded yet was ended because the index doesn't show it")
		}
	})
}

// TestDeclaredElsewhere: what other nodes declare and end comes into force here, and a restart forgets nothing.
func TestDeclaredElsewhere(t *testing.T) {
	w := newWorld("a.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		other := func(typ spool.EventType, until time.Duration) {
			if err := w.Record(t.Context(), spool.Event{Type: typ, Domain: "a.example", Until: time.Now().Add(until), By: "admin x"}); err != nil {
				t.Fatal(err)
			}
			wait(2 * time.Second)
		}
		other(spool.Declared, time.Hour)
		if w.inForce() != "a.example" {
			t.Fatal("not in force here")
		}
		if ok, err := k.End(t.Context(), "a.example", "admin y"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		synctest.Wait()
		wait(100 * time.Millisecond) // the index still shows it
		if w.inForce() != "" {
			t.Fatal("came back although it was ended here")
		}
		wait(5 * time.Second)
		other(spool.Declared, time.Hour)
		if w.inForce() != "a.example" {
			t.Fatal("a new one isn't in force here")
		}
		other(spool.DeclareEnded, 0)
		if w.inForce() != "" {
			t.Fatal("not ended here")
		}
		// One that was extended elsewhere.
		other(spool.Declared, time.Hour)
		other(spool.Declared, 2*time.Hour)
		if left := time.Until(w.force["a.example"].Until); left < time.Hour {
			t.Fatalf("%v left, want the later end", left)
		}
		// Past ones aren't declared.
		other(spool.DeclareEnded, 0)
		other(spool.Declared, -time.Hour)
		if w.inForce() != "" {
			t.Fatal("one of the past is in force")
		}
	})
}

// TestDeclaredInTheFuture: what was declared by a clock that was years ahead can be ended today.
func TestDeclaredInTheFuture(t *testing.T) {
	w := newWorld("a.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		ahead := time.Now().AddDate(4, 0, 0)
		ev := spool.Event{Type: spool.Declared, Domain: "a.example", Time: ahead, Until: ahead.Add(time.Hour)}
		if err := w.Record(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
		wait(5 * time.Second)
		if got := w.inForce(); got != "a.example" {
			t.Fatalf("in force: %q", got)
		}
		if ok, err := k.End(t.Context(), "a.example", "admin root"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		wait(10 * time.Second)
		if got := w.inForce(); got != "" {
			t.Errorf("in force after its end: %q", got)
		}
	})
}

// TestReleased: what an admin releases from an outage that is over belongs to that one and opens none.
func TestReleased(t *testing.T) {
	w := newWorld("a.example")
	w.pending["a.example"], w.earlier["a.example"] = 2, 2
	run(t, w, func(t *testing.T, k *Keeper) {
		wait(3 * sweepEvery)
		if got := w.log(); got != "" {
			t.Fatalf("events %s", got)
		}
		w.mu.Lock()
		w.pending["a.example"] = 3
		w.mu.Unlock()
		wait(2 * sweepEvery)
		if got := w.log(); got != "opened "+day+"-a.example" {
			t.Fatalf("events %s", got)
		}
	})
}

// TestStray: mail that was kept here after another node had closed the outage, and delivered before this one heard of that, has an outage of
// its own, which began when it was received.
func TestStray(t *testing.T) {
	w := newWorld("a.example")
	run(t, w, func(t *testing.T, k *Keeper) {
		w.set("a.example", health.Down)
		wait(time.Second)
		w.set("a.example", health.Up)
		wait(time.Minute)
		closed := w.outages[0].Closed
		w.mu.Lock()
		w.stray["a.example"] = closed.Add(-time.Second) // that would be the former's
		w.mu.Unlock()
		wait(2 * sweepEvery)
		if got, want := w.log(), "opened "+day+"-a.example, closed "+day+"-a.example"; got != want {
			t.Fatalf("events %s, want %s", got, want)
		}
		received := closed.Add(time.Second)
		w.mu.Lock()
		w.stray["a.example"] = received
		w.mu.Unlock()
		wait(2 * sweepEvery)
		id := day + "-a.example-2"
		if got := w.log(); !strings.HasSuffix(got, ", opened "+id+", closed "+id) {
			t.Fatalf("events %s", got)
		}
		if got := w.events[2].Data[spool.OutageSince]; got != received.Format(time.RFC3339Nano) {
			t.Errorf("it began at %v, want %v", got, received)
		}
		w.mu.Lock()
		delete(w.stray, "a.example")
		w.mu.Unlock()
	})
}
