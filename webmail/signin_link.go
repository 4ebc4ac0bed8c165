package webmail

import (
	"errors"
	"net/http"
	"time"

	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/session"
)

// link is the page of a one-time link. It uses nothing up: programs that preview links fetch it, too.
func (s *Server) link(w http.ResponseWriter, r *http.Request) {
	d, status := s.linkData(r)
	s.page(w, out(r), status, "signin-link", d)
}

func (s *Server) linkData(r *http.Request) (doorData, int) {
	token := r.PathValue("token")
	l, err := s.o.Accounts.Link(token)
	d := s.door(r, l.Account)
	d.Next, d.Token, d.Link, d.Until = "/", token, l.Purpose, s.wordsOf(r).Since(l.Until, s.o.Now(), zoneOf(r))
	if err == nil {
		if a, ok := s.o.Accounts.Account(l.Account); ok {
			d.Name = a.Label()
		}
		d.Ways.Passkey = d.Ways.Passkey && !s.o.SignIn.Factors.TOTP(l.Account)
		return d, http.StatusOK
	}
	d.Link = linkProblem(err)
	return d, http.StatusNotFound
}

// linkProblem is the key of what is wrong with a link, "" when it isn't the link.
func linkProblem(err error) string {
	switch {
	case errors.Is(err, accounts.ErrUsed):
		return "used"
	case errors.Is(err, accounts.ErrExpired):
		return "expired"
	case errors.Is(err, accounts.ErrWrong):
		return "wrong"
	}
	return ""
}

// useLink uses a link up: one of the admin signs in, one of practice makes this browser ready and signs in.
func (s *Server) useLink(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	if l, err := s.o.Accounts.Link(r.PathValue("token")); err == nil && l.Purpose == accounts.LinkPractice &&
		len(s.o.SignIn.Factors.Devices(l.Account)) >= factor.MaxDevices {
		s.linkFailed(w, r, factor.ErrTooMany) // before the link is used up for nothing
		return
	}
	l, a, err := s.spend(r)
	if err != nil {
		s.linkFailed(w, r, err)
		return
	}
	p := proof{How: session.Link, Next: "/"}
	if l.Purpose == accounts.LinkPractice {
		p.How, p.Next = session.Practice, "/security/ready"
		d, err := s.makeReady(w, r, a)
		if err != nil {
			s.linkFailed(w, r, err)
			return
		}
		p.Device = d.ID
	}
	s.proven(w, r, a, p)
}

// spend uses up the link of the request. Guesses count against the network's limit.
func (s *Server) spend(r *http.Request) (accounts.Link, accounts.Account, error) {
	done, wait := s.o.SignIn.Limiter.Begin(session.Attempt{Addr: clientAddr(r)})
	if wait > 0 {
		return accounts.Link{}, accounts.Account{}, &waitError{wait}
	}
	l, err := s.o.Accounts.UseLink(r.Context(), r.PathValue("token"))
	done(err == nil)
	if err != nil {
		return l, accounts.Account{}, err
	}
	a, ok := s.o.Accounts.Account(l.Account)
	if !ok || !a.Active() {
		return l, a, accounts.ErrWrong
	}
	return l, a, nil
}

// waitError says how long to wait before the next try.
type waitError struct{ wait time.Duration }

func (e *waitError) Error() string { return "too many tries: wait " + spool.ExactSpan(e.wait) }

func (s *Server) linkFailed(w http.ResponseWriter, r *http.Request, err error) {
	d, _ := s.linkData(r)
	var wait *waitError
	if errors.As(err, &wait) {
		s.tooMany(w, r, "signin-link", d, wait.wait)
		return
	}
	if key := linkProblem(err); key != "" {
		d.Link = key
		s.page(w, out(r), http.StatusNotFound, "signin-link", d)
		return
	}
	if !ordinary(err) {
		s.o.Log.Error("webmail: a link failed", "account", d.Address, "err", err)
	}
	d.Error = s.errText(r, err, "signin.error.again")
	s.page(w, out(r), http.StatusServiceUnavailable, "signin-link", d)
}

// makeReady gives this browser a key of the account; one that it has already is renewed.
func (s *Server) makeReady(w http.ResponseWriter, r *http.Request, a accounts.Account) (factor.Device, error) {
	if d, ok := s.renewKey(w, r, a.Address); ok {
		return d, nil
	}
	token, d, err := s.o.SignIn.Factors.AddKey(r.Context(), a.Address, agent(r), hostOf(r))
	if err != nil {
		return d, err
	}
	s.setDeviceKeys(w, append([]deviceKey{{d, token}}, s.deviceKeys(r)...))
	s.note(r, a.Address, "device-added", map[string]any{"device": d.Name, "kind": string(d.Kind)})
	return d, nil
}

// linkPasskey asks this device for a passkey of the account whose practice link it is. The link isn't used up before there is one.
func (s *Server) linkPasskey(w http.ResponseWriter, r *http.Request) {
	site := s.site(r)
	l, err := s.passkeyLink(r)
	if err == nil && site.Host == "" {
		err = errNoPasskeys
	}
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	options, state, err := s.o.SignIn.Factors.BeginPasskey(site, l.Account)
	s.begin(w, r, "passkey of "+l.Account, options, state, err)
}

// passkeyLink is the link of the request if it may make a passkey. Where the account has a second step it may not: a
// passkey passes it by, and who reads the person's mail has the link.
func (s *Server) passkeyLink(r *http.Request) (accounts.Link, error) {
	l, err := s.o.Accounts.Link(r.PathValue("token"))
	if err == nil && (l.Purpose != accounts.LinkPractice || s.o.SignIn.Factors.TOTP(l.Account)) {
		err = accounts.ErrWrong
	}
	return l, err
}

// linkPasskeyFinish uses the link up, keeps the passkey and signs in.
func (s *Server) linkPasskeyFinish(w http.ResponseWriter, r *http.Request) {
	l, err := s.passkeyLink(r)
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	c, state, ok := s.answer(w, r, "passkey of "+l.Account)
	if !ok {
		return
	}
	if l, _, err = s.spend(r); err != nil {
		s.sorry(w, r, err)
		return
	}
	a, _ := s.o.Accounts.Account(l.Account)
	d, err := s.keepPasskey(r, a, state, c.Answer)
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	to, err := s.enter(w, r, a, proof{How: session.Practice, Device: d.ID, Next: "/security/ready"})
	if err != nil {
		s.sorry(w, r, err)
		return
	}
	s.json(w, r, http.StatusOK, result{To: to})
}

// keepPasskey keeps the passkey that the browser has made.
func (s *Server) keepPasskey(r *http.Request, a accounts.Account, state, answer []byte) (factor.Device, error) {
	d, err := s.o.SignIn.Factors.FinishPasskey(r.Context(), s.site(r), a.Address, agent(r), state, answer)
	if err == nil {
		s.note(r, a.Address, "device-added", map[string]any{"device": d.Name, "kind": string(d.Kind)})
	}
	return d, err
}
