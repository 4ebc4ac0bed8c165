package webmail

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// Server is the webmail. It is an http.Handler; Close ends its open event streams.
type Server struct {
	o         Options
	handler   http.Handler
	assets    *assets
	pages     map[string]map[string]*template.Template // by language, by name
	streams   streams
	downloads streams       // files on their way
	only      only          // the domain of all accounts
	failures  failures      // failed sign-ins that were noted
	views     chan struct{} // one for each message that is being taken apart
	metrics   *metrics
	undoable  recentDrafts // what can be taken back
	quotas    quotas       // of what is written

	// viewer says who asks: nil for nobody. It is the only door: all rules build on what it returns.
	viewer func(*http.Request) (*viewer, error)
}

// New makes the handler of all pages. It fails when something required is missing, a template doesn't parse or
// a route has no access rule.
func New(o Options) (*Server, error) {
	if o.Mail == nil || o.Accounts == nil || o.Sender == nil || o.Outages == nil || o.Log == nil {
		return nil, errors.New("webmail: Mail, Accounts, Sender, Outages and Log are required")
	}
	o.Limits = o.Limits.withDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, views: make(chan struct{}, parallelViews)}
	s.streams.limits(o.Limits)
	s.downloads.limits(Limits{Events: o.Limits.Downloads, Streams: o.Limits.Streams})
	var err error
	if s.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("webmail: %w", err)
	}
	s.viewer = func(*http.Request) (*viewer, error) { return nil, nil }
	if !o.SignIn.missing() {
		s.viewer = s.viewerFrom
	}
	if s.assets, err = ownAssets(); err != nil {
		return nil, fmt.Errorf("webmail: %w", err)
	}
	if s.pages, err = ownPages(); err != nil {
		return nil, fmt.Errorf("webmail: %w", err)
	}
	mux, err := s.mux(s.routes())
	if err != nil {
		return nil, err
	}
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.problem(w, r, http.StatusForbidden, "cross")
	}))
	s.handler = s.around(cross.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Close ends the open event streams, so that the listener can shut down.
func (s *Server) Close() { s.streams.close() }

// around is what every request passes: our headers, the name it asks for, and a page in place of a panic.
func (s *Server) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header(), s.o.Secure)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.o.Log.Error("webmail: a page failed", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.problem(w, r, http.StatusInternalServerError, "internal")
			}
		}()
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			r.Body = http.NoBody // Request.FormValue would read one, however large, and write it to disk
		}
		if !s.ourName(r.Host) {
			s.problem(w, r, http.StatusMisdirectedRequest, "name")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ourName keeps pages from answering under a name that somebody else pointed here (DNS rebinding).
func (s *Server) ourName(host string) bool {
	if len(s.o.Names) == 0 {
		return true
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return slices.Contains(s.o.Names, strings.ToLower(strings.TrimSuffix(host, ".")))
}

type boxKey struct{}

func withBox(ctx context.Context, b mailbox.Box) context.Context {
	return context.WithValue(ctx, boxKey{}, b)
}

// boxOf returns the box of an inBox route; the guard has checked that the viewer may see it.
func boxOf(ctx context.Context) mailbox.Box {
	b, _ := ctx.Value(boxKey{}).(mailbox.Box)
	return b
}

// wordsOf are those of the viewer's language, or of the browser's wish.
func (s *Server) wordsOf(r *http.Request) *words.Words {
	if v := viewerOf(r.Context()); v != nil && v.Lang != "" {
		return words.Of(v.Lang)
	}
	return words.Of(words.Negotiate(r.Header.Get("Accept-Language")))
}

// zoneCookie is set by app.js to the browser's time zone, an IANA name.
const zoneCookie = "tz"

// zoneOf is the time zone to write times in: the viewer's, else the browser's, else this machine's.
func zoneOf(r *http.Request) *time.Location {
	if v := viewerOf(r.Context()); v != nil && v.Zone != nil {
		return v.Zone
	}
	if c, err := r.Cookie(zoneCookie); err == nil && len(c.Value) < 64 && c.Value != "Local" {
		if zone, err := time.LoadLocation(strings.ReplaceAll(c.Value, "%2F", "/")); err == nil {
			return zone
		}
	}
	return time.Local
}
