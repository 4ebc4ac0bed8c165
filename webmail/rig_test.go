package webmail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/relay/trace"
	"restante/spool"
	"restante/spool/blob/mem"
	"restante/spool/secret"
	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/mailbox"
	"restante/webmail/session"
)

// fakeOutages is what a test says of the mail servers.
type fakeOutages struct {
	mu sync.Mutex
	of map[string]DomainState
}

func (f *fakeOutages) Domain(domain string) DomainState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[domain]
}

func (f *fakeOutages) set(domain string, d DomainState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[domain] = d
}

// fakeSender keeps what is sent.
type fakeSender struct {
	mu   sync.Mutex
	why  string // not to send, "" for nothing
	sent []Submission
	gone map[string]bool // writings that were taken back
	err  error
}

func (f *fakeSender) May(context.Context, string, string) (bool, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why == "", f.why
}

func (f *fakeSender) Send(_ context.Context, s Submission) (SendResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return SendResult{}, f.err
	}
	f.sent = append(f.sent, s)
	return SendResult{NotBefore: time.Now().Add(s.Delay)}, nil
}

func (f *fakeSender) Undo(_ context.Context, _, writing string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone == nil {
		f.gone = map[string]bool{}
	}
	f.gone[writing] = true
	return nil
}

// rig is a webmail on a spool in memory, with three accounts: anna@example.test, max@example.test, and kim@other.test;
// anna and max share info@example.test. Whoever asks with the cookie "who" is signed in as that account.
type rig struct {
	t        testing.TB
	spool    *spool.Spool
	mail     *mailbox.Store
	accounts *accounts.Directory
	outages  *fakeOutages
	sender   *fakeSender
	server   *Server
	web      *httptest.Server
	now      time.Time // zero: the real one
	signIn   SignIn
	log      *testLog
	lost     atomic.Value // the id of an entry that can't be fetched
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	logged := &testLog{t: t}
	log := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r := &rig{t: t, log: logged, outages: &fakeOutages{of: map[string]DomainState{}}, sender: &fakeSender{}}
	var err error
	r.spool, err = spool.Open(ctx, spool.Options{Store: mem.New(), DataDir: dir, Node: "n1", Log: slog.New(slog.DiscardHandler),
		Limits: spool.Limits{MinFree: -1, LazyWait: 20 * time.Millisecond, GatherWait: time.Millisecond}})
	must(t, err)
	r.mail, err = mailbox.Open(filepath.Join(dir, "webmail.db"), mailbox.Options{Fetch: r.fetch, Append: r.spool.Append, Record: r.spool.Record,
		Note: r.spool.Note, TempDir: dir, Log: log})
	must(t, err)
	ring, err := secret.NewKeyring(secret.NewKey())
	must(t, err)
	r.accounts, err = accounts.Open(accounts.Options{Record: r.spool.Record, Note: r.spool.Note, Secrets: ring, Log: log})
	must(t, err)
	r.signIn = SignIn{Sessions: session.New(session.Options{Record: r.spool.Record, Note: r.spool.Note}), Limiter: session.NewLimiter(session.LimiterLimits{}),
		Factors: factor.New(r.accounts), Secrets: ring}
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.spool.Follow(ctx, r.mail) })
	wg.Go(func() { _ = r.mail.Run(ctx) })
	name := func(s string) *string { return &s }
	for address, e := range map[string]accounts.Edit{
		"anna@example.test": {Name: name("Anna Schmidt"), Zone: name("Europe/Berlin"), Shared: []string{"info@example.test"}, Aliases: []string{"a.schmidt@example.test"}},
		"max@example.test":  {Name: name("Max Weber"), Zone: name("Europe/Berlin"), Shared: []string{"info@example.test"}},
		"kim@other.test":    {Name: name("Kim Novak"), Zone: name("Europe/Berlin")},
	} {
		_, err := r.accounts.Add(ctx, "test", address, e)
		must(t, err)
	}
	r.outages.set("example.test", DomainState{Hosted: true, Up: true})
	r.outages.set("other.test", DomainState{Hosted: true, Up: true})
	r.server, err = New(r.options(log))
	must(t, err)
	r.server.viewer = r.viewer
	r.web = httptest.NewServer(r.server)
	t.Cleanup(func() {
		r.server.Close()
		r.web.Close()
		cancel()
		wg.Wait()
		_ = r.mail.Close()
		_ = r.spool.Close(context.Background())
	})
	return r
}

func (r *rig) options(log *slog.Logger) Options {
	return Options{Mail: r.mail, Accounts: r.accounts, Sender: r.sender, Outages: r.outages, SignIn: r.signIn, Log: log, Contact: "IT, extension 100", Version: "test",
		Now: func() time.Time {
			if r.now.IsZero() {
				return time.Now()
			}
			return r.now
		}}
}

// fetch is the spool's, but for what is lost.
func (r *rig) fetch(ctx context.Context, id string, loc spool.Location) (*spool.Entry, *spool.Body, error) {
	if r.lost.Load() == id {
		return nil, nil, errors.New("the store is down")
	}
	return r.spool.Fetch(ctx, id, loc)
}

// viewer signs whoever names an account in.
func (r *rig) viewer(req *http.Request) (*viewer, error) {
	c, err := req.Cookie("who")
	if err != nil {
		return nil, nil
	}
	who, err := url.QueryUnescape(c.Value)
	if err != nil {
		return nil, nil
	}
	a, ok := r.accounts.Account(who)
	if !ok {
		return nil, nil
	}
	v := &viewer{Account: a, Lang: "en", Zone: time.UTC}
	v.Own, v.Shared = r.accounts.Boxes(a.Address)
	if l, err := req.Cookie("lang"); err == nil {
		v.Lang = l.Value
	}
	if a.Zone != "" {
		v.Zone, err = time.LoadLocation(a.Zone)
	}
	return v, err
}

// testLog fails the test for what the webmail warns of.
type testLog struct {
	t     testing.TB
	quiet atomic.Bool // what is logged is no fault
	lines atomic.Int64
}

func (l *testLog) Write(p []byte) (int, error) {
	l.lines.Add(1)
	if !l.quiet.Load() {
		l.t.Errorf("logged: %s", p)
	}
	return len(p), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// held is a message from outside.
type held struct {
	from, raw string // reverse-path; with LF or CRLF
	rcpts     []string
	at        time.Time
	verdicts  map[string]string
	why       string // it is in quarantine
}

// deliver keeps messages and waits until the store has folded them. It returns their ids.
func (r *rig) deliver(all ...held) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var ids []string
	for _, h := range all {
		raw := []byte(strings.ReplaceAll(strings.ReplaceAll(h.raw, "\r\n", "\n"), "\n", "\r\n"))
		e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: h.at, From: h.from, Verdicts: h.verdicts, Reason: "down", Quarantine: h.why}
		if e.Received.IsZero() {
			e.Received = time.Now()
		}
		for _, a := range h.rcpts {
			_, domain, _ := strings.Cut(a, "@")
			e.Rcpts = append(e.Rcpts, spool.Recipient{Address: a, Domain: domain})
		}
		var err error
		e.Summary, err = trace.Summarize(bytes.NewReader(raw), int64(len(raw)))
		must(r.t, err)
		body := spool.NewBody("", 1<<20)
		_, err = body.Write(raw)
		must(r.t, err)
		must(r.t, r.spool.Append(ctx, e, nil, body))
		must(r.t, body.Close())
		ids = append(ids, e.ID)
	}
	last := all[len(all)-1]
	box := mailbox.Box{ID: last.rcpts[0], Addresses: last.rcpts}
	r.until("the mail is folded", box.ID, func() bool {
		_, err := r.mail.Item(ctx, box, ids[len(ids)-1])
		return err == nil
	})
	return ids
}

// send keeps what the webmail would have sent: one entry for elsewhere, and the sender's copy, whose id it returns.
func (r *rig) send(account, raw string, rcpts ...string) (sent, copied string) {
	r.t.Helper()
	raw = strings.ReplaceAll(raw, "\n", "\r\n")
	writing := spool.NewID()
	for _, kind := range []spool.Kind{spool.Outbound, spool.Copy} {
		e := &spool.Entry{ID: spool.NewID(), Kind: kind, Received: time.Now(), From: account, Mailbox: account, Writing: writing}
		if kind == spool.Copy {
			e.Rcpts, copied = []spool.Recipient{{Address: account, Domain: "example.test"}}, e.ID
		} else {
			sent = e.ID
			for _, a := range rcpts {
				e.Rcpts = append(e.Rcpts, spool.Recipient{Address: a, Domain: spool.Smarthost})
			}
		}
		var err error
		e.Summary, err = trace.Summarize(strings.NewReader(raw), int64(len(raw)))
		must(r.t, err)
		body := spool.NewBody("", 1<<20)
		_, err = body.Write([]byte(raw))
		must(r.t, err)
		must(r.t, r.spool.Append(r.t.Context(), e, nil, body))
		must(r.t, body.Close())
	}
	r.until("what was sent is folded", account, func() bool {
		_, err := r.mail.Item(r.t.Context(), r.box(account), copied)
		return err == nil
	})
	return sent, copied
}

// until waits for something that a change of a box brings about.
func (r *rig) until(what, box string, ok func() bool) {
	r.t.Helper()
	changed, end := r.mail.Subscribe(box)
	defer end()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // what isn't announced
		case <-deadline:
			r.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// client is a browser without scripts, signed in as an account ("" for nobody).
type client struct {
	t    testing.TB
	http *http.Client
	base string
}

func (r *rig) client(who string) *client {
	jar, err := cookiejar.New(nil)
	must(r.t, err)
	at, err := url.Parse(r.web.URL)
	must(r.t, err)
	if who != "" {
		jar.SetCookies(at, []*http.Cookie{{Name: "who", Value: url.QueryEscape(who), Path: "/"}})
	}
	return &client{t: r.t, http: &http.Client{Jar: jar, Timeout: 60 * time.Second}, base: r.web.URL}
}

// answer is what came back, redirects followed.
type answer struct {
	status int
	header http.Header
	path   string // at the end of the redirects
	body   string
}

func (c *client) do(req *http.Request) answer {
	c.t.Helper()
	res, err := c.http.Do(req)
	must(c.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(c.t, err)
	return answer{status: res.StatusCode, header: res.Header, path: res.Request.URL.RequestURI(), body: string(body)}
}

func (c *client) get(path string, headers ...string) answer {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.base+path, nil)
	must(c.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return c.do(req)
}

func (c *client) post(path string, form url.Values, headers ...string) answer {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.base+path, strings.NewReader(form.Encode()))
	must(c.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return c.do(req)
}

// box is the own box of an account.
func (r *rig) box(account string) mailbox.Box {
	own, _ := r.accounts.Boxes(account)
	return own
}
