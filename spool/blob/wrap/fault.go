package wrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/spool/blob"
)

// Errors that a Fault gives where no other was named.
var (
	// ErrLost: the answer of a call never came; the outcome is unknown.
	ErrLost = errors.New("connection lost while waiting for the answer")
	// ErrCrashed: the process that made the calls is dead, as far as the store is concerned.
	ErrCrashed = errors.New("crashed")
	// ErrDown: the store refuses connections. Put adds blob.ErrNotWritten.
	ErrDown = errors.New("connection refused")
)

// Point is a place in a call where a Fault can strike.
type Point struct {
	Op   string // "put", "get", "list", "prefixes", "delete"
	When string // "before" the call reaches the store, or "after" it was done there and before its answer arrives
	Key  string // or prefix
	Cond blob.Cond
	N    int // number of the point since the Fault was made, from 1
}

// String is "put:before mail/s/0/1".
func (p Point) String() string { return p.Op + ":" + p.When + " " + p.Key }

// Action says what happens at a point. The zero Action: nothing. Fields are obeyed from top to bottom.
type Action struct {
	// Delay waits first, or until ctx ends.
	Delay time.Duration
	// Hang waits until ctx ends. At "before" the store never sees the call.
	Hang bool
	// Late, at put:before: Put returns Err (ErrLost if nil; with Hang when ctx ends), nothing is there for now, and the write
	// lands later: see Late.
	Late *Late
	// Err is returned. At "before" the store never sees the call, at "after" it has done it.
	Err error
	// Mangle, at get:after: changes the octets that Get gives.
	Mangle func([]byte) []byte
}

// Late says when a late Put reaches the store, with its condition: at the first of these, or by Fault.Land.
type Late struct {
	After time.Duration // from the call on; 0: not by time
	Calls int           // before the n-th later call at the same key reaches the store ("before" of it is passed); 0: not by calls
}

// Rule is an Action with the points it is for. Empty fields match all.
type Rule struct {
	Op, When string
	Prefix   string // of the key
	Skip     int    // matches that pass first
	Times    int    // matches that it then strikes; 0: all
	Action   Action
}

// Fault is a Store whose calls go wrong as told. It takes no fault of its own accord.
//
// To enumerate crash points: run once and ask Points; then for each n from 1 to that many run again with CrashAt(n),
// and let a fresh process go on with the store beneath.
type Fault struct {
	inner blob.Store

	mu      sync.Mutex
	points  []Point
	rules   []*Rule
	script  func(Point) Action
	crashAt int
	crashed chan struct{}
	down    error
	late    []*latePut
	landed  []Landed
	space   *[2]int64
}

// Landed is what became of a late Put.
type Landed struct {
	Key string
	Err error
}

type latePut struct {
	key   string
	data  []byte
	cond  blob.Cond
	calls int // left until it lands; 0: not by calls
	timer *time.Timer
}

// NewFault returns a Fault around s.
func NewFault(s blob.Store) *Fault { return &Fault{inner: s, crashed: make(chan struct{})} }

// Add adds a rule; the first that matches a point holds.
func (f *Fault) Add(r Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &r)
}

// Script lets do decide at points that no rule matches. It is called one point at a time and must not call the Fault.
func (f *Fault) Script(do func(Point) Action) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = do
}

// Clear forgets rules, script and SetDown. Late Puts still land.
func (f *Fault) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.script, f.down, f.crashAt = nil, nil, nil, 0
}

// CrashAt crashes at the n-th point, as Point.N counts.
func (f *Fault) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = n
}

// Crash crashes now: all calls under way when they reach their next point, and all later ones, get ErrCrashed.
func (f *Fault) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash()
}

func (f *Fault) crash() {
	if !f.isCrashed() {
		close(f.crashed)
	}
}

func (f *Fault) isCrashed() bool {
	select {
	case <-f.crashed:
		return true
	default:
		return false
	}
}

// Crashed is closed by a crash.
func (f *Fault) Crashed() <-chan struct{} { return f.crashed }

// SetDown makes every call fail with err at once (ErrDown is the usual one), until SetDown(nil).
func (f *Fault) SetDown(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// SetFree sets what Free says.
func (f *Fault) SetFree(free, total int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = &[2]int64{free, total}
}

// Points returns the points passed so far.
func (f *Fault) Points() []Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.points)
}

// Landed returns what became of the late Puts that have reached the store.
func (f *Fault) Landed() []Landed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.landed)
}

// Land lets all pending late Puts whose keys begin with prefix reach the store now, also after a crash.
func (f *Fault) Land(prefix string) {
	f.land(func(l *latePut) bool { return strings.HasPrefix(l.key, prefix) })
}

func (f *Fault) land(which func(*latePut) bool) {
	f.mu.Lock()
	var due []*latePut
	f.late = slices.DeleteFunc(f.late, func(l *latePut) bool {
		if which(l) {
			due = append(due, l)
			return true
		}
		return false
	})
	f.mu.Unlock()
	for _, l := range due {
		if l.timer != nil {
			l.timer.Stop()
		}
		_, err := f.inner.Put(context.Background(), l.key, bytes.NewReader(l.data), l.cond)
		f.mu.Lock()
		f.landed = append(f.landed, Landed{Key: l.key, Err: err})
		f.mu.Unlock()
	}
}

// at passes a point: it notes it, finds its action and does all of it that is the same for every call. The error is the call's.
func (f *Fault) at(ctx context.Context, p Point) (Action, error) {
	a, err := f.find(&p)
	if err != nil {
		return a, err
	}
	if a.Delay > 0 {
		t := time.NewTimer(a.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return a, fmt.Errorf("%s: %w", p, context.Cause(ctx))
		}
	}
	if a.Late != nil {
		return a, nil // Put goes on
	}
	if a.Hang {
		return a, f.hang(ctx, p, a.Err)
	}
	if a.Err != nil {
		return a, fmt.Errorf("%s: %w", p, a.Err)
	}
	if f.isCrashed() { // while delayed
		return a, fmt.Errorf("%s: %w", p, ErrCrashed)
	}
	return a, nil
}

func (f *Fault) hang(ctx context.Context, p Point, err error) error {
	select {
	case <-ctx.Done():
		if err == nil {
			err = context.Cause(ctx)
		}
	case <-f.crashed:
		err = ErrCrashed
	}
	return fmt.Errorf("%s: %w", p, err)
}

// find notes the point and returns what is to happen.
func (f *Fault) find(p *Point) (Action, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.N = len(f.points) + 1
	f.points = append(f.points, *p)
	if p.N == f.crashAt {
		f.crash()
	}
	a := f.action(*p)
	if f.isCrashed() {
		return a, fmt.Errorf("%s: %w", p, ErrCrashed)
	}
	if f.down != nil && p.When == before {
		err := fmt.Errorf("%s: %w", p, f.down)
		if p.Op == opPut && errors.Is(err, ErrDown) {
			err = fmt.Errorf("%w: %w", err, blob.ErrNotWritten)
		}
		return a, err
	}
	return a, nil
}

func (f *Fault) action(p Point) Action {
	for _, r := range f.rules {
		if r.Op != "" && r.Op != p.Op || r.When != "" && r.When != p.When || !strings.HasPrefix(p.Key, r.Prefix) {
			continue
		}
		if r.Skip > 0 {
			r.Skip--
			continue
		}
		if r.Times < 0 {
			continue // used up
		}
		if r.Times > 0 {
			if r.Times--; r.Times == 0 {
				r.Times = -1
			}
		}
		return r.Action
	}
	if f.script != nil {
		return f.script(p)
	}
	return Action{}
}

const (
	before = "before"
	after  = "after"

	opPut      = "put"
	opGet      = "get"
	opList     = "list"
	opPrefixes = "prefixes"
	opDelete   = "delete"
)

// call passes both points of a call around do.
func (f *Fault) call(ctx context.Context, p Point, do func() error) (Action, error) {
	p.When = before
	if a, err := f.at(ctx, p); err != nil {
		return a, err
	}
	f.countCall(p.Key)
	if err := do(); err != nil {
		return Action{}, err
	}
	p.When = after
	return f.at(ctx, p)
}

// countCall lands the late Puts that wait for this call.
func (f *Fault) countCall(key string) {
	f.land(func(l *latePut) bool {
		if l.key != key || l.calls == 0 {
			return false
		}
		l.calls--
		return l.calls == 0
	})
}

// Put implements blob.Store.
func (f *Fault) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (etag string, err error) {
	p := Point{Op: opPut, When: before, Key: key, Cond: cond}
	a, err := f.at(ctx, p)
	if err != nil {
		return "", err
	}
	if a.Late != nil {
		return "", f.putLate(ctx, p, body, a)
	}
	f.countCall(key)
	if etag, err = f.inner.Put(ctx, key, body, cond); err != nil {
		return "", err
	}
	p.When = after
	if _, err := f.at(ctx, p); err != nil {
		return "", err
	}
	return etag, nil
}

func (f *Fault) putLate(ctx context.Context, p Point, body blob.Body, a Action) error {
	if err := blob.CheckPut(ctx, p.Key, p.Cond); err != nil {
		return err
	}
	data := make([]byte, body.Size())
	if _, err := body.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: body: %w: %w", p, err, blob.ErrNotWritten)
	}
	l := &latePut{key: p.Key, data: data, cond: p.Cond, calls: a.Late.Calls}
	f.mu.Lock()
	f.late = append(f.late, l)
	if a.Late.After > 0 {
		l.timer = time.AfterFunc(a.Late.After, func() { f.land(func(x *latePut) bool { return x == l }) })
	}
	f.mu.Unlock()
	if a.Hang {
		return f.hang(ctx, p, a.Err)
	}
	if a.Err != nil {
		return fmt.Errorf("%s: %w", p, a.Err)
	}
	return fmt.Errorf("%s: %w", p, ErrLost)
}

// Get implements blob.Store.
func (f *Fault) Get(ctx context.Context, key string, r blob.Range) (rd io.ReadCloser, info blob.Info, err error) {
	a, err := f.call(ctx, Point{Op: opGet, Key: key}, func() error {
		rd, info, err = f.inner.Get(ctx, key, r)
		return err
	})
	if err == nil && a.Mangle != nil {
		var data []byte
		data, err = io.ReadAll(rd)
		rd.Close()
		rd = io.NopCloser(bytes.NewReader(a.Mangle(data)))
		if err == nil {
			return rd, info, nil
		}
	}
	if err != nil {
		if rd != nil {
			rd.Close()
		}
		return nil, blob.Info{}, err
	}
	return rd, info, nil
}

// List implements blob.Store. Its "after" is when all has been listed.
func (f *Fault) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return faulty(ctx, f, Point{Op: opList, Key: prefix}, f.inner.List(ctx, prefix, after))
}

// Prefixes implements blob.Store. Its "after" is when all has been listed.
func (f *Fault) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return faulty(ctx, f, Point{Op: opPrefixes, Key: prefix}, f.inner.Prefixes(ctx, prefix))
}

func faulty[T any](ctx context.Context, f *Fault, p Point, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := false
		_, err := f.call(ctx, p, func() error {
			for v, err := range all {
				if err != nil {
					return err
				}
				if !yield(v, nil) {
					stopped = true
					break
				}
			}
			return nil
		})
		if err != nil && !stopped {
			var zero T
			yield(zero, err)
		}
	}
}

// Delete implements blob.Store.
func (f *Fault) Delete(ctx context.Context, key string) error {
	_, err := f.call(ctx, Point{Op: opDelete, Key: key}, func() error { return f.inner.Delete(ctx, key) })
	return err
}

// Free implements blob.Spacer.
func (f *Fault) Free(ctx context.Context) (free, total int64, err error) {
	f.mu.Lock()
	space := f.space
	f.mu.Unlock()
	if space != nil {
		return space[0], space[1], nil
	}
	return blob.Space(ctx, f.inner)
}

// Close closes the store beneath.
func (f *Fault) Close() error { return blob.Close(f.inner) }

// String implements blob.Store.
func (f *Fault) String() string { return f.inner.String() }

// Garble is a Mangle that gives other octets altogether, of the same number.
func Garble(b []byte) []byte { return bytes.Repeat([]byte("garbage "), len(b)/8+1)[:len(b)] }

// Cut is a Mangle that drops the second half.
func Cut(b []byte) []byte { return b[:len(b)/2] }
