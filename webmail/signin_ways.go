package webmail

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/session"
)

// attempt is what the limits are asked about.
func (s *Server) attempt(r *http.Request, address string, guess bool) session.Attempt {
	a := session.Attempt{Account: address, Addr: clientAddr(r), Guess: guess}
	if acc, ok := s.account(address); ok {
		a.Account = acc.Address
		a.Browser = s.browserID(r, acc.Address)
		a.Known = s.o.SignIn.Sessions.Known(acc.Address, a.Addr)
	}
	return a
}

// signInPassword takes a password: the account's own, or that of the normal mailbox where these are learned. Who types a
// code of the sheet into this field means well.
func (s *Server) signInPassword(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if !s.form(w, r) {
		return
	}
	address, password := cleanAddress(r.PostFormValue("address")), r.PostFormValue("password")
	if address == "" {
		s.signInWith(w, r)
		return
	}
	d := s.doorWith(r, address)
	done, wait := s.o.SignIn.Limiter.Begin(s.attempt(r, address, true))
	if wait > 0 {
		s.tooMany(w, r, "signin-with", d, wait)
		return
	}
	a, known := s.account(address)
	how, err := s.verify(r.Context(), a, known, password)
	if errors.Is(err, accounts.ErrWrong) && known && looksLikeCode(password) {
		if _, used := s.o.Accounts.UseCode(r.Context(), a.Address, password); used == nil {
			how, err = session.Code, nil
		}
	}
	done(err == nil)
	if err != nil {
		s.refused(w, r, began, "signin-with", d, err, "signin.error.password")
		return
	}
	s.proven(w, r, a, proof{How: how, Outage: how == session.Code, Next: d.Next})
}

// verify checks a password. It takes as long for an account that isn't there.
func (s *Server) verify(ctx context.Context, a accounts.Account, known bool, password string) (session.Method, error) {
	err := s.o.Accounts.VerifyPassword(ctx, a.Address, password)
	if err == nil || !errors.Is(err, accounts.ErrWrong) || !known || s.o.SignIn.Learn == nil {
		return session.Password, err
	}
	return session.Learned, s.o.SignIn.Learn.Verify(ctx, a.Address, password)
}

// looksLikeCode says whether a text could be a code of a sheet: letters and digits alone, hyphen or not.
func looksLikeCode(text string) bool {
	n := 0
	for _, c := range strings.ToUpper(text) {
		switch {
		case c >= '0' && c <= '9' || c >= 'A' && c <= 'Z':
			n++
		case c != '-' && c != ' ':
			return false
		}
	}
	return n == accounts.CodeLetters
}

// signInCode takes a code of the sheet.
func (s *Server) signInCode(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if !s.form(w, r) {
		return
	}
	address := cleanAddress(r.PostFormValue("address"))
	if address == "" {
		s.signInWith(w, r)
		return
	}
	d := s.doorWith(r, address)
	done, wait := s.o.SignIn.Limiter.Begin(s.attempt(r, address, false))
	if wait > 0 {
		s.tooMany(w, r, "signin-with", d, wait)
		return
	}
	a, _ := s.account(address)
	_, err := s.o.Accounts.UseCode(r.Context(), a.Address, r.PostFormValue("code"))
	done(err == nil)
	if err != nil {
		s.refused(w, r, began, "signin-with", d, err, "signin.error.code")
		return
	}
	s.proven(w, r, a, proof{How: session.Code, Outage: true, Next: d.Next})
}

// signInDevice takes the key that this browser keeps for the account.
func (s *Server) signInDevice(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	address := cleanAddress(r.PostFormValue("address"))
	if a, ok := s.o.Accounts.Account(address); ok && a.Active() {
		if d, ok := s.renewKey(w, r, address); ok {
			s.proven(w, r, a, proof{How: session.Device, Device: d.ID, Next: localPath(r.PostFormValue("next"))})
			return
		}
	}
	d := s.door(r, address)
	d.Error = s.wordsOf(r).T("signin.error.device")
	s.page(w, out(r), http.StatusForbidden, "signin-with", d)
}

// refused answers a try that failed; err says how.
func (s *Server) refused(w http.ResponseWriter, r *http.Request, began time.Time, page string, d doorData, err error, wrong string) {
	if !ordinary(err) {
		s.o.Log.Error("webmail: a sign-in failed", "address", d.Address, "err", err)
	} else if a, ok := s.account(d.Address); ok {
		s.noteFailure(r, a.Address)
	}
	s.refuse(r.Context(), began, d.Address)
	d.Error = s.errText(r, err, wrong)
	status := http.StatusForbidden
	if !ordinary(err) || errors.Is(err, accounts.ErrBusy) {
		status = http.StatusServiceUnavailable
	}
	s.page(w, out(r), status, page, d)
}

// proof is what somebody has shown of being the account's person.
type proof struct {
	How    session.Method `json:"how"`
	Device string         `json:"device,omitempty"`
	Second bool           `json:"second,omitempty"` // nothing more is asked for
	Outage bool           `json:"outage,omitempty"`
	Next   string         `json:"next,omitempty"`
}

// proven goes on after the first step: to the second, where the account has one, or in.
func (s *Server) proven(w http.ResponseWriter, r *http.Request, a accounts.Account, p proof) {
	if !p.Second && s.o.SignIn.Factors.TOTP(a.Address) {
		s.askSecond(w, r, a, p)
		return
	}
	to, err := s.enter(w, r, a, p)
	if err != nil {
		s.o.Log.Error("webmail: a sign-in failed", "account", a.Address, "err", err)
		d := s.doorWith(r, a.Address)
		d.Error = s.wordsOf(r).T("signin.error.store")
		s.page(w, out(r), http.StatusServiceUnavailable, "signin-with", d)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// enter signs in: it starts the session, sets the cookies, and returns where to go.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, a accounts.Account, p proof) (to string, err error) {
	if old := viewerOf(r.Context()); old != nil {
		if err := s.o.SignIn.Sessions.End(r.Context(), old.Account.Address, old.Session.ID, old.Account.Address, "signed in again"); err != nil && !errors.Is(err, session.ErrNotFound) {
			return "", err
		}
	}
	token, made, err := s.o.SignIn.Sessions.Start(r.Context(), session.Session{Account: a.Address, Method: p.How, Second: p.Second,
		Device: p.Device, Outage: p.Outage, Addr: clientAddr(r), Agent: agent(r)})
	if err != nil {
		return "", err
	}
	s.setCookie(w, sessionCookie, token, time.Until(made.Until))
	s.remember(w, r, a.Address)
	if p.How != session.Device && p.How != session.Practice {
		s.renewKey(w, r, a.Address) // who practises another way keeps this browser ready, too
	}
	state := s.o.Outages.Domain(a.Domain())
	if !state.Down && !state.Recovering || state.Drill {
		if err := s.o.Accounts.Note(a.Address, accounts.Change{Account: a.Address, Field: accounts.FieldPractised, Value: map[string]any{"how": string(p.How)}}); err != nil {
			s.o.Log.Warn("webmail: a practice wasn't noted", "account", a.Address, "err", err)
		}
	}
	s.note(r, a.Address, "sign-in", map[string]any{"method": string(p.How), "session": made.ID[:16]})
	s.o.Log.Info("webmail: signed in", "account", a.Address, "method", string(p.How), "addr", made.Addr)
	return localPath(p.Next), nil
}

// signOut ends the session. It needs none: whoever presses the button twice sees the same page.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	if v := viewerOf(r.Context()); v != nil {
		err := s.o.SignIn.Sessions.End(r.Context(), v.Account.Address, v.Session.ID, v.Account.Address, "signed out")
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			s.fail(w, r, err)
			return
		}
		s.note(r, v.Account.Address, "sign-out", nil)
	}
	s.setCookie(w, sessionCookie, "", 0)
	to := "/signin"
	if r.Header.Get("HX-Request") == "true" {
		w.Header().Set("HX-Redirect", to)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// note keeps what an account has done, for its page of activities.
func (s *Server) note(r *http.Request, account, what string, data map[string]any) {
	if data == nil {
		data = map[string]any{}
	}
	data["addr"], data["agent"] = clientAddr(r), agent(r)
	s.o.Mail.NoteActivity(account, "", what, data)
}

// failureEvery is how often failed sign-ins of one account are noted: a flood of them mustn't fill the ledger.
const failureEvery = 10 * time.Minute

// noteFailure notes that somebody couldn't sign in, now and then.
func (s *Server) noteFailure(r *http.Request, account string) {
	now := time.Now()
	s.failures.Lock()
	last, seen := s.failures.at[account]
	quiet := seen && now.Sub(last) < failureEvery
	if !quiet {
		if s.failures.at == nil {
			s.failures.at = map[string]time.Time{}
		}
		s.failures.at[account] = now
	}
	s.failures.Unlock()
	if !quiet {
		s.note(r, account, "sign-in-failed", nil)
	}
}
