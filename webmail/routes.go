package webmail

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// access is the rule that stands before a handler. The zero access is none: New refuses such a route.
type access int

const (
	// public: anybody, signed in or not. What it shows depends on nobody's mail.
	public access = iota + 1
	// signedIn: whoever has a session; without one, pages redirect to the sign-in and come back.
	// The handler acts for viewerOf alone.
	signedIn
	// writing: signed in, and a box of the viewer's can still be read.
	writing
	// inBox: signed in, and {box} in the pattern is a box of the viewer; anything else is "not found",
	// whether or not such a box exists; one that was closed after its outage says so. The handler takes the box from boxOf.
	inBox
)

// route is one line of the table. Pattern is of http.ServeMux without method; every handler may rely on its rule.
type route struct {
	Method  string // "GET" (also HEAD) or "POST"
	Pattern string
	Access  access
	Handler http.HandlerFunc
}

// routes is the table of all routes. Each part of the webmail keeps its own lines beside its handlers.
func (s *Server) routes() []route {
	return slices.Concat(
		s.baseRoutes(),
		s.readRoutes(),
		s.signInRoutes(),
		s.securityRoutes(),
		s.writeRoutes(),
		s.settingsRoutes(),
	)
}

// mux builds the handler of the table; it fails when a route has no rule or one that doesn't fit its pattern.
func (s *Server) mux(routes []route) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		boxed := strings.Contains(r.Pattern, "/{box}")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodPost:
			return nil, fmt.Errorf("webmail: route %s has the method %q: GET and POST are what forms can do", r.Pattern, r.Method)
		case r.Handler == nil:
			return nil, fmt.Errorf("webmail: route %s %s has no handler", r.Method, r.Pattern)
		case r.Access != public && r.Access != signedIn && r.Access != writing && r.Access != inBox:
			return nil, fmt.Errorf("webmail: route %s %s has no access rule", r.Method, r.Pattern)
		case boxed != (r.Access == inBox):
			return nil, fmt.Errorf("webmail: route %s %s: the rule inBox and {box} in the pattern go together", r.Method, r.Pattern)
		}
		if err := handle(mux, r.Method+" "+r.Pattern, s.metrics.measured(r.Pattern, s.guard(r))); err != nil {
			return nil, err
		}
	}
	return mux, nil
}

// handle is mux.Handle with an error for a pattern that is wrong or there twice.
func handle(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("webmail: route %s: %v", pattern, p)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// guard puts the rule of a route before its handler.
func (s *Server) guard(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := s.viewer(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if v != nil {
			v.Closed = s.closedBoxes(v)
			r = r.WithContext(withViewer(r.Context(), v))
		}
		if rt.Access == public {
			rt.Handler(w, r)
			return
		}
		if v == nil {
			s.askToSignIn(w, r)
			return
		}
		if rt.Access == writing && len(v.readable()) == 0 {
			s.problem(w, r, http.StatusForbidden, "closed")
			return
		}
		if rt.Access == inBox {
			b, ok := v.box(r.PathValue("box"))
			if !ok {
				s.noBox(w, r, v)
				return
			}
			r = r.WithContext(withBox(r.Context(), b))
		}
		rt.Handler(w, r)
	})
}
