package webmail

import (
	"context"
	"errors"
	"net/http"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/session"
)

// securityRoutes are the pages about how a person signs in.
func (s *Server) securityRoutes() []route {
	if s.o.SignIn.missing() {
		return nil
	}
	return []route{
		{http.MethodGet, "/security", signedIn, s.security},
		{http.MethodPost, "/security/password", signedIn, s.setPassword},
		{http.MethodGet, "/security/second", signedIn, s.secondSetUp},
		{http.MethodPost, "/security/second", signedIn, s.secondConfirm},
		{http.MethodPost, "/security/second/off", signedIn, s.secondOff},
		{http.MethodGet, "/security/ready", signedIn, s.ready},
		{http.MethodPost, "/security/devices", signedIn, s.addDevice},
		{http.MethodPost, "/security/devices/other", signedIn, s.otherDevice},
		{http.MethodPost, "/security/devices/{device}/remove", signedIn, s.removeDevice},
		{http.MethodPost, "/security/passkey", signedIn, s.addPasskey},
		{http.MethodPost, "/security/passkey/finish", signedIn, s.addPasskeyFinish},
		{http.MethodGet, "/security/sessions", signedIn, s.sessions},
		{http.MethodPost, "/security/sessions/{session}/end", signedIn, s.endSession},
		{http.MethodPost, "/security/sessions/end", signedIn, s.endSessions},
		{http.MethodGet, "/activity", signedIn, s.activity},
	}
}

// recently is how long after a sign-in a person may change how to sign in, without showing again who it is.
const recently = 15 * time.Minute

// recent says whether the viewer has signed in of late; otherwise it sends them to the sign-in, and from there to back. Who came
// in by a code on paper is told that it opens the mail for this outage and changes nothing for longer: a card may be found.
func (s *Server) recent(w http.ResponseWriter, r *http.Request, back string) bool {
	n := viewerOf(r.Context()).Session
	if n.Method == session.Code {
		s.showSecurity(w, r, http.StatusForbidden, "", "")
		return false
	}
	if time.Since(n.Started) < recently {
		return true
	}
	http.Redirect(w, r, "/signin?again=1&next="+back, http.StatusSeeOther)
	return false
}

// securityData is what the page "security" shows.
type securityData struct {
	Devices  []deviceRow
	Ready    bool // this browser has a key, or signed in by a passkey
	Passkey  bool // this site can have them
	Full     bool // no more devices
	Password bool // there is one
	Current  bool // it must be shown to change it
	Learned  bool // the password of the normal mailbox is known here
	Second   bool
	ByCode   bool // signed in by a code on paper: see recent
	Codes    accounts.Codes
	HasCodes bool
	Sessions int
	Where    string // what went wrong: "password", "second", "device"
	Error    string
}

type deviceRow struct {
	ID, Name, Site, Icon string
	Passkey              bool
	Here                 bool // it is this browser's
	Used, Until          string
}

func (s *Server) security(w http.ResponseWriter, r *http.Request) {
	s.showSecurity(w, r, http.StatusOK, "", "")
}

// showSecurity shows the page; where and text say what went wrong in which of its parts.
func (s *Server) showSecurity(w http.ResponseWriter, r *http.Request, status int, where, text string) {
	v := viewerOf(r.Context())
	a, in := v.Account, s.o.SignIn
	d := securityData{Passkey: s.site(r).Host != "", Password: a.Password, Second: in.Factors.TOTP(a.Address),
		ByCode: v.Session.Method == session.Code, Sessions: len(in.Sessions.List(a.Address)), Where: where, Error: text}
	d.Current = a.Password && !mayForget(v.Session)
	d.Learned = in.Learn != nil && in.Learn.Has(a.Address)
	d.Codes, d.HasCodes = s.o.Accounts.Codes(a.Address)
	d.Devices, d.Ready = s.deviceRows(r, v)
	d.Full = len(d.Devices) >= maxDeviceRows
	s.page(w, r, status, "security", d)
}

// errByCode: see recent.
var errByCode = errors.New("a code on paper changes nothing for longer than the outage")

// mayForget says whether the password may be changed without the old one: who came in by a link that an admin gave
// them has likely forgotten it.
func mayForget(n session.Session) bool {
	return n.Method == session.Link && time.Since(n.Started) < recently
}

// setPassword changes the account's password, and ends all other sessions.
func (s *Server) setPassword(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	v := viewerOf(r.Context())
	if !v.Account.Password && !s.recent(w, r, "/security") {
		return
	}
	t := s.wordsOf(r)
	fresh := r.PostFormValue("new")
	if v.Account.Password && !mayForget(v.Session) {
		att := session.Attempt{Account: v.Account.Address, Addr: clientAddr(r), Browser: v.Session.ID, Guess: true}
		done, wait := s.o.SignIn.Limiter.Begin(att)
		if wait > 0 {
			s.showSecurity(w, r, http.StatusTooManyRequests, "password", t.T("signin.error.wait", "n", minutes(wait)))
			return
		}
		err := s.o.Accounts.VerifyPassword(r.Context(), v.Account.Address, r.PostFormValue("current"))
		done(err == nil)
		if err != nil {
			s.showSecurity(w, r, http.StatusForbidden, "password", s.errText(r, err, "signin.security.wrong"))
			return
		}
	}
	err := s.o.Accounts.SetPassword(r.Context(), v.Account.Address, v.Account.Address, fresh, accounts.SetBySelf)
	switch {
	case errors.Is(err, accounts.ErrInvalid):
		s.showSecurity(w, r, http.StatusUnprocessableEntity, "password", t.T("signin.security.short", "n", accounts.PasswordMin))
		return
	case err != nil:
		s.securityFailed(w, r, "password", err)
		return
	}
	if err := s.endOthers(r.Context(), v, "password changed"); err != nil {
		s.securityFailed(w, r, "password", err)
		return
	}
	s.note(r, v.Account.Address, "password-changed", nil)
	s.setToast(w, toast{Text: t.T("signin.security.changed")})
	http.Redirect(w, r, "/security", http.StatusSeeOther)
}

func (s *Server) securityFailed(w http.ResponseWriter, r *http.Request, where string, err error) {
	if !ordinary(err) {
		s.o.Log.Error("webmail: a change of the sign-in failed", "account", viewerOf(r.Context()).Account.Address, "err", err)
	}
	s.showSecurity(w, r, http.StatusServiceUnavailable, where, s.errText(r, err, "signin.error.store"))
}

// endOthers ends all of the viewer's sessions but the one in use.
func (s *Server) endOthers(ctx context.Context, v *viewer, why string) error {
	return s.o.SignIn.Sessions.EndAll(ctx, v.Account.Address, v.Session.ID, v.Account.Address, why)
}
