package webmail

import (
	"net/http"
	"time"

	"restante/webmail/accounts"
)

// firstStep is what the page of the second step brings back: that the first was taken, by whom and when.
type firstStep struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`
	Proof   proof     `json:"proof"`
}

// askSecond shows the page for the second step.
func (s *Server) askSecond(w http.ResponseWriter, r *http.Request, a accounts.Account, p proof) {
	hidden, err := s.encrypt("second", firstStep{a.Address, time.Now(), p})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	d := s.door(r, a.Address)
	d.Hidden, d.Next = hidden, p.Next
	s.page(w, out(r), http.StatusOK, "signin-second", d)
}

// askSecondLater is askSecond where a script waits for where to go: the page reads the first step from a cookie.
func (s *Server) askSecondLater(w http.ResponseWriter, r *http.Request, a accounts.Account, p proof) {
	hidden, err := s.encrypt("second", firstStep{a.Address, time.Now(), p})
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	s.setCookie(w, secondCookie, hidden, stateTime)
	s.json(w, r, http.StatusOK, result{To: "/signin/second"})
}

// second is the page for the second step after askSecondLater.
func (s *Server) second(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(s.cookie(secondCookie))
	var first firstStep
	if err == nil {
		err = s.decrypt("second", c.Value, &first)
	}
	if err != nil {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	d := s.door(r, first.Account)
	d.Hidden, d.Next = c.Value, first.Proof.Next
	s.page(w, out(r), http.StatusOK, "signin-second", d)
}

// signInSecond takes the code of an authenticator app.
func (s *Server) signInSecond(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	if !s.form(w, r) {
		return
	}
	var first firstStep
	hidden := r.PostFormValue("first")
	err := s.decrypt("second", hidden, &first)
	a, ok := s.o.Accounts.Account(first.Account)
	if err != nil || !ok || !a.Active() || time.Since(first.At) > stateTime {
		d := s.door(r, "")
		d.Error = s.wordsOf(r).T("signin.error.again")
		s.page(w, out(r), http.StatusForbidden, "signin", d)
		return
	}
	d := s.door(r, a.Address)
	d.Hidden, d.Next = hidden, first.Proof.Next
	att := s.attempt(r, a.Address, true)
	att.Account = "second step of " + a.Address // guesses at the password mustn't keep out who knows it
	done, wait := s.o.SignIn.Limiter.Begin(att)
	if wait > 0 {
		s.tooMany(w, r, "signin-second", d, wait)
		return
	}
	err = s.o.SignIn.Factors.VerifyTOTP(r.Context(), a.Address, r.PostFormValue("code"))
	done(err == nil)
	if err != nil {
		s.refused(w, r, began, "signin-second", d, err, "signin.error.second")
		return
	}
	first.Proof.Second = true
	s.setCookie(w, secondCookie, "", 0)
	s.proven(w, r, a, first.Proof)
}
