package pass

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/relay/health"
	"restante/relay/mailaddr"
	"restante/relay/reply"
	"restante/relay/sink"
	"restante/relay/smtpc"
	"restante/relay/smtpd"
	"restante/spool"
)

// fakeSpool keeps entries in memory.
type fakeSpool struct {
	mu        sync.Mutex
	down      error // of Available
	fail      error // of Append; with kept set it keeps all the same
	keepsFail bool
	entries   []spool.Entry
	bodies    []string
	expecting int
	asked     int // Available
}

func (s *fakeSpool) Available() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.down
}

func (s *fakeSpool) Expect() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expecting++
	return sync.OnceFunc(func() { s.mu.Lock(); defer s.mu.Unlock(); s.expecting-- })
}

func (s *fakeSpool) Append(_ context.Context, e *spool.Entry, tr []byte, body *spool.Body) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil && !s.keepsFail {
		return s.fail
	}
	b, err := io.ReadAll(body.Reader())
	if err != nil {
		return err
	}
	kept := *e
	kept.TraceSize = len(tr)
	s.entries = append(s.entries, kept)
	s.bodies = append(s.bodies, string(tr)+string(b))
	return s.fail
}

// fakePrimaries gives each domain a state and the address of a sink.
type fakePrimaries struct {
	mu       sync.Mutex
	state    map[string]health.Record
	addr     map[string]string
	offers   map[string]smtpc.Offers
	declared map[string]bool
	seen     []string // "domain kind"
	dials    int
	dialer   smtpc.Dialer
}

func (p *fakePrimaries) State(d string) health.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state[d]
}

func (p *fakePrimaries) Key(d string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr[d]
}

func (p *fakePrimaries) Offers(d string) (smtpc.Offers, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.offers[d]
	return o, ok
}

func (p *fakePrimaries) Declared(a string) (health.Declaration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return health.Declaration{Target: a}, p.declared[strings.ToLower(a)]
}

func (p *fakePrimaries) Dial(ctx context.Context, d string) (*smtpc.Conn, error) {
	p.mu.Lock()
	p.dials++
	host, port, err := net.SplitHostPort(p.addr[d])
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	return p.dialer.Dial(ctx, smtpc.Target{Host: host, Port: n, TLS: smtpc.TLSPolicy{Mode: smtpc.TLSNone}})
}

func (p *fakePrimaries) Observe(d string, o health.Observation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, d+" "+string(o.Kind))
	p.state[d] = health.Step(p.state[d], o, time.Now())
}

func (p *fakePrimaries) set(d string, s health.State, took bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state[d] = health.Record{State: s, TookMail: took}
}

// saw returns the observations and forgets them.
func (p *fakePrimaries) saw() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.seen, ", ")
	p.seen = nil
	return s
}

type knownMap map[string]bool

func (k knownMap) Known(_ context.Context, a string) (bool, error) { return k[a], nil }

const domA, domB = "a.example", "b.example"

// rig is a Handler before one sink, the primary of both domains unless told otherwise.
type rig struct {
	*Handler
	t     testing.TB
	sink  *sink.Server
	spool *fakeSpool
	prim  *fakePrimaries
	known knownMap
	kept  []string
	notes []spool.Event
	mu    sync.Mutex
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, spool: &fakeSpool{}, known: knownMap{}}
	r.sink = r.newSink()
	r.prim = &fakePrimaries{
		state:    map[string]health.Record{domA: {State: health.Up, TookMail: true}, domB: {State: health.Up, TookMail: true}},
		addr:     map[string]string{domA: r.sink.Addr(), domB: r.sink.Addr()},
		offers:   map[string]smtpc.Offers{},
		declared: map[string]bool{},
		dialer:   smtpc.Dialer{Hostname: "mx2.test", CommandTimeout: 2 * time.Second, DataTimeout: 2 * time.Second, BannerTimeout: 2 * time.Second},
	}
	o := Options{
		Hostname: "mx2.test", Domains: []Domain{{Name: domA}, {Name: domB}},
		Spool: r.spool, Primaries: r.prim, Known: r.known,
		Kept: func(ds []string, _ string) { r.mu.Lock(); defer r.mu.Unlock(); r.kept = append(r.kept, ds...) },
		Note: func(evs ...spool.Event) { r.mu.Lock(); defer r.mu.Unlock(); r.notes = append(r.notes, evs...) },
	}
	if change != nil {
		change(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Handler = h
	t.Cleanup(h.Close)
	return r
}

func (r *rig) newSink() *sink.Server {
	offers := sink.DefaultOffers()
	offers.StartTLS = false
	s := sink.New(sink.Options{Keep: true, Strict: true, Offers: offers})
	if err := s.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		for _, v := range s.Violations() {
			r.t.Errorf("against the protocol: %s", v)
		}
		s.Stop()
	})
	return s
}

// session is one sender's.
type session struct {
	r      *rig
	client *smtpd.Client
	tx     smtpd.Transaction
}

func (r *rig) session() *session {
	return &session{r: r, client: &smtpd.Client{
		Client:  spool.Client{Addr: "192.0.2.7", Port: 4711, Name: "mail.sender.example", Helo: "mail.sender.example", Protocol: "ESMTP"},
		Session: "s1",
	}}
}

func (s *session) mail(m smtpd.Mail) reply.Reply {
	tx, rep := s.r.Begin(s.r.t.Context(), s.client, m)
	s.tx = tx
	return rep
}

func (s *session) rcpt(addr string) reply.Reply {
	s.r.t.Helper()
	a, err := mailaddr.Parse(addr)
	if err != nil {
		s.r.t.Fatalf("%s: %v", addr, err)
	}
	return s.tx.Rcpt(s.r.t.Context(), smtpd.Rcpt{Addr: a, Raw: addr})
}

func (s *session) data(msg string) reply.Reply {
	s.tx.Expect()
	return s.dot(msg)
}

func (s *session) dot(msg string) reply.Reply {
	body := spool.NewBody("", 1<<20)
	if _, err := body.Write([]byte(msg)); err != nil {
		s.r.t.Fatal(err)
	}
	defer body.Close()
	return s.tx.Data(s.r.t.Context(), spool.NewID(), body)
}

var fromAnna = smtpd.Mail{From: mailaddr.Address{Local: "anna", Domain: "sender.example"}}

const letter = "From: anna@sender.example\r\nTo: x@a.example\r\nSubject: hello\r\n\r\nHello.\r\n.dot\r\n"

// send runs one transaction and returns the replies to RCPT and to the dot.
func (r *rig) send(msg string, rcpts ...string) (rc []reply.Reply, dot reply.Reply) {
	r.t.Helper()
	s := r.session()
	if rep := s.mail(fromAnna); rep.Refuses() {
		return nil, rep
	}
	defer s.tx.Reset()
	ok := false
	for _, a := range rcpts {
		rep := s.rcpt(a)
		rc = append(rc, rep)
		ok = ok || rep.Positive()
	}
	if !ok {
		return rc, reply.Reply{}
	}
	return rc, s.data(msg)
}

// body takes our Received field off a message.
func bodyOf(t testing.TB, b string) string {
	t.Helper()
	if !strings.HasPrefix(b, "Received: from ") {
		t.Errorf("no Received field at the head of %.80q", b)
		return b
	}
	for {
		i := strings.Index(b, "\r\n")
		if i < 0 {
			t.Errorf("Received field without an end")
			return b
		}
		b = b[i+2:]
		if b == "" || b[0] != ' ' && b[0] != '\t' {
			return b
		}
	}
}

// atSink and inSpool count the copies of a message.
func (r *rig) atSink(msg string) int {
	n := 0
	for _, m := range r.sink.Messages() {
		if bytes.Contains(m.Data, []byte(msg)) {
			n++
		}
	}
	return n
}

func (r *rig) inSpool(msg string) int {
	r.spool.mu.Lock()
	defer r.spool.mu.Unlock()
	n := 0
	for _, b := range r.spool.bodies {
		if strings.HasSuffix(b, msg) {
			n++
		}
	}
	return n
}

func (r *rig) want(got reply.Reply, code int, enhanced string) {
	r.t.Helper()
	e := fmt.Sprintf("%d.%d.%d", got.Enhanced[0], got.Enhanced[1], got.Enhanced[2])
	if got.Code != code || enhanced != "" && e != enhanced {
		r.t.Fatalf("reply %q (cause %v), want %d %s", got.String(), got.Cause, code, enhanced)
	}
}

var errStore = errors.Join(spool.ErrStoreDown, errors.New("connection refused"))
