package postfix

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"restante/relay/health"
	"restante/relay/replay"
	"restante/relay/smtpc"
	"restante/relay/submit"
	"restante/spool"
	"restante/spool/blob/mem"
	"restante/spool/index"
	"restante/spool/need"
	"restante/spool/secret"
)

const (
	ours     = "example.test"
	anna     = "anna@example.test"
	login    = "restante"
	password = "correct horse battery"
)

// office is a node's part that sends what people write, with a real smarthost and a real primary.
type office struct {
	t                  *testing.T
	ctx                context.Context
	spool              *spool.Spool
	index              *index.Index
	service            *submit.Service
	smarthost, primary *Instance
	records            map[string]string // DKIM
}

func startInstance(t *testing.T, ctx context.Context, o Options) *Instance {
	t.Helper()
	i, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(i.tail())
		}
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// newOffice starts a smarthost that is the destination of example.org, and the primary of our own domain, which refuses
// that domain's mail from outside.
func newOffice(t *testing.T, bySubmission bool) *office {
	need.This(t, MissingSASL())
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	o := &office{t: t, ctx: ctx, records: make(map[string]string)}
	service := func() *Submission {
		return &Submission{Listen: need.Addr(t), Implicit: need.Addr(t), Users: map[string]string{login: password}}
	}
	o.smarthost = startInstance(t, ctx, Options{Listen: need.Addr(t), Maildirs: []string{"example.org"}, Submission: service(), Main: map[string]string{
		"smtpd_recipient_restrictions": "check_recipient_access inline:{ {nobody@example.org = 550 5.1.1 no such person here} }, permit",
		"smtpd_relay_restrictions":     "reject", "smtpd_error_sleep_time": "0",
	}})
	o.primary = startInstance(t, ctx, Options{Listen: need.Addr(t), Maildirs: []string{ours}, Submission: service(), Main: map[string]string{
		"smtpd_sender_restrictions": "check_sender_access inline:{ {example.test = 550 5.7.1 that is us} }", "smtpd_error_sleep_time": "0",
		"smtpd_relay_restrictions": "reject_unauth_destination",
	}})
	o.open(bySubmission)
	return o
}

// server is how to reach an instance's submission service.
func server(t *testing.T, i *Instance, implicit bool) submit.Server {
	t.Helper()
	listen, mode := i.services.Listen, submit.TLSStartTLS
	if implicit {
		listen, mode = i.services.Implicit, submit.TLSImplicit
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(i.Certificate) {
		t.Fatal("no certificate")
	}
	return submit.Server{Host: host, Port: portOf(t, listen), TLS: mode, RootCAs: pool, User: login, Password: password}
}

func (o *office) open(bySubmission bool) {
	t := o.t
	dir := t.TempDir()
	ring, err := secret.NewKeyring(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	if o.spool, err = spool.Open(o.ctx, spool.Options{Store: mem.New(), DataDir: dir, Exclusive: true}); err != nil {
		t.Fatal(err)
	}
	if o.index, err = index.Open(filepath.Join(dir, "index.db"), index.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 4)
	run := func(f func(context.Context) error) {
		go func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			ended <- struct{}{}
		}()
	}
	run(func(ctx context.Context) error { return o.spool.Follow(ctx, o.index) })
	smarthost := server(t, o.smarthost, false)
	cfg := submit.Config{Smarthost: &smarthost, RetryMin: 100 * time.Millisecond, Probe: 200 * time.Millisecond}
	if bySubmission {
		cfg.Submission = map[string]submit.Server{ours: server(t, o.primary, false)}
	}
	dialer := &smtpc.Dialer{Hostname: "mx2.example.test"}
	o.service, err = submit.New(submit.Options{Spool: o.spool, Index: o.index, Secrets: ring, Dialer: dialer, Hostname: "mx2.example.test",
		Hosted: func(d string) bool { return d == ours },
		Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	monitor, err := health.New(health.Options{Dialer: dialer, Domains: []health.Domain{{Name: ours, Primary: []string{o.primary.Listen},
		TLS: smtpc.TLSPolicy{Mode: smtpc.TLSNone}, Interval: 200 * time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := replay.New(replay.Options{Spool: replay.FromSpool(o.spool), Health: monitor, Domains: []replay.Domain{{Name: ours}}, Hold: o.service.Hold,
		Index: replay.Only(o.index, func(p *spool.Pair) bool { return !o.service.Takes(p) }), Config: replay.Config{BackoffMin: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	run(o.service.Run)
	run(func(ctx context.Context) error { monitor.Run(ctx); return nil })
	run(engine.Run)
	t.Cleanup(func() {
		cancel()
		for range 4 {
			<-ended
		}
		if err := errors.Join(o.spool.Close(context.Background()), o.index.Close()); err != nil {
			t.Error(err)
		}
	})
	keys, err := o.service.GenerateKey(o.ctx, ours, "s1", "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		o.records[k.Name] = k.Record
	}
}

func (o *office) send(rcpts ...string) submit.Result {
	o.t.Helper()
	text := fmt.Sprintf("From: Anna <%s>\r\nTo: %s\r\nSubject: An offer\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s@%s>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe,\r\n.\r\n..\r\nFrom here  \r\n", anna, strings.Join(rcpts, ",\r\n "), spool.NewID(), ours)
	res, err := o.service.Submit(o.ctx, submit.Submission{Account: anna, From: anna, Rcpts: rcpts, Writing: spool.NewID(), Message: []byte(text)})
	if err != nil {
		o.t.Fatal(err)
	}
	return res
}

// await waits until all pairs of an entry are in a state.
func (o *office) await(entry string, state spool.PairState) *index.View {
	o.t.Helper()
	for {
		changed := o.index.Changed()
		v, err := o.index.Entry(o.ctx, entry)
		if err != nil && !errors.Is(err, index.ErrNotFound) {
			o.t.Fatal(err)
		}
		done := err == nil
		for i := 0; done && i < len(v.Pairs); i++ {
			done = v.Pairs[i].State == state
		}
		if done {
			return v
		}
		select {
		case <-changed:
		case <-o.ctx.Done():
			o.t.Fatalf("%s isn't %s in time: %+v", entry, state, v)
		}
	}
}

// maildir waits until an instance has delivered n messages, and returns them with CRLF line ends.
func (o *office) maildir(i *Instance, n int) [][]byte {
	o.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var all [][]byte
		if err := i.Maildir(func(_ string, b []byte) error {
			all = append(all, bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
			return nil
		}); err != nil {
			o.t.Fatal(err)
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-tick.C:
		case <-o.ctx.Done():
			o.t.Fatalf("%d of %d messages in time", len(all), n)
		}
	}
}

// signed checks both signatures of a message with go-msgauth.
func (o *office) signed(message []byte) {
	o.t.Helper()
	vs, err := dkim.VerifyWithOptions(bytes.NewReader(message), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if r, ok := o.records[name]; ok {
			return []string{r}, nil
		}
		return nil, &net.DNSError{IsNotFound: true}
	}})
	if err != nil || len(vs) != 2 {
		o.t.Fatalf("%d signatures, %v\n%s", len(vs), err, message)
	}
	for _, v := range vs {
		if v.Err != nil || v.Domain != ours {
			o.t.Errorf("signature by %s: %v\n%s", v.Domain, v.Err, message)
		}
	}
}

// What is written reaches people outside through a real smarthost, with valid signatures, over STARTTLS and over TLS from the first
// octet; what can't be delivered comes back as a report.
func TestSmarthost(t *testing.T) {
	t.Parallel()
	o := newOffice(t, false)
	res := o.send("kunde@example.org", "zwei@example.org")
	v := o.await(res.Entries[0], spool.StateDelivered)
	if !strings.Contains(v.Pairs[0].Reply, "queued as") {
		t.Errorf("%+v", v.Pairs[0])
	}
	for _, b := range o.maildir(o.smarthost, 2) {
		o.signed(b)
		for _, want := range []string{"Return-Path: <" + anna + ">", "by mx2.example.test (Restante", "\r\nGr\u00fc\u00dfe,\r\n.\r\n..\r\nFrom here"} {
			if !bytes.Contains(b, []byte(want)) {
				t.Errorf("%q isn't in\n%s", want, b)
			}
		}
	}
	if log, err := os.ReadFile(o.smarthost.Log()); err != nil || !bytes.Contains(log, []byte("sasl_method=PLAIN, sasl_username=restante")) {
		t.Errorf("Postfix saw no authentication: %v", err)
	}

	implicit := server(t, o.smarthost, true)
	if err := o.service.SetConfig(submit.Config{Smarthost: &implicit, RetryMin: 100 * time.Millisecond, Probe: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	o.await(o.send("drei@example.org").Entries[0], spool.StateDelivered)
	o.maildir(o.smarthost, 3)

	lost := o.send("nobody@example.org")
	o.await(lost.Entries[0], spool.StateBounced)
	ps, _, err := o.index.List(o.ctx, index.Filter{From: "<>", Rcpt: anna})
	if err != nil || len(ps) != 1 || ps[0].Kind != spool.Local || ps[0].Subject != "Not delivered: An offer" {
		t.Fatalf("%+v %v", ps, err)
	}
}

// With a wrong password nothing goes out and nothing is lost: people are told, and it goes on with the right one.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	o := newOffice(t, false)
	wrong := server(t, o.smarthost, false)
	wrong.Password = "wrong"
	cfg := submit.Config{Smarthost: &wrong, RetryMin: 100 * time.Millisecond, Probe: 200 * time.Millisecond}
	if err := o.service.SetConfig(cfg); err != nil {
		t.Fatal(err)
	}
	res := o.send("kunde@example.org")
	var st submit.Status
	for st = range o.statuses() {
		if s := st.Servers[0]; s.State == health.Down && strings.Contains(s.Reason, "auth: 535") {
			break
		}
	}
	if ok, why := o.service.May(o.ctx, anna, anna); ok || why != submit.WhySmarthostDown {
		t.Errorf("%v %s", ok, why)
	}
	if strings.Contains(fmt.Sprintf("%+v", st), "wrong") {
		t.Error("the password shows")
	}
	right := server(t, o.smarthost, false)
	cfg.Smarthost = &right
	if err := o.service.SetConfig(cfg); err != nil {
		t.Fatal(err)
	}
	o.await(res.Entries[0], spool.StateDelivered)
	if ok, why := o.service.May(o.ctx, anna, anna); !ok {
		t.Error(why)
	}
}

// statuses yields the status again and again until the test's time is over.
func (o *office) statuses() func(func(submit.Status) bool) {
	return func(yield func(submit.Status) bool) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			st, err := o.service.Status(o.ctx)
			if err != nil {
				o.t.Fatal(err)
			}
			if !yield(st) {
				return
			}
			select {
			case <-tick.C:
			case <-o.ctx.Done():
				o.t.Fatalf("not in time: %+v", st)
			}
		}
	}
}

// A primary that refuses its own domain from outside gets colleagues' mail and copies by authenticated submission; held mail goes
// the usual way.
func TestOwnDomainRefused(t *testing.T) {
	t.Parallel()
	o := newOffice(t, true)
	c, err := (&smtpc.Dialer{Hostname: "mx2.example.test"}).Dial(o.ctx, smtpc.Target{Host: "127.0.0.1", Port: portOf(t, o.primary.Listen)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Mail(o.ctx, smtpc.Mail{From: anna}); err != nil || !r.Positive() {
		t.Fatal(r, err)
	}
	if r, err := c.Rcpt(o.ctx, smtpc.Rcpt{Address: "bob@example.test"}); err != nil || r.Code != 550 {
		t.Fatal("it doesn't refuse its own domain: ", r, err)
	}
	res := o.send("bob@example.test", "kunde@example.org")
	for _, id := range res.Entries {
		o.await(id, spool.StateDelivered)
	}
	o.hold()
	copies := 0
	for _, b := range o.maildir(o.primary, 3) {
		if bytes.Contains(b, []byte("Subject: from outside")) {
			continue
		}
		o.signed(b)
		if bytes.Contains(b, []byte(strings.TrimSpace(submit.CopyField))) {
			copies++
		}
	}
	if copies != 1 {
		t.Errorf("%d copies", copies)
	}
}

// hold keeps a message from outside for Anna.
func (o *office) hold() {
	o.t.Helper()
	body := spool.NewBody("", 1<<20)
	defer body.Close()
	if _, err := body.Write([]byte("Subject: from outside\r\n\r\nhello\r\n")); err != nil {
		o.t.Fatal(err)
	}
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: time.Now().UTC(), From: "kunde@example.org", Rcpts: []spool.Recipient{{Address: anna, Domain: ours}}}
	if err := o.spool.Append(o.ctx, e, nil, body); err != nil {
		o.t.Fatal(err)
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
