package submit

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/replay"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
	"restante/spool/index"
)

// primary is a domain's mail server on port 25, with the replay of the domain to it.
type primary struct {
	host *sink.Server
	stop func()
}

// withPrimary runs replay of the hosted domain beside the service, as app does.
func (r *rig) withPrimary(faults sink.Faults) *primary {
	r.t.Helper()
	p := &primary{host: sink.New(sink.Options{Strict: true, Keep: true, Faults: faults})}
	if err := p.host.Start(); err != nil {
		r.t.Fatal(err)
	}
	m, err := health.New(health.Options{Dialer: &smtpc.Dialer{Hostname: "mx2.example.test"},
		Domains: []health.Domain{{Name: hosted, Primary: []string{p.host.Addr()}, TLS: smtpc.TLSPolicy{Mode: smtpc.TLSNone}, Interval: 100 * time.Millisecond}}})
	if err != nil {
		r.t.Fatal(err)
	}
	mine := func(p *spool.Pair) bool { return !r.service.Takes(p) }
	e, err := replay.New(replay.Options{Spool: replay.FromSpool(r.spool), Index: replay.Only(r.index, mine), Health: m, Hold: r.service.Hold,
		Domains: []replay.Domain{{Name: hosted}}, Config: replay.Config{BackoffMin: 50 * time.Millisecond}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { m.Run(ctx); ended <- struct{}{} }()
	go func() {
		if err := e.Run(ctx); err != nil {
			r.t.Error(err)
		}
		ended <- struct{}{}
	}()
	p.stop = func() { cancel(); <-ended; <-ended; p.host.Stop() }
	return p
}

// hold is a held message for Anna, as a sender from outside left it.
func (r *rig) hold() {
	r.t.Helper()
	body := spool.NewBody("", 1<<20)
	defer body.Close()
	if _, err := body.Write([]byte("Subject: from outside\r\n\r\nhello\r\n")); err != nil {
		r.t.Fatal(err)
	}
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now().UTC(), From: "kunde@example.org", Rcpts: []spool.Recipient{{Address: anna, Domain: hosted}}}
	if err := r.spool.Append(r.t.Context(), e, nil, body); err != nil {
		r.t.Fatal(err)
	}
}

// Without a submission server, mail to colleagues and copies go where held mail goes, DKIM-signed.
func TestLocalByReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	var z zone
	z.publish(generate(t, r, "s1")...)
	r.run()
	p := r.withPrimary(sink.Faults{})
	defer p.stop()
	r.hold()
	m := r.submission("bob@example.test", "kunde@example.org")
	m.Delay = 300 * time.Millisecond
	res := r.submit(m)
	for _, kind := range []spool.Kind{spool.Held, spool.Local, spool.Copy, spool.Outbound} {
		r.state(kind, spool.StateDelivered, 1)
	}
	got := p.host.Messages()
	if len(got) != 3 || len(r.host.Messages()) != 1 {
		t.Fatalf("%d at the primary, %d at the smarthost", len(got), len(r.host.Messages()))
	}
	for _, g := range got {
		if g.From == "kunde@example.org" {
			continue
		}
		if g.Received.Before(res.NotBefore) {
			t.Error("before its time")
		}
		if good, bad := z.verify(t, g.Data); len(good) != 2 || g.User != "" {
			t.Errorf("%v %v as %q", good, bad, g.User)
		}
		if isCopy := bytes.HasPrefix(g.Data, []byte(CopyField)); isCopy != slices.Contains(g.Rcpts, anna) {
			t.Errorf("to %v:\n%s", g.Rcpts, g.Data)
		}
	}
	if v := p.host.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// With one, they go there after authentication, and held mail goes to the primary as ever, which refuses its own domain from outside.
func TestLocalBySubmission(t *testing.T) {
	t.Parallel()
	way := sink.New(sink.Options{Strict: true, Keep: true, Login: func(u, p string) bool { return u == "relay" && p == pass }})
	if err := way.Start(); err != nil {
		t.Fatal(err)
	}
	defer way.Stop()
	r := newRig(t, sink.Options{}, func(o *Options) {})
	server := r.server(way, false)
	c := r.options.Config
	c.Submission = map[string]Server{hosted: server}
	if err := r.service.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	r.run()
	p := r.withPrimary(sink.Faults{Rules: []sink.Rule{{Stage: sink.StageMail, Match: "@example.test", Reply: "550 5.7.1 that is us"}}})
	defer p.stop()
	r.hold()
	r.submit(r.submission("bob@example.test", "kunde@example.org"))
	for _, kind := range []spool.Kind{spool.Held, spool.Local, spool.Copy, spool.Outbound} {
		r.state(kind, spool.StateDelivered, 1)
	}
	if n, m := len(way.Messages()), len(p.host.Messages()); n != 2 || m != 1 || way.Messages()[0].User != "relay" {
		t.Errorf("%d by submission, %d at the primary", n, m)
	}
	r.eventually("told in the status", func() bool { // a probe may find a busy machine slow
		st, err := r.service.Status(t.Context())
		return err == nil && len(st.Servers) == 2 && st.Servers[1].Domain == hosted && st.Servers[1].State == health.Up && st.LastDay == (Tally{Sent: 1, Delivered: 1})
	})
	if v := append(way.Violations(), p.host.Violations()...); len(v) > 0 {
		t.Error(v)
	}
}

// A domain that is declared down gets nothing by submission either.
func TestDeclaredDown(t *testing.T) {
	t.Parallel()
	down := make(chan struct{})
	r := newRig(t, sink.Options{}, func(o *Options) {
		o.Declared = func(target string) (health.Declaration, bool) {
			select {
			case <-down:
				return health.Declaration{}, false
			default:
				return health.Declaration{Target: target}, target == hosted
			}
		}
	})
	c := r.options.Config
	c.Submission = map[string]Server{hosted: *c.Smarthost}
	if err := r.service.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.submit(r.submission("bob@example.test", "kunde@example.org"))
	r.state(spool.Outbound, spool.StateDelivered, 1)
	if ps := append(r.pairs(spool.Local), r.pairs(spool.Copy)...); ps[0].State != spool.StatePending || ps[1].State != spool.StatePending {
		t.Errorf("%+v", ps)
	}
	close(down)
	r.hold() // the index changes, as it does with the event that ends a declaration
	r.state(spool.Local, spool.StateDelivered, 1)
	r.state(spool.Copy, spool.StateDelivered, 1)
}

// While a domain changes its way nobody has its mail: what is under way the old way ends first.
func TestChangeover(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	pair := spool.Pair{Kind: spool.Local, Domain: hosted}
	want := func(takes, mine bool) {
		t.Helper()
		if r.service.Takes(&pair) != takes || r.service.mine(&pair) != mine {
			t.Errorf("takes %v mine %v, want %v %v", r.service.Takes(&pair), r.service.mine(&pair), takes, mine)
		}
	}
	want(false, false)
	with, without := r.options.Config, r.options.Config
	with.Submission = map[string]Server{hosted: *with.Smarthost}
	set := func(c Config) {
		t.Helper()
		if err := r.service.SetConfig(c); err != nil {
			t.Fatal(err)
		}
	}
	set(with)
	want(true, true) // before Run nothing is under way
	set(without)
	r.service.running = true
	r.service.changed = map[string]time.Time{}
	want(false, false)
	set(with)
	want(true, false)
	r.service.changed[hosted] = time.Now().Add(-changeover)
	set(with)
	want(true, true)
	set(without)
	want(true, false)
	r.service.changed[hosted] = time.Now().Add(-changeover)
	set(without)
	want(false, false)
	r.service.running = false
	for _, held := range []spool.Pair{{Kind: spool.Held, Domain: hosted}} {
		set(with)
		if r.service.Takes(&held) {
			t.Error("held mail by submission")
		}
	}
	if err := r.service.SetConfig(Config{Smarthost: &Server{Host: "x", TLS: "ssl"}}); err == nil {
		t.Error("any TLS will do")
	}
}

// What is taken back on one node in the last moment isn't sent by another that delivers, although its index lags behind.
func TestUndoOnAnotherNode(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{})
	r.run() // this node delivers
	dir := t.TempDir()
	other, err := spool.Open(t.Context(), spool.Options{Store: r.store, DataDir: dir, Node: "other", Limits: spool.Limits{LazyWait: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(filepath.Join(dir, "index.db"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		if err := other.Follow(ctx, x); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	defer func() {
		if err := other.Close(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		<-followed
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}()
	o := r.options
	o.Spool, o.Index, o.Secrets = other, x, r.ring
	elsewhere, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var taken, sent []Submission
	for i := range 10 {
		m := r.submission("kunde@example.org")
		m.Delay = 2 * time.Second
		r.submit(m)
		if i%2 == 0 {
			sent = append(sent, m)
			continue
		}
		switch err := elsewhere.Undo(t.Context(), anna, m.Writing); {
		case errors.Is(err, ErrTooLate): // a slow machine; then it is sent
			sent = append(sent, m)
		case err != nil:
			t.Fatal(err)
		default:
			taken = append(taken, m)
		}
	}
	r.eventually("the others are sent", func() bool { return len(r.host.Messages()) >= len(sent) })
	r.eventually("all is settled", func() bool {
		for _, p := range r.pairs(spool.Outbound) {
			if p.State == spool.StatePending {
				return false
			}
		}
		return true
	})
	for _, g := range r.host.Messages() {
		for _, m := range taken {
			if bytes.HasSuffix(g.Data, m.Message) {
				t.Error("a message that was taken back went out")
			}
		}
	}
	for _, m := range sent {
		if err := elsewhere.Undo(t.Context(), anna, m.Writing); !errors.Is(err, ErrTooLate) {
			t.Error(err)
		}
	}
}
