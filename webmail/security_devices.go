package webmail

import (
	"html/template"
	"net/http"
	"slices"
	"time"

	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/session"
)

const (
	maxDeviceRows = factor.MaxDevices
	otherTerm     = 15 * time.Minute // a link for another device of one's own is good for that long
)

// deviceRows lists the viewer's devices, and says whether this browser is one.
func (s *Server) deviceRows(r *http.Request, v *viewer) (rows []deviceRow, ready bool) {
	t, now, zone := s.wordsOf(r), s.o.Now(), zoneOf(r)
	here := v.Session.Device
	for _, k := range s.deviceKeys(r) {
		if k.Account == v.Account.Address {
			here = k.ID
		}
	}
	for _, d := range s.o.SignIn.Factors.Devices(v.Account.Address) {
		row := deviceRow{ID: d.ID, Name: d.Name, Site: d.Site, Passkey: d.Kind == factor.Passkey, Here: d.ID == here, Icon: "laptop", Until: t.When(d.Until, now, zone)}
		if phoneLike(d.Name) {
			row.Icon = "phone"
		}
		if !d.Used.IsZero() {
			row.Used = t.Since(d.Used, now, zone)
		}
		ready = ready || row.Here
		rows = append(rows, row)
	}
	return rows, ready
}

// phoneLike says whether a device's name is that of a phone or a tablet.
func phoneLike(name string) bool {
	for _, p := range []string{"iPhone", "iPad", "Android"} {
		if len(name) >= len(p) && name[len(name)-len(p):] == p {
			return true
		}
	}
	return false
}

// addDevice makes this browser ready.
func (s *Server) addDevice(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) || !s.recent(w, r, "/security") {
		return
	}
	v := viewerOf(r.Context())
	if _, err := s.makeReady(w, r, v.Account); err != nil {
		s.securityFailed(w, r, "device", err)
		return
	}
	http.Redirect(w, r, "/security/ready", http.StatusSeeOther)
}

// removeDevice takes a device away; nobody signs in by it from then on, and who has, is signed out.
func (s *Server) removeDevice(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	v := viewerOf(r.Context())
	id := r.PathValue("device")
	d, ok := s.o.SignIn.Factors.Device(v.Account.Address, id)
	if !ok {
		s.notFound(w, r)
		return
	}
	if err := s.o.SignIn.Factors.Remove(r.Context(), v.Account.Address, id, v.Account.Address); err != nil {
		s.securityFailed(w, r, "device", err)
		return
	}
	for _, one := range s.o.SignIn.Sessions.List(v.Account.Address) {
		if one.Device != id || one.ID == v.Session.ID {
			continue
		}
		if err := s.o.SignIn.Sessions.End(r.Context(), v.Account.Address, one.ID, v.Account.Address, "device removed"); err != nil {
			s.securityFailed(w, r, "device", err)
			return
		}
	}
	s.setDeviceKeys(w, s.deviceKeys(r)) // without the one that is no key any more
	s.note(r, v.Account.Address, "device-removed", map[string]any{"device": d.Name, "kind": string(d.Kind)})
	s.setToast(w, toast{Text: s.wordsOf(r).T("signin.device.removed")})
	http.Redirect(w, r, "/security", http.StatusSeeOther)
}

// addPasskey asks this device for a passkey.
func (s *Server) addPasskey(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	site := s.site(r)
	if v.Session.Method == session.Code {
		s.sorry(w, r, errByCode)
		return
	}
	if time.Since(v.Session.Started) >= recently {
		s.json(w, r, http.StatusOK, result{To: "/signin?again=1&next=/security"})
		return
	}
	if site.Host == "" {
		s.sorry(w, r, errNoPasskeys)
		return
	}
	options, state, err := s.o.SignIn.Factors.BeginPasskey(site, v.Account.Address)
	s.begin(w, r, "passkey of "+v.Account.Address, options, state, err)
}

// addPasskeyFinish keeps it.
func (s *Server) addPasskeyFinish(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	c, state, ok := s.answer(w, r, "passkey of "+v.Account.Address)
	if !ok {
		return
	}
	if _, err := s.keepPasskey(r, v.Account, state, c.Answer); err != nil {
		s.sorry(w, r, err)
		return
	}
	s.json(w, r, http.StatusOK, result{To: "/security/ready"})
}

// readyData is what the page says that comes after a device was made ready.
type readyData struct {
	Host  string
	Until string
	Link  string        // for another device, "" when none was asked for
	QR    template.HTML // of it
	Term  int           // minutes that it is good
}

// ready tells what to do on a bad day.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	devices := s.o.SignIn.Factors.Devices(viewerOf(r.Context()).Account.Address)
	if len(devices) == 0 {
		http.Redirect(w, r, "/security", http.StatusSeeOther)
		return
	}
	// It was made or used a moment ago, so it comes first.
	s.page(w, r, http.StatusOK, "security-ready", readyData{Host: r.Host, Until: s.wordsOf(r).Day(devices[0].Until, zoneOf(r))})
}

// otherDevice makes a link, shown as a QR code, by which another device of the same person gets ready.
func (s *Server) otherDevice(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) || !s.recent(w, r, "/security") {
		return
	}
	v := viewerOf(r.Context())
	links, err := s.o.Accounts.MakeLinks(r.Context(), v.Account.Address, accounts.LinkPractice, otherTerm, v.Account.Address)
	if err != nil {
		s.securityFailed(w, r, "device", err)
		return
	}
	d := readyData{Host: r.Host, Term: int(otherTerm / time.Minute)}
	scheme := "https://"
	if !s.o.Secure {
		scheme = "http://"
	}
	d.Link = scheme + r.Host + "/signin/link/" + links[0].Token
	if d.QR, err = qrCode(d.Link); err != nil {
		s.fail(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, "security-other", d)
}

// sessionsData is what the page "sessions" shows.
type sessionsData struct{ Sessions []sessionRow }

type sessionRow struct {
	ID, Agent, Addr, Icon string
	How                   string // key of the words
	Started, Seen, Until  string
	Here, Waits           bool // Waits: for the next outage
}

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	v, t, now, zone := viewerOf(r.Context()), s.wordsOf(r), s.o.Now(), zoneOf(r)
	var d sessionsData
	for _, one := range s.o.SignIn.Sessions.List(v.Account.Address) {
		row := sessionRow{ID: one.ID, Agent: one.Agent, Addr: one.Addr, Icon: "laptop", How: string(one.Method), Started: t.Since(one.Started, now, zone),
			Seen: t.Since(one.Seen, now, zone), Until: t.Since(one.Until, now, zone), Here: one.ID == v.Session.ID}
		if phoneLike(one.Agent) {
			row.Icon = "phone"
		}
		if one.Outage {
			_, good := s.o.SignIn.Sessions.Peek(one.ID)
			row.Waits = !good
		}
		d.Sessions = append(d.Sessions, row)
	}
	slices.SortStableFunc(d.Sessions, func(a, b sessionRow) int {
		if a.Here != b.Here && a.Here {
			return -1
		}
		return 0
	})
	s.page(w, r, http.StatusOK, "sessions", d)
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	id := r.PathValue("session")
	if id == v.Session.ID {
		s.signOut(w, r)
		return
	}
	err := s.o.SignIn.Sessions.End(r.Context(), v.Account.Address, id, v.Account.Address, "ended from another session")
	if err == session.ErrNotFound {
		s.notFound(w, r)
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.note(r, v.Account.Address, "session-ended", nil)
	s.setToast(w, toast{Text: s.wordsOf(r).T("signin.sessions.ended")})
	http.Redirect(w, r, "/security/sessions", http.StatusSeeOther)
}

// endSessions signs out everywhere else.
func (s *Server) endSessions(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	if err := s.endOthers(r.Context(), v, "signed out everywhere else"); err != nil {
		s.fail(w, r, err)
		return
	}
	s.note(r, v.Account.Address, "sessions-ended", nil)
	s.setToast(w, toast{Text: s.wordsOf(r).T("signin.sessions.allended")})
	http.Redirect(w, r, "/security/sessions", http.StatusSeeOther)
}
