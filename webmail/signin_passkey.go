package webmail

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"restante/webmail/factor"
	"restante/webmail/session"
)

// site is where passkeys of this request's host name are good; Host is "" where there can't be any: they need
// https, or localhost, and a name (WebAuthn 5.1.3).
func (s *Server) site(r *http.Request) factor.Site {
	host := hostOf(r)
	scheme := "https://"
	if !s.o.Secure {
		if host != "localhost" {
			return factor.Site{}
		}
		scheme = "http://"
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return factor.Site{}
	}
	return factor.Site{Host: host, Origin: scheme + strings.ToLower(r.Host), Name: "Restante " + host}
}

// hostOf is the host name that was asked for, without port.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// ceremony is what the browser's script gets to ask for a passkey, and brings back with the answer.
type ceremony struct {
	Options json.RawMessage `json:"options,omitempty"`
	State   string          `json:"state"`
	Answer  json.RawMessage `json:"answer,omitempty"`
	Next    string          `json:"next,omitempty"`
}

// result tells the script where to go, or what to say.
type result struct {
	To    string `json:"to,omitempty"`
	Error string `json:"error,omitempty"`
}

// begin answers with the options of a ceremony. purpose binds the state to what it is for.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, purpose string, options, state []byte, err error) {
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	hidden, err := s.encrypt(purpose, string(state))
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	s.json(w, r, http.StatusOK, ceremony{Options: options, State: hidden})
}

// answer reads what the script brings back; false when it has been answered already.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, purpose string) (c ceremony, state []byte, ok bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSignInForm))
	var plain string
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err == nil {
		err = s.decrypt(purpose, c.State, &plain)
	}
	if err != nil {
		s.o.Log.Debug("webmail: no answer to a passkey's question", "err", err)
		s.json(w, r, http.StatusBadRequest, result{Error: s.wordsOf(r).T("signin.error.again")})
		return c, nil, false
	}
	return c, []byte(plain), true
}

// sorry answers the script with an error.
func (s *Server) sorry(w http.ResponseWriter, r *http.Request, err error) {
	if !ordinary(err) {
		s.o.Log.Error("webmail: a passkey failed", "err", err)
	} else {
		s.o.Log.Info("webmail: a passkey was refused", "addr", clientAddr(r), "err", err)
	}
	status := http.StatusForbidden
	if !ordinary(err) {
		status = http.StatusServiceUnavailable
	}
	s.json(w, r, status, result{Error: s.errText(r, err, "signin.error.passkey")})
}

// errNoPasskeys: this host can't have any.
var errNoPasskeys = errors.New("passkeys need https and a host name")

// signInPasskey asks for any passkey of this site: whoever answers says who it is.
func (s *Server) signInPasskey(w http.ResponseWriter, r *http.Request) {
	site := s.site(r)
	if site.Host == "" {
		s.sorry(w, r, errNoPasskeys)
		return
	}
	options, state, err := s.o.SignIn.Factors.BeginSignIn(site)
	s.begin(w, r, "passkey", options, state, err)
}

// signInPasskeyFinish signs in whose passkey it was.
func (s *Server) signInPasskeyFinish(w http.ResponseWriter, r *http.Request) {
	c, state, ok := s.answer(w, r, "passkey")
	if !ok {
		return
	}
	done, wait := s.o.SignIn.Limiter.Begin(session.Attempt{Addr: clientAddr(r)})
	if wait > 0 {
		s.json(w, r, http.StatusTooManyRequests, result{Error: s.wordsOf(r).T("signin.error.wait", "n", minutes(wait))})
		return
	}
	d, verified, err := s.o.SignIn.Factors.FinishSignIn(s.site(r), state, c.Answer)
	a, known := s.o.Accounts.Account(d.Account)
	if err == nil && (!known || !a.Active()) {
		err = factor.ErrWrong
	}
	done(err == nil)
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	p := proof{How: session.Passkey, Device: d.ID, Second: verified, Next: localPath(c.Next)}
	if !verified && s.o.SignIn.Factors.TOTP(a.Address) {
		// The second step is a page: the script sends the browser there with what it needs.
		s.askSecondLater(w, r, a, p)
		return
	}
	to, err := s.enter(w, r, a, p)
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	s.json(w, r, http.StatusOK, result{To: to})
}
