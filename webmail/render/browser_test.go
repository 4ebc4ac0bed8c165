package render

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"restante/webmail/browser"
	"restante/webmail/render/hostile"
)

// layers says which of what keeps mail from acting is there, and what is expected then.
type layers struct {
	name                       string
	sanitised, policy, sandbox bool
	acts, loads                bool // script runs, something is asked for
}

// hostileDocuments makes the document of each hostile mail with and without sanitising.
func hostileDocuments(t *testing.T) (names []string, clean, dirty []Frame) {
	t.Helper()
	ctx := context.Background()
	for _, mail := range hostile.Mails() {
		m, err := Parse(ctx, bytes.NewReader(mail.Raw), int64(len(mail.Raw)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.HTML(ctx, HTMLOptions{})
		if err != nil {
			t.Fatal(err)
		}
		body := string(mail.Raw)
		if _, part := m.Body(); part != nil {
			l, err := load(ctx, part, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			body = l.text
		}
		names, clean, dirty = append(names, mail.Name), append(clean, f), append(dirty, NewFrame([]byte(body), nil, HTMLOptions{}))
	}
	return names, clean, dirty
}

// TestEachLayerAloneIsEnough shows all hostile mails to Chromium behind one layer at a time. Nothing may open a dialog,
// ask for anything, or leave; but the sandbox is no layer against loading.
func TestEachLayerAloneIsEnough(t *testing.T) {
	if testing.Short() || os.Getenv("RESTANTE_TEST_REQUIRE") != "1" {
		t.Skip("loads a thousand documents in a browser, which takes a while: RESTANTE_TEST_REQUIRE=1 asks for it")
	}
	names, clean, dirty := hostileDocuments(t)
	b := browser.ForTest(t)
	for _, l := range []layers{
		{name: "sanitiser", sanitised: true},
		{name: "policy", policy: true},
		{name: "sandbox", sandbox: true, loads: true},
		{name: "nothing", acts: true, loads: true}, // or this test would see nothing
	} {
		t.Run(l.name, func(t *testing.T) {
			docs := clean
			if !l.sanitised {
				docs = dirty
			}
			srv := newHostileServer(t, l, names, docs)
			before := len(b.Escapes())
			page := b.Page(t, browser.Desktop())
			for n := 0; n < len(names); n += batch {
				at := fmt.Sprintf("/batch/%d", n)
				page.Open(srv.URL + at)
				if now := page.URL(); now != at {
					t.Errorf("the page was taken to %s", now)
				}
			}
			dialogs, escapes, asked := page.Dialogs(), b.Escapes()[before:], srv.asked()
			if l.acts && len(dialogs) < 20 || l.loads && (len(escapes) < 50 || len(asked) == 0) {
				t.Errorf("only %d dialogs, %d requests to others and %d to us: the mails aren't hostile", len(dialogs), len(escapes), len(asked))
			}
			if !l.acts {
				for _, d := range dialogs {
					t.Errorf("a dialog: %s", d)
				}
			}
			if l.loads {
				return
			}
			for _, e := range append(escapes, asked...) {
				t.Errorf("asked for %s", strings.TrimSpace(e))
			}
			loaded := 0
			for _, r := range page.Requests() {
				if strings.HasPrefix(r.URL, srv.URL+"/frame/") {
					loaded++
				} else if l.sanitised && !strings.HasPrefix(r.URL, srv.URL+"/batch/") { // the log has what the policy stops, too
					t.Errorf("asked for %s", r.URL)
				}
			}
			if loaded < len(names) {
				t.Errorf("%d documents were loaded, want %d", loaded, len(names))
			}
		})
	}
}

// hostileServer serves documents in pages of frames, and notes what else it is asked for.
type hostileServer struct {
	*httptest.Server
	mu   sync.Mutex
	rest []string
}

func (s *hostileServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rest
}

func newHostileServer(t *testing.T, l layers, names []string, docs []Frame) *hostileServer {
	s := &hostileServer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /frame/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 0 || n >= len(docs) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if l.policy {
			w.Header().Set("Content-Security-Policy", docs[n].CSP)
		}
		_, _ = w.Write(docs[n].Document)
	})
	mux.HandleFunc("GET /batch/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		sandbox := ""
		switch {
		case l.sandbox:
			sandbox = ` sandbox="allow-popups allow-popups-to-escape-sandbox"`
		case l.acts:
			sandbox = ` sandbox="allow-scripts allow-modals allow-forms"` // but they may not take the page away
		}
		_, _ = fmt.Fprint(w, "<!doctype html><title>batch</title><link rel=icon href=data:,>")
		for i := n; i < min(n+batch, len(names)); i++ {
			_, _ = fmt.Fprintf(w, `<iframe src="/frame/%d"%s title="%s"></iframe>`, i, sandbox, html.EscapeString(names[i]))
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.rest = append(s.rest, r.Method+" "+r.URL.String())
		s.mu.Unlock()
		http.NotFound(w, r)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

const batch = 150 // mails of one page
