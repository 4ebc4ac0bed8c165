package webmail

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"rsc.io/qr"

	"restante/webmail/factor"
	"restante/webmail/session"
)

// secondData is what the page shows that sets up an authenticator app.
type secondData struct {
	QR     template.HTML
	Seed   string // in groups, to be typed in
	Hidden string
	Error  string
}

// seedKept is the seed on its way through the page; nothing is kept of it before a code has shown that the app has it.
type seedKept struct {
	Account string    `json:"account"`
	Seed    string    `json:"seed"`
	At      time.Time `json:"at"`
}

// secondSetUp shows the QR code for an authenticator app.
func (s *Server) secondSetUp(w http.ResponseWriter, r *http.Request) {
	if !s.recent(w, r, "/security/second") {
		return
	}
	v := viewerOf(r.Context())
	if s.o.SignIn.Factors.TOTP(v.Account.Address) {
		http.Redirect(w, r, "/security", http.StatusSeeOther)
		return
	}
	s.showSecond(w, r, http.StatusOK, seedKept{v.Account.Address, factor.NewSeed(), time.Now()}, "")
}

func (s *Server) showSecond(w http.ResponseWriter, r *http.Request, status int, k seedKept, text string) {
	hidden, err := s.encrypt("seed", k)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	code, err := qrCode(factor.SeedURI(k.Seed, hostOf(r), k.Account))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.page(w, r, status, "security-second", secondData{QR: code, Seed: groups(k.Seed, 4), Hidden: hidden, Error: text})
}

// secondConfirm takes the first code of the app. From then on the password of the normal mailbox is no way in.
func (s *Server) secondConfirm(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) || !s.recent(w, r, "/security/second") {
		return
	}
	v := viewerOf(r.Context())
	account := v.Account.Address
	var k seedKept
	if err := s.decrypt("seed", r.PostFormValue("seed"), &k); err != nil || k.Account != account || time.Since(k.At) > time.Hour {
		http.Redirect(w, r, "/security/second", http.StatusSeeOther)
		return
	}
	err := s.o.SignIn.Factors.ConfirmTOTP(r.Context(), account, k.Seed, r.PostFormValue("code"))
	if errors.Is(err, factor.ErrWrong) {
		s.showSecond(w, r, http.StatusForbidden, k, s.wordsOf(r).T("signin.error.second"))
		return
	}
	if err == nil && s.o.SignIn.Learn != nil {
		err = s.o.SignIn.Learn.Forget(r.Context(), account, account)
	}
	if err == nil {
		err = s.endOthers(r.Context(), v, "second step set up")
	}
	if err != nil {
		s.securityFailed(w, r, "second", err)
		return
	}
	s.note(r, account, "second-on", nil)
	s.setToast(w, toast{Text: s.wordsOf(r).T("signin.second.on")})
	http.Redirect(w, r, "/security", http.StatusSeeOther)
}

// secondOff takes the second step away, for who has the app.
func (s *Server) secondOff(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	v := viewerOf(r.Context())
	account, t := v.Account.Address, s.wordsOf(r)
	done, wait := s.o.SignIn.Limiter.Begin(session.Attempt{Account: "second step of " + account, Addr: clientAddr(r), Browser: v.Session.ID, Guess: true})
	if wait > 0 {
		s.showSecurity(w, r, http.StatusTooManyRequests, "second", t.T("signin.error.wait", "n", minutes(wait)))
		return
	}
	err := s.o.SignIn.Factors.VerifyTOTP(r.Context(), account, r.PostFormValue("code"))
	done(err == nil)
	if errors.Is(err, factor.ErrWrong) {
		s.showSecurity(w, r, http.StatusForbidden, "second", t.T("signin.error.second"))
		return
	}
	if err == nil {
		err = s.o.SignIn.Factors.RemoveTOTP(r.Context(), account, account)
	}
	if err != nil {
		s.securityFailed(w, r, "second", err)
		return
	}
	s.note(r, account, "second-off", nil)
	s.setToast(w, toast{Text: t.T("signin.second.off")})
	http.Redirect(w, r, "/security", http.StatusSeeOther)
}

// groups writes a text in groups of n letters.
func groups(text string, n int) string {
	var parts []string
	for len(text) > n {
		parts, text = append(parts, text[:n]), text[n:]
	}
	return strings.Join(append(parts, text), " ")
}

// qrCode draws a text as a QR code, dark on white in both themes, as cameras want it.
func qrCode(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("QR code: %w", err)
	}
	const margin = 4 // modules of quiet zone
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+margin, y+margin, run, run)
				x += run
			}
		}
	}
	size := code.Size + 2*margin
	return template.HTML(fmt.Sprintf(`<svg class="qr" viewBox="0 0 %d %d" aria-hidden="true" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`, size, size, size, size, path.String())), nil //nolint:gosec // numbers only
}
