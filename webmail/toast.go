package webmail

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
)

// toastCookie carries what an action has to say to the page that follows it.
const toastCookie = "toast"

// toast is one short sentence at the foot of the next page, with a form that undoes what was done.
type toast struct {
	Text   string     `json:"t"`
	Undo   string     `json:"u,omitempty"` // path that the form posts to, "" for none
	Fields url.Values `json:"f,omitempty"` // of the form
}

// maxToast bounds the cookie, which browsers drop over 4 KB: beyond it the sentence comes without its undo.
const maxToast = 3800

// setToast has the next page show a toast. Call it before the redirect.
func (s *Server) setToast(w http.ResponseWriter, t toast) {
	raw, err := json.Marshal(t)
	if value := base64.RawURLEncoding.EncodeToString(raw); err == nil && len(value) > maxToast {
		raw, err = json.Marshal(toast{Text: t.Text})
	}
	if err != nil {
		return // strings can always be written as JSON
	}
	http.SetCookie(w, &http.Cookie{Name: s.cookie(toastCookie), Value: base64.RawURLEncoding.EncodeToString(raw), Path: "/",
		MaxAge: 20, HttpOnly: true, Secure: s.o.Secure, SameSite: http.SameSiteStrictMode})
}

// takeToast returns the toast that the action before this page has left, once.
func (s *Server) takeToast(w http.ResponseWriter, r *http.Request) *toast {
	c, err := r.Cookie(s.cookie(toastCookie))
	if err != nil {
		return nil
	}
	http.SetCookie(w, &http.Cookie{Name: c.Name, Path: "/", MaxAge: -1, HttpOnly: true, Secure: s.o.Secure, SameSite: http.SameSiteStrictMode})
	var t toast
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(raw, &t) != nil || t.Text == "" {
		return nil
	}
	if t.Undo != "" {
		t.Undo = localPath(t.Undo)
	}
	return &t
}

// cookie is the name of one of our cookies: behind https with the prefix that keeps other hosts from setting it.
func (s *Server) cookie(name string) string {
	if s.o.Secure {
		return "__Host-" + name
	}
	return name
}
