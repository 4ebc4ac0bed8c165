package webmail

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"restante/webmail/mailbox"
)

// problemData is what the page "problem" shows: what happened, that nothing is lost, what to do.
type problemData struct {
	Key    string // of the words: common.problem.<Key>.title and .text
	Status int
}

// problem answers with a page that says what happened; key is of the words "common.problem".
func (s *Server) problem(w http.ResponseWriter, r *http.Request, status int, key string) {
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Del("Content-Disposition")
	w.Header().Set("HX-Retarget", "body")
	s.page(w, r, status, "problem", problemData{Key: key, Status: status})
}

// notFound answers for what isn't there and for what the viewer may not know to be there, alike.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.problem(w, r, http.StatusNotFound, "notfound")
}

// fail answers for an error: what isn't there is not found, everything else is logged and told in general words.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, mailbox.ErrNotFound):
		s.notFound(w, r)
	case errors.Is(err, errQuota):
		s.problem(w, r, http.StatusTooManyRequests, "quota")
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		// The reader went away; nobody sees an answer.
	default:
		s.o.Log.Error("webmail: a page failed", "method", r.Method, "path", r.URL.Path, "err", err)
		s.problem(w, r, http.StatusInternalServerError, "internal")
	}
}

// askToSignIn sends somebody without a session to the sign-in, and from there back to what they wanted to read.
func (s *Server) askToSignIn(w http.ResponseWriter, r *http.Request) {
	to := "/signin"
	if r.Method == http.MethodGet && r.URL.Path != "/" && r.URL.Path != "/events" {
		to += "?next=" + url.QueryEscape(localPath(r.URL.RequestURI()))
	}
	if r.Header.Get("HX-Request") == "true" {
		w.Header().Set("HX-Redirect", to) // the whole page, not the part that was asked for
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.URL.Path == "/events" {
		w.WriteHeader(http.StatusNoContent) // which ends an EventSource (HTML 9.2.2)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
