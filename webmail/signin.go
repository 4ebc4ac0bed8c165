package webmail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/learn"
	"restante/webmail/session"
)

// SignIn is what the ways in stand on. All but Learn are needed. The app gives the account events that it reads to
// Options.Accounts and to Sessions.
type SignIn struct {
	Sessions *session.Sessions
	Limiter  *session.Limiter
	Factors  *factor.Factors
	Secrets  accounts.Secrets // the cluster key, for what browsers keep for us
	Learn    *learn.Learner   // nil: no passwords are learned
}

func (o SignIn) missing() bool {
	return o.Sessions == nil || o.Limiter == nil || o.Factors == nil || o.Secrets == nil
}

// signInRoutes are the pages before the mail.
func (s *Server) signInRoutes() []route {
	if s.o.SignIn.missing() {
		return nil
	}
	return []route{
		{http.MethodGet, "/signin", public, s.signIn},
		{http.MethodPost, "/signin", public, s.signInWith},
		{http.MethodPost, "/signin/password", public, s.signInPassword},
		{http.MethodPost, "/signin/code", public, s.signInCode},
		{http.MethodGet, "/signin/second", public, s.second},
		{http.MethodPost, "/signin/second", public, s.signInSecond},
		{http.MethodPost, "/signin/device", public, s.signInDevice},
		{http.MethodPost, "/signin/passkey", public, s.signInPasskey},
		{http.MethodPost, "/signin/passkey/finish", public, s.signInPasskeyFinish},
		{http.MethodGet, "/signin/link/{token}", public, s.link},
		{http.MethodPost, "/signin/link/{token}", public, s.useLink},
		{http.MethodPost, "/signin/link/{token}/passkey", public, s.linkPasskey},
		{http.MethodPost, "/signin/link/{token}/passkey/finish", public, s.linkPasskeyFinish},
		{http.MethodPost, "/signout", public, s.signOut},
	}
}

// Bounds of the sign-in.
const (
	maxSignInForm = 128 << 10        // octets of a form or a browser's answer
	failStep      = time.Second      // a refusal is answered a whole number of these after it was asked for
	failStepAsked = 4 * time.Second  // where the primary may be asked for a password, which takes longer
	stateTime     = 10 * time.Minute // how long the second of two steps may wait
)

// viewerFrom says who asks: the account of the session whose cookie came with the request. nil for nobody.
func (s *Server) viewerFrom(r *http.Request) (*viewer, error) {
	c, err := r.Cookie(s.cookie(sessionCookie))
	if err != nil {
		return nil, nil
	}
	look := s.o.SignIn.Sessions.Lookup
	if r.URL.Path == "/events" {
		look = s.o.SignIn.Sessions.Check // a page left open is no use of the session
	}
	found, ok := look(c.Value)
	if !ok {
		return nil, nil
	}
	a, ok := s.o.Accounts.Account(found.Account)
	if !ok || !a.Active() {
		return nil, nil
	}
	v := &viewer{Account: a, Session: found, Lang: a.Language, Zone: zoneOf(r)}
	v.Own, v.Shared = s.o.Accounts.Boxes(a.Address)
	if a.Zone != "" {
		if zone, err := time.LoadLocation(a.Zone); err == nil {
			v.Zone = zone
		}
	}
	return v, nil
}

// doorData is what all pages of the sign-in show.
type doorData struct {
	Address string // as typed or known, "" for none
	Name    string // of the account, only where this browser may know it
	Next    string // where to go after it
	Error   string // what went wrong, in words
	State   *line  // what is going on with the mail server
	Notice  string // the admin's words
	Contact string

	Devices []doorDevice // accounts that this browser is ready for
	Ways    ways
	Hidden  string // what the second step takes from the first
	Token   string // of a link
	Link    string // "sign-in", "practice", or the key of what is wrong with it
	Until   string // of a link
	Again   bool   // a session is there, but too old for what was wanted
}

type doorDevice struct{ Address, Name string }

// ways are what a person can use today.
type ways struct {
	Password bool
	Learned  bool // the password of the normal mailbox is good too
	Code     bool // codes of the sheet count now
	NoCodes  bool // and wouldn't help: this person has none left
	Passkey  bool // this site can have passkeys
}

// door fills in what all pages of the sign-in show.
func (s *Server) door(r *http.Request, address string) doorData {
	d := doorData{Address: address, Contact: s.o.Contact, Next: localPath(r.FormValue("next")), Ways: ways{Password: true, Passkey: s.site(r).Host != ""}}
	_, domain, typed := strings.Cut(address, "@")
	if !typed {
		domain = s.onlyDomain()
	}
	if domain == "" {
		return d
	}
	state := s.o.Outages.Domain(domain)
	d.Notice = state.Notice
	t := s.wordsOf(r)
	since := t.Since(state.Since, s.o.Now(), zoneOf(r))
	switch {
	case state.Drill && state.Down:
		d.State = &line{Kind: "drill", Text: t.T("signin.state.drill", "since", since)}
	case state.Recovering:
		d.State = &line{Kind: "recovering", Text: t.T("signin.state.recovering")}
	case state.Down:
		d.State = &line{Kind: "down", Text: t.T("signin.state.down", "since", since)}
	}
	d.Ways.Code = typed && state.Hosted && (state.Down || state.Recovering)
	d.Ways.Learned = typed && s.o.SignIn.Learn != nil && s.o.SignIn.Learn.Learns(domain)
	return d
}

// onlyEvery is how often the accounts are asked for their domains: the page is open to everybody.
const onlyEvery = 10 * time.Second

// only is the domain of all accounts, as of at.
type only struct {
	sync.Mutex
	domain string
	at     time.Time
}

// onlyDomain is the domain of all accounts, "" when they are of several: whose mail is out is told to nobody else.
func (s *Server) onlyDomain() string {
	s.only.Lock()
	defer s.only.Unlock()
	if now := time.Now(); s.only.at.IsZero() || now.Sub(s.only.at) >= onlyEvery {
		s.only.domain, s.only.at = s.findOnlyDomain(), now
	}
	return s.only.domain
}

func (s *Server) findOnlyDomain() string {
	only := ""
	for _, a := range s.o.Accounts.All() {
		if d := a.Domain(); only == "" {
			only = d
		} else if d != only {
			return ""
		}
	}
	return only
}

// signIn is the first page: whose mail is it?
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	again := r.URL.Query().Get("again") != ""
	v := viewerOf(r.Context())
	if v != nil && !again {
		http.Redirect(w, r, localPath(r.URL.Query().Get("next")), http.StatusSeeOther)
		return
	}
	address := cleanAddress(r.URL.Query().Get("address")) // the QR code of a sheet brings it
	if v != nil && address == "" {
		address = v.Account.Address
	}
	d := s.door(r, "")
	d.Address, d.Again = address, again && v != nil
	d.Devices = s.doorDevices(r)
	s.page(w, out(r), http.StatusOK, "signin", d)
}

// out is the request as nobody's: the pages of the sign-in have no mail beside them.
func out(r *http.Request) *http.Request {
	if v := viewerOf(r.Context()); v != nil {
		return r.WithContext(withViewer(r.Context(), nil))
	}
	return r
}

// signInWith is the second page: what this person can use today. It is the same for any address of a domain, whether
// or not there is such an account, unless this browser is one in which the person has signed in before.
func (s *Server) signInWith(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	address := cleanAddress(r.PostFormValue("address"))
	if address == "" {
		d := s.door(r, "")
		d.Address, d.Devices = strings.TrimSpace(r.PostFormValue("address")), s.doorDevices(r)
		d.Error = s.wordsOf(r).T("signin.error.address")
		s.page(w, out(r), http.StatusUnprocessableEntity, "signin", d)
		return
	}
	s.page(w, out(r), http.StatusOK, "signin-with", s.doorWith(r, address))
}

func (s *Server) doorWith(r *http.Request, address string) doorData {
	d := s.door(r, address)
	a, ok := s.account(address)
	if !ok || s.browserID(r, a.Address) == "" {
		return d
	}
	d.Name = a.Name
	codes, has := s.o.Accounts.Codes(a.Address)
	d.Ways.NoCodes = !has || codes.Left == 0
	d.Ways.Code = d.Ways.Code && !d.Ways.NoCodes
	d.Ways.Learned = d.Ways.Learned && !s.o.SignIn.Factors.TOTP(a.Address)
	d.Ways.Password = a.Password || d.Ways.Learned
	d.Ways.Passkey = d.Ways.Passkey && s.o.SignIn.Factors.Passkeys(a.Address, s.site(r).Host)
	return d
}

// account is the account that an address belongs to, if it may sign in.
func (s *Server) account(address string) (accounts.Account, bool) {
	a, ok := s.o.Accounts.ByAddress(address)
	return a, ok && a.Active()
}

// cleanAddress returns what was typed as an address in lower case, "" when it can't be one.
func cleanAddress(typed string) string {
	address, err := accounts.Normal(strings.TrimSpace(typed))
	if err != nil {
		return ""
	}
	return address
}

// form reads the posted form within bounds; false when it has answered already.
func (s *Server) form(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxSignInForm)
	if err := r.ParseForm(); err != nil {
		s.problem(w, r, http.StatusBadRequest, "internal")
		return false
	}
	return true
}

// clientAddr is the IP address of who asks; whoever listens has put it there, also behind a proxy.
func clientAddr(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// agent names the browser and the system of who asks, as people do: "Firefox, Windows".
func agent(r *http.Request) string {
	ua := r.UserAgent()
	find := func(names ...string) string {
		for i := 0; i+1 < len(names); i += 2 {
			if strings.Contains(ua, names[i]) {
				return names[i+1]
			}
		}
		return ""
	}
	browser := find("Edg", "Edge", "OPR/", "Opera", "SamsungBrowser", "Samsung Internet", "Firefox", "Firefox", "FxiOS", "Firefox", "CriOS", "Chrome", "Chrome", "Chrome", "Safari", "Safari")
	system := find("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows", "Mac OS X", "Mac", "CrOS", "ChromeOS", "Linux", "Linux")
	return strings.Join(slices.DeleteFunc([]string{browser, system}, func(t string) bool { return t == "" }), ", ")
}

// encrypt makes a text of v that a browser can keep and nobody can read or change. purpose is part of it.
func (s *Server) encrypt(purpose string, v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return s.o.SignIn.Secrets.Encrypt("webmail/"+purpose, b)
}

// decrypt reads what encrypt wrote for the same purpose.
func (s *Server) decrypt(purpose, text string, into any) error {
	b, err := s.o.SignIn.Secrets.Decrypt("webmail/"+purpose, text)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// refuse waits so that refusals for different reasons take the same time. began is when the request came in.
func (s *Server) refuse(ctx context.Context, began time.Time, address string) {
	step := failStep
	if _, domain, _ := strings.Cut(address, "@"); s.o.SignIn.Learn != nil && s.o.SignIn.Learn.Learns(domain) {
		step = failStepAsked
	}
	t := time.NewTimer(step - time.Since(began)%step)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errText is what a person is told of an error of the sign-in.
func (s *Server) errText(r *http.Request, err error, wrong string) string {
	t := s.wordsOf(r)
	var wait *waitError
	switch {
	case errors.As(err, &wait):
		return t.T("signin.error.wait", "n", minutes(wait.wait))
	case errors.Is(err, accounts.ErrExpired):
		return t.T("signin.error.again")
	case errors.Is(err, accounts.ErrUsed):
		return t.T("signin.error.used")
	case errors.Is(err, accounts.ErrNoOutage):
		return t.T("signin.error.nooutage")
	case errors.Is(err, errByCode):
		return t.T("signin.security.bycode")
	case errors.Is(err, accounts.ErrBusy):
		return t.T("signin.error.busy")
	case errors.Is(err, factor.ErrTooMany):
		return t.T("signin.error.toomany")
	case errors.Is(err, accounts.ErrWrong), errors.Is(err, factor.ErrWrong):
		return t.T(wrong)
	}
	return t.T("signin.error.store")
}

// ordinary errors are a person's; others are logged.
func ordinary(err error) bool {
	var wait *waitError
	if errors.As(err, &wait) {
		return true
	}
	for _, one := range []error{accounts.ErrUsed, accounts.ErrNoOutage, accounts.ErrBusy, accounts.ErrWrong, accounts.ErrExpired, factor.ErrWrong, factor.ErrTooMany, errByCode, context.Canceled} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// minutes writes a wait for people: at least one minute.
func minutes(d time.Duration) int { return max(1, int((d+time.Minute-1)/time.Minute)) }

// tooMany is the answer to who has tried too often.
func (s *Server) tooMany(w http.ResponseWriter, r *http.Request, page string, d doorData, wait time.Duration) {
	d.Error = s.wordsOf(r).T("signin.error.wait", "n", minutes(wait))
	w.Header().Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
	s.page(w, out(r), http.StatusTooManyRequests, page, d)
}
