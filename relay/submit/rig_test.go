package submit

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/spool"
	"restante/spool/blob"
	"restante/spool/blob/mem"
	"restante/spool/index"
	"restante/spool/secret"
)

const (
	hosted = "example.test"
	anna   = "anna@example.test"
	pass   = "correct horse"
)

// rig is a spool with its index and a Service over them, and a smarthost.
type rig struct {
	t       testing.TB
	dir     string
	store   blob.Store
	ring    *secret.Keyring
	spool   *spool.Spool
	index   *index.Index
	service *Service
	host    *sink.Server
	options Options
	stop    []func()
	running func() // ends Run, nil: it doesn't run

	stopFollow func() // ends following, and closes the index
}

func newRig(t testing.TB, so sink.Options, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), store: mem.New()}
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r.ring = ring
	so.Strict, so.Keep = true, true
	so.Login = func(u, p string) bool { return u == "relay" && p == pass }
	r.host = sink.New(so)
	if err := r.host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.host.Stop)
	server := r.server(r.host, so.Implicit)
	r.options = Options{Hostname: "mx2.example.test", Hosted: func(d string) bool { return d == hosted || d == "other.test" },
		Dialer: &smtpc.Dialer{Hostname: "mx2.example.test"},
		Config: Config{Smarthost: &server, RetryMin: 50 * time.Millisecond, RetryMax: 200 * time.Millisecond, Probe: 100 * time.Millisecond}}
	for _, f := range change {
		f(&r.options)
	}
	r.open()
	t.Cleanup(r.close)
	return r
}

// server is how to reach a sink.
func (r *rig) server(s *sink.Server, implicit bool) Server {
	r.t.Helper()
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		r.t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := s.Certificate()
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	server := Server{Host: host, Port: n, User: "relay", Password: pass, RootCAs: pool}
	if implicit {
		server.TLS = TLSImplicit
	}
	return server
}

// open starts spool, index and service; nothing is delivered before run.
func (r *rig) open() {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("RESTANTE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(r.t.Output(), nil))
	}
	var err error
	r.spool, err = spool.Open(r.t.Context(), spool.Options{Store: r.store, DataDir: r.dir, Log: log, Exclusive: true,
		Limits: spool.Limits{SettleTimeout: 2 * time.Second, RefusedFor: 500 * time.Millisecond, LazyWait: 50 * time.Millisecond}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.index, err = index.Open(filepath.Join(r.dir, "index.db"), index.Options{Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		if err := r.spool.Follow(ctx, r.index); err != nil && ctx.Err() == nil && !errors.Is(err, spool.ErrClosed) {
			r.t.Error(err)
		}
	}()
	o := r.options
	o.Spool, o.Index, o.Secrets, o.Log = r.spool, r.index, r.ring, log
	if r.service, err = New(o); err != nil {
		r.t.Fatal(err)
	}
	r.stopFollow = func() {
		cancel()
		<-followed
		if err := r.index.Close(); err != nil {
			r.t.Error(err)
		}
	}
	r.stop = []func(){func() {
		ctx, end := context.WithTimeout(context.Background(), 10*time.Second)
		defer end()
		if err := r.spool.Close(ctx); err != nil {
			r.t.Error(err)
		}
		r.stopFollow()
	}}
}

// run begins to deliver.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s := r.service
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
	r.running = func() { cancel(); <-done }
}

func (r *rig) close() {
	if r.running != nil {
		r.running()
		r.running = nil
	}
	for _, f := range r.stop {
		f()
	}
	r.stop = nil
}

// message is a plain message from Anna.
func message(from, to, subject string) []byte {
	return []byte(fmt.Sprintf("From: Anna <%s>\r\nTo: %s\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s@%s>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nHello,\r\n.\r\nit works.\r\n", from, to, subject, spool.NewID(), hosted))
}

func (r *rig) submission(rcpts ...string) Submission {
	return Submission{Account: anna, From: anna, Rcpts: rcpts, Writing: spool.NewID(), Message: message(anna, strings.Join(rcpts, ", "), "An offer")}
}

func (r *rig) submit(s Submission) Result {
	r.t.Helper()
	res, err := r.service.Submit(r.t.Context(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// sync waits until the index knows all.
func (r *rig) sync() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	if err := r.spool.Sync(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) view(id string) *index.View {
	r.t.Helper()
	r.sync()
	v, err := r.index.Entry(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// pairs lists all pairs of kinds.
func (r *rig) pairs(kinds ...spool.Kind) []spool.Pair {
	r.t.Helper()
	ps, _, err := r.index.List(r.t.Context(), index.Filter{Limit: 10_000})
	if err != nil {
		r.t.Fatal(err)
	}
	var list []spool.Pair
	for _, p := range ps {
		for _, k := range kinds {
			if p.Kind == k {
				list = append(list, p)
			}
		}
	}
	return list
}

// eventually waits for something that the index shows.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		changed := r.index.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-tick.C: // what isn't of the index
		case <-deadline:
			r.t.Fatalf("%s: not within 30 s; pairs %+v", what, r.pairs(spool.Outbound, spool.Local, spool.Copy))
		}
	}
}

// state waits until all pairs of a kind are in a state.
func (r *rig) state(kind spool.Kind, state spool.PairState, n int) []spool.Pair {
	r.t.Helper()
	var ps []spool.Pair
	r.eventually(fmt.Sprintf("%d %s pairs %s", n, kind, state), func() bool {
		ps = r.pairs(kind)
		for _, p := range ps {
			if p.State != state {
				return false
			}
		}
		return len(ps) == n
	})
	return ps
}

// octets is a stored message, trace fields included.
func (r *rig) octets(id string) (*spool.Entry, []byte) {
	r.t.Helper()
	v := r.view(id)
	e, body, err := r.spool.Fetch(r.t.Context(), id, v.Location)
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	b := make([]byte, body.Size())
	if _, err := body.ReadAt(b, 0); err != nil && int64(len(b)) != body.Size() {
		r.t.Fatal(err)
	}
	return e, b
}
