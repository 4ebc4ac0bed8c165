package webmail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/secret"
	"restante/webmail/accounts"
	"restante/webmail/mailbox"
)

// writeNow is when everything happens: 10:12 in Berlin.
var writeNow = time.Date(2026, 11, 21, 9, 12, 0, 0, time.UTC)

// writeRig is a webmail of three people over a spool in memory. Who asks is said by the cookie "who".
type writeRig struct {
	t      testing.TB
	server *Server
	mail   *mailbox.Store
	people *accounts.Directory

	mu    sync.Mutex
	raw   map[string][]byte
	seq   uint64
	why   string // why nothing may be sent, "" when it may
	fail  error  // of Send
	sent  []Submission
	noted []spool.Event
	state DomainState

	web    *httptest.Server  // for browsers
	away   atomic.Bool       // the line is down
	copies map[string]string // entry of what was sent, by account and writing
}

const (
	annaAddress = "anna@example.com"
	maxAddress  = "max@example.com"
	infoAddress = "info@example.com"
)

func newWriteRig(t testing.TB) *writeRig {
	r := &writeRig{t: t, raw: map[string][]byte{}, copies: map[string]string{}, state: DomainState{Hosted: true, Down: true, Since: writeNow.Add(-time.Hour)}}
	var err error
	r.mail, err = mailbox.Open(filepath.Join(t.TempDir(), "webmail.db"), mailbox.Options{
		Fetch: r.fetch, Append: r.append, Note: r.note, Now: r.now, TempDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Record: func(_ context.Context, evs ...spool.Event) error { return r.ledger(evs...) },
	})
	r.must(err)
	t.Cleanup(func() { r.must(r.mail.Close()) })
	ring, err := secret.NewKeyring(secret.NewKey())
	r.must(err)
	r.people, err = accounts.Open(accounts.Options{Record: func(context.Context, ...spool.Event) error { return nil }, Note: func(...spool.Event) {}, Secrets: ring, Log: slog.New(slog.DiscardHandler)})
	r.must(err)
	r.person(annaAddress, "Anna Schmidt", []string{"a.schmidt@example.com"}, infoAddress)
	r.person(maxAddress, "Max Meier", nil, infoAddress)
	r.person("you@example.com", "", nil)
	r.server, err = New(Options{Mail: r.mail, Accounts: r.people, Sender: r, Outages: r, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: r.now})
	r.must(err)
	r.server.viewer = r.viewer
	return r
}

func (r *writeRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *writeRig) now() time.Time { return writeNow }

func (r *writeRig) person(address, name string, aliases []string, shared ...string) {
	r.t.Helper()
	zone := "Europe/Berlin"
	_, err := r.people.Add(context.Background(), "admin", address, accounts.Edit{Name: &name, Zone: &zone, Aliases: aliases, Shared: shared})
	r.must(err)
}

// viewer stands in for the sign-in.
func (r *writeRig) viewer(req *http.Request) (*viewer, error) {
	c, err := req.Cookie("who")
	if err != nil {
		return nil, nil
	}
	a, ok := r.people.Account(c.Value)
	if !ok {
		return nil, nil
	}
	v := &viewer{Account: a, Lang: a.Language}
	v.Own, v.Shared = r.people.Boxes(a.Address)
	if v.Zone, err = time.LoadLocation(a.Zone); err != nil {
		return nil, err
	}
	return v, nil
}

// The spool: what is appended is folded at once.

func (r *writeRig) fetch(_ context.Context, id string, _ spool.Location) (*spool.Entry, *spool.Body, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, ok := r.raw[id]
	if !ok {
		return nil, nil, errors.New("no such entry")
	}
	b := spool.NewBody("", 1<<24)
	_, err := b.Write(raw)
	return &spool.Entry{ID: id}, b, err
}

func (r *writeRig) append(ctx context.Context, e *spool.Entry, trace []byte, body *spool.Body) error {
	raw, err := io.ReadAll(body.Reader())
	if err != nil {
		return err
	}
	e.TraceSize, e.Size = len(trace), int64(len(trace)+len(raw))
	return r.fold(e, append(bytes.Clone(trace), raw...))
}

func (r *writeRig) fold(e *spool.Entry, raw []byte) error {
	step := r.step(spool.StreamID{Name: "n1-01J"})
	r.mu.Lock()
	r.raw[e.ID] = raw
	r.mu.Unlock()
	step.Entries = []spool.Located{{Entry: e, Location: spool.Location{Stream: "n1-01J", Seq: step.Position.Seq - 1, Length: 7}}}
	return r.mail.Apply(context.Background(), []spool.Step{step})
}

func (r *writeRig) step(id spool.StreamID) spool.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	return spool.Step{Stream: id, Cluster: "c1", Position: spool.Position{Seq: r.seq, Hash: fmt.Sprint(r.seq)}}
}

func (r *writeRig) ledger(evs ...spool.Event) error {
	step := r.step(spool.StreamID{Ledger: true, Name: "n1-01J"})
	step.Events = evs
	return r.mail.Apply(context.Background(), []spool.Step{step})
}

func (r *writeRig) note(evs ...spool.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noted = append(r.noted, evs...)
}

// received puts a message into mailboxes.
func (r *writeRig) received(raw string, rcpts ...string) string {
	r.t.Helper()
	raw = strings.ReplaceAll(raw, "\n", "\r\n")
	field := func(name string) string {
		m := regexp.MustCompile(`(?im)^` + name + `: (.*?)\r$`).FindStringSubmatch(raw)
		if m == nil {
			return ""
		}
		return m[1]
	}
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Held, Received: writeNow.Add(-time.Minute), From: "k@kunde.example", Size: int64(len(raw)),
		Summary: spool.Summary{From: field("From"), To: field("To"), Subject: field("Subject"), MessageID: field("Message-ID")}}
	for _, a := range rcpts {
		e.Rcpts = append(e.Rcpts, spool.Recipient{Address: a, Domain: "example.com"})
	}
	r.must(r.fold(e, []byte(raw)))
	return e.ID
}

// The Sender: what is sent becomes a copy in the box, as relay/submit makes it.

func (r *writeRig) May(_ context.Context, _, _ string) (bool, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why == "", r.why
}

func (r *writeRig) Send(_ context.Context, s Submission) (SendResult, error) {
	if r.fail != nil {
		return SendResult{}, r.fail
	}
	e := &spool.Entry{ID: spool.NewID(), Kind: spool.Copy, Received: writeNow, From: s.From, Mailbox: s.Account, Writing: s.Writing, NotBefore: writeNow.Add(s.Delay),
		Rcpts: []spool.Recipient{{Address: s.Account, Domain: "example.com"}}, Size: int64(len(s.Message))}
	if err := r.fold(e, s.Message); err != nil {
		return SendResult{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, s)
	r.copies[s.Account+s.Writing] = e.ID
	return SendResult{Entries: []string{e.ID}, NotBefore: e.NotBefore}, nil
}

func (r *writeRig) Undo(_ context.Context, account, writing string) error {
	entry, ok := r.copies[account+writing]
	if !ok {
		return errors.New("too late")
	}
	delete(r.copies, account+writing)
	return r.ledger(spool.Event{ID: spool.NewID(), Time: writeNow, Type: spool.Removed, Entry: entry, Reason: "undone"})
}

func (r *writeRig) setWhy(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = why
}

func (r *writeRig) Domain(string) DomainState { return r.state }

// Asking for pages.

func (r *writeRig) do(who string, req *http.Request) *httptest.ResponseRecorder {
	r.t.Helper()
	if who != "" {
		req.AddCookie(&http.Cookie{Name: "who", Value: who})
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w
}

func (r *writeRig) get(who, path string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.do(who, httptest.NewRequest(http.MethodGet, path, nil))
}

// form is what a browser would send of the form on a page, with changes; a value may be a list.
type form map[string][]string

func (r *writeRig) formOf(page string) (action string, f form) {
	r.t.Helper()
	f = form{}
	m := regexp.MustCompile(`<form id="write" method="post" action="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		r.t.Fatalf("no form in %s", page)
	}
	for _, in := range regexp.MustCompile(`<input [^>]*>`).FindAllString(page, -1) {
		name, value := attribute(in, "name"), attribute(in, "value")
		if name == "" || strings.Contains(in, `type="file"`) || strings.Contains(in, `type="checkbox"`) && !strings.Contains(in, " checked") {
			continue
		}
		f[name] = append(f[name], value)
	}
	if o := regexp.MustCompile(`<option value="([^"]*)" selected`).FindStringSubmatch(page); o != nil {
		f["from"] = []string{html.UnescapeString(o[1])}
	}
	if a := regexp.MustCompile(`(?s)<textarea id="text"[^>]*>\n?(.*?)</textarea>`).FindStringSubmatch(page); a != nil {
		f["text"] = []string{html.UnescapeString(a[1])}
	}
	return m[1], f
}

func attribute(tag, name string) string {
	m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// upload is a file in a form.
type upload struct{ name, ctype, content string }

func (r *writeRig) post(who, path string, f form, files ...upload) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.do(who, r.request(path, f, files...))
}

func (r *writeRig) request(path string, f form, files ...upload) *http.Request {
	r.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, values := range f {
		for _, v := range values {
			r.must(w.WriteField(name, v))
		}
	}
	for _, u := range files {
		p, err := w.CreatePart(map[string][]string{"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename="%s"`, u.name)}, "Content-Type": {u.ctype}})
		r.must(err)
		_, err = io.WriteString(p, u.content)
		r.must(err)
	}
	r.must(w.Close())
	req := httptest.NewRequest(http.MethodPost, path, &b)
	req.Header.Set("Content-Type", w.FormDataContentType())
	return req
}

// fill opens a page with the form, changes it and sends it.
func (r *writeRig) fill(who, path, do string, change form, files ...upload) *httptest.ResponseRecorder {
	r.t.Helper()
	page := r.get(who, path)
	if page.Code != http.StatusOK {
		r.t.Fatalf("GET %s: %d", path, page.Code)
	}
	return r.again(who, page.Body.String(), do, change, files...)
}

// again sends the form on a page that was got before.
func (r *writeRig) again(who, page, do string, change form, files ...upload) *httptest.ResponseRecorder {
	r.t.Helper()
	action, f := r.formOf(page)
	for name, values := range change {
		f[name] = values
	}
	f["do"] = []string{do}
	return r.post(who, action, f, files...)
}

// follow gets the page that an answer leads to, with its toast.
func (r *writeRig) follow(who string, w *httptest.ResponseRecorder) (path, page string) {
	r.t.Helper()
	if w.Code != http.StatusSeeOther {
		r.t.Fatalf("%d, not a redirect: %s", w.Code, w.Body)
	}
	path = w.Header().Get("Location")
	req := httptest.NewRequest(http.MethodGet, path, nil)
	for _, c := range w.Result().Cookies() {
		req.AddCookie(c)
	}
	got := r.do(who, req)
	return path, got.Body.String()
}

// writingIn is the piece of writing that a path names.
func writingIn(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return ""
	}
	return strings.Split(strings.TrimPrefix(u.Path, "/write/"), "/")[0]
}
