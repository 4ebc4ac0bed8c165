// Package notify tells people what happens, by a program that gets JSON on its stdin, by an address that
// JSON is posted to, and tells a watchdog each minute that mail is accepted and kept.
//
// Nothing waits for it: notices go into a bounded queue, the oldest is dropped when it is full, and the
// number dropped goes out with the next one. Each way is tried several times.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	"restante/spool"
)

// Kind says what a Notice is about.
type Kind string

// The kinds of Notice.
const (
	Down           Kind = "down"            // a primary counts as down: mail is kept
	Up             Kind = "up"              // it takes mail again
	RefusesUs      Kind = "refuses-us"      // it is up, but not for us: a ban, a blocklist
	Parked         Kind = "parked"          // a message was refused for good and needs a person
	Quarantined    Kind = "quarantined"     // a message waits for an admin's release
	ReplayFinished Kind = "replay-finished" // all that was kept is handed over
	ReplayPaused   Kind = "replay-paused"   // replay doesn't go on by itself
	ReplayResumed  Kind = "replay-resumed"  //
	StoreFailing   Kind = "store-failing"   // mail can't be kept
	StoreOK        Kind = "store-ok"        // it can again
	Stranded       Kind = "stranded"        // mail is kept for a domain that isn't in the configuration
	DiskFilling    Kind = "disk"            // 80 % of a disk is full
	Report         Kind = "outage-report"   // an outage has ended: its sums and the chain's head
	Test           Kind = "test"
)

// Notice is what is sent, as one JSON object.
type Notice struct {
	Kind    Kind           `json:"kind"`
	Time    time.Time      `json:"time"`
	Host    string         `json:"host"` // our hostname
	Domain  string         `json:"domain,omitempty"`
	Text    string         `json:"text"` // one line for people
	Data    map[string]any `json:"data,omitempty"`
	Dropped int            `json:"dropped,omitempty"` // notices lost before this one, since the queue was full
}

// Config names the ways.
type Config struct {
	Command      []string
	URL          string
	HeartbeatURL string
	Timeout      time.Duration // for one attempt; 0: 10 s
}

// Options are what New needs.
type Options struct {
	Config   Config
	Hostname string
	Healthy  func() bool // mail is accepted and kept: the heartbeat goes out; nil: always
	Log      *slog.Logger
	HTTP     *http.Client // nil: one of our own
}

// Limits.
const (
	queueLen      = 256
	outputMax     = 4 << 10 // octets of a program's output that an error shows
	beatEvery     = time.Minute
	redirectsMost = 5
)

// pauses between attempts.
var pauses = []time.Duration{time.Second, 10 * time.Second, time.Minute}

// Notifier sends notices. Its methods may be called from any goroutine.
type Notifier struct {
	o Options

	mu      sync.Mutex
	config  Config
	queue   []Notice
	dropped int
	wake    chan struct{} // cap 1
}

// New returns a Notifier; nothing is sent before Run.
func New(o Options) *Notifier {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) >= redirectsMost {
				return errors.New("too many redirects")
			}
			return nil
		}}
	}
	return &Notifier{o: o, config: o.Config, wake: make(chan struct{}, 1)}
}

// SetConfig changes the ways from the next notice on.
func (n *Notifier) SetConfig(c Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.config = c
}

func (n *Notifier) current() Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.config
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// Send queues a notice and never blocks.
func (n *Notifier) Send(what Notice) {
	if what.Time.IsZero() {
		what.Time = time.Now()
	}
	what.Host = n.o.Hostname
	n.mu.Lock()
	if len(n.queue) >= queueLen {
		n.queue = n.queue[1:]
		n.dropped++
	}
	n.queue = append(n.queue, what)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Notifier) next() (Notice, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) == 0 {
		return Notice{}, false
	}
	first := n.queue[0]
	n.queue = n.queue[1:]
	first.Dropped, n.dropped = n.dropped, 0
	return first, true
}

// Run sends what is queued, and the heartbeat, until ctx ends; then what is queued is tried once more, within one timeout.
func (n *Notifier) Run(ctx context.Context) {
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		n.beat(ctx)
	}()
	for ctx.Err() == nil {
		what, ok := n.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-n.wake:
			}
			continue
		}
		n.deliver(ctx, what)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.current().Timeout)
	defer cancel()
	for what, ok := n.next(); ok && last.Err() == nil; what, ok = n.next() {
		n.once(last, what)
	}
	<-beats
}

// deliver tries every way, each until it has worked or the pauses are used up.
func (n *Notifier) deliver(ctx context.Context, what Notice) {
	left := n.ways()
	for i := 0; ; i++ {
		var failed []way
		for _, w := range left {
			if err := w.send(ctx, what); err != nil {
				n.o.Log.Warn("notification failed", "way", w.name, "kind", what.Kind, "attempt", i+1, "error", err)
				failed = append(failed, w)
			}
		}
		if left = failed; len(left) == 0 || i >= len(pauses) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pauses[i]):
		}
	}
}

func (n *Notifier) once(ctx context.Context, what Notice) {
	for _, w := range n.ways() {
		if err := w.send(ctx, what); err != nil {
			n.o.Log.Warn("notification failed", "way", w.name, "kind", what.Kind, "error", err)
		}
	}
}

// way is one way to send.
type way struct {
	name string
	send func(context.Context, Notice) error
}

func (n *Notifier) ways() []way {
	c := n.current()
	var list []way
	if len(c.Command) > 0 {
		list = append(list, way{"command", func(ctx context.Context, what Notice) error { return command(ctx, c, what) }})
	}
	if c.URL != "" {
		list = append(list, way{"url", func(ctx context.Context, what Notice) error { return n.post(ctx, c, what) }})
	}
	return list
}

// Outcome is one way with what became of a test.
type Outcome struct {
	Way string
	Err error
}

// Test sends a notice along every way now, and the heartbeat, and says how it went.
func (n *Notifier) Test(ctx context.Context, by string) []Outcome {
	what := Notice{Kind: Test, Time: time.Now(), Host: n.o.Hostname, Text: "This is a test, asked for by " + by + "."}
	var list []Outcome
	for _, w := range n.ways() {
		list = append(list, Outcome{w.name, w.send(ctx, what)})
	}
	if c := n.current(); c.HeartbeatURL != "" {
		list = append(list, Outcome{"heartbeat_url", n.get(ctx, c)})
	}
	return list
}

// command runs the program with the notice on its stdin.
func command(ctx context.Context, c Config, what Notice) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Stdin = bytes.NewReader(append(text, '\n'))
	out := &capped{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // for its children that hold the pipes open
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: not done within %s", c.Command[0], spool.ExactSpan(c.Timeout))
		}
		return fmt.Errorf("%s: %w %s", c.Command[0], err, strings.TrimSpace(out.String()))
	}
	return nil
}

// capped keeps the first octets written to it.
type capped struct{ bytes.Buffer }

// Write implements io.Writer.
func (c *capped) Write(p []byte) (int, error) {
	if room := outputMax - c.Len(); room > 0 {
		c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (n *Notifier) post(ctx context.Context, c Config, what Notice) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(text))
	if err != nil {
		return errors.New("the url can't be used")
	}
	req.Header.Set("Content-Type", "application/json")
	return n.do(req)
}

func (n *Notifier) get(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.HeartbeatURL, http.NoBody)
	if err != nil {
		return errors.New("the heartbeat_url can't be used")
	}
	return n.do(req)
}

// do makes the request. Its error never shows the path of the address: it is as good as a password.
func (n *Notifier) do(req *http.Request) error {
	req.Header.Set("User-Agent", "restante")
	resp, err := n.o.HTTP.Do(req)
	if err != nil {
		for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(u) {
			err = u
		}
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, outputMax); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("%s answered %s", req.URL.Host, resp.Status)
	}
	return nil
}

// beat calls the heartbeat each minute while mail is accepted and kept.
func (n *Notifier) beat(ctx context.Context) {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		if c := n.current(); c.HeartbeatURL != "" && (n.o.Healthy == nil || n.o.Healthy()) {
			if err := n.get(ctx, c); err != nil && ctx.Err() == nil {
				n.o.Log.Warn("heartbeat failed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
