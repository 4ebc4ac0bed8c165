package webmail

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/spool"
	"restante/spool/secret"
	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/mailbox"
	"restante/webmail/session"
)

const (
	doorAnna = "anna@example.test"
	doorMax  = "max@example.test"
)

// doorRig is a webmail with the real ways in.
type doorRig struct {
	t        testing.TB
	server   *Server
	mail     *mailbox.Store
	people   *accounts.Directory
	sessions *session.Sessions
	factors  *factor.Factors
	mu       sync.Mutex
	state    DomainState
	fail     error // of the ledger
}

// newDoorRig; change may change the options before the server is made.
func newDoorRig(t testing.TB, change func(*Options)) *doorRig {
	t.Helper()
	r := &doorRig{t: t, state: DomainState{Hosted: true, Up: true}}
	ring, err := secret.NewKeyring(secret.NewKey())
	r.must(err)
	record := func(context.Context, ...spool.Event) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.fail
	}
	r.mail, err = mailbox.Open(filepath.Join(t.TempDir(), "webmail.db"), mailbox.Options{
		Fetch: func(context.Context, string, spool.Location) (*spool.Entry, *spool.Body, error) {
			return nil, nil, mailbox.ErrNotFound
		},
		Append: func(context.Context, *spool.Entry, []byte, *spool.Body) error { return nil },
		Record: record, Note: func(...spool.Event) {}, TempDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	r.must(err)
	t.Cleanup(func() { r.must(r.mail.Close()) })
	open := func(string) (string, bool) { s := r.Domain(""); return "outage", s.Down || s.Recovering }
	r.people, err = accounts.Open(accounts.Options{Record: record, Note: func(...spool.Event) {}, Secrets: ring, Outage: open})
	r.must(err)
	r.sessions = session.New(session.Options{Record: record, Note: func(...spool.Event) {}, Open: func(string) bool { _, ok := open(""); return ok }})
	r.factors = factor.New(r.people)
	for address, name := range map[string]string{doorAnna: "Anna Schmidt", doorMax: "Max Weber"} {
		_, err := r.people.Add(context.Background(), "admin", address, accounts.Edit{Name: &name, Aliases: []string{"x" + address}})
		r.must(err)
		r.must(r.people.SetPassword(context.Background(), "admin", address, "correct horse", "admin"))
	}
	o := Options{Mail: r.mail, Accounts: r.people, Sender: r, Outages: r, Contact: "IT, extension 100", Log: slog.New(slog.DiscardHandler),
		SignIn: SignIn{Sessions: r.sessions, Limiter: session.NewLimiter(session.LimiterLimits{}), Factors: r.factors, Secrets: ring}}
	if change != nil {
		change(&o)
	}
	r.server, err = New(o)
	r.must(err)
	t.Cleanup(r.server.Close)
	return r
}

func (r *doorRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *doorRig) set(s DomainState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = s
}

// outage has the mail server down.
func (r *doorRig) outage() {
	r.set(DomainState{Hosted: true, Down: true, Since: time.Now().Add(-47 * time.Minute), Notice: "Back at about 14:00."})
}

// Domain is Outages: all domains are alike, but those that aren't hosted.
func (r *doorRig) Domain(domain string) DomainState {
	r.mu.Lock()
	defer r.mu.Unlock()
	if domain != "" && domain != "example.test" {
		return DomainState{}
	}
	return r.state
}

func (r *doorRig) May(context.Context, string, string) (bool, string) { return true, "" }
func (r *doorRig) Send(context.Context, Submission) (SendResult, error) {
	return SendResult{}, nil
}
func (r *doorRig) Undo(context.Context, string, string) error { return nil }

// guest is one browser.
type guest struct {
	r       *doorRig
	addr    string
	cookies map[string]*http.Cookie
}

func (r *doorRig) guest(addr string) *guest {
	return &guest{r: r, addr: addr, cookies: map[string]*http.Cookie{}}
}

// do asks for a page; form is nil for a GET.
func (c *guest) do(path string, form url.Values) *httptest.ResponseRecorder {
	c.r.t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	if form != nil {
		req = httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.RemoteAddr = c.addr + ":4711"
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
	for _, k := range c.cookies {
		req.AddCookie(k)
	}
	w := httptest.NewRecorder()
	c.r.server.ServeHTTP(w, req)
	for _, k := range w.Result().Cookies() {
		if k.MaxAge < 0 {
			delete(c.cookies, k.Name)
		} else {
			c.cookies[k.Name] = k
		}
	}
	return w
}

// post is do with pairs of names and values.
func (c *guest) post(path string, pairs ...string) *httptest.ResponseRecorder {
	c.r.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return c.do(path, form)
}

// password signs in by one.
func (c *guest) password(address, password string) *httptest.ResponseRecorder {
	c.r.t.Helper()
	return c.post("/signin/password", "address", address, "password", password)
}

// in says whether the browser is signed in as the account.
func (c *guest) in(account string) bool {
	c.r.t.Helper()
	w := c.do("/security", nil)
	return w.Code == http.StatusOK && strings.Contains(w.Body.String(), account)
}

// wantIn fails unless it is as wanted.
func (c *guest) wantIn(what, account string, want bool) {
	c.r.t.Helper()
	if got := c.in(account); got != want {
		c.r.t.Errorf("%s: signed in = %v, want %v", what, got, want)
	}
}

// want fails unless the answer has the status, and the text if there is one.
func (r *doorRig) want(what string, w *httptest.ResponseRecorder, status int, text string) {
	r.t.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		r.t.Errorf("%s: %d, want %d with %q; to %q\n%s", what, w.Code, status, text, w.Header().Get("Location"), between(w.Body.String()))
	}
}

// between is the middle of a page, without head.
func between(page string) string {
	_, page, _ = strings.Cut(page, "<main")
	return page[:min(len(page), 1500)]
}
