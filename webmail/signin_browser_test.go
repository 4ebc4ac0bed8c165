package webmail

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"restante/webmail/accounts"
	chrome "restante/webmail/browser"
	"restante/webmail/factor"
	"restante/webmail/session"
)

// serve puts the rig on the network as localhost, where browsers allow passkeys without https.
func (r *doorRig) serve() string {
	r.t.Helper()
	web := httptest.NewServer(r.server)
	r.t.Cleanup(func() { r.server.Close(); web.Close() })
	u, err := url.Parse(web.URL)
	r.must(err)
	return "http://localhost:" + u.Port()
}

// authenticator gives the page's browser one that has everything.
func authenticator(t *testing.T, p *chrome.Page) {
	t.Helper()
	p.Do("plugging in an authenticator", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true,
			HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		return chromedp.Void{}, err
	})
}

// wantURL waits until the page is at a path.
func wantURL(p *chrome.Page, path string) {
	p.Until(fmt.Sprintf("location.pathname === %q && document.readyState === 'complete'", path))
}

func TestPasskeys(t *testing.T) {
	b := chrome.ForTest(t)
	r := newDoorRig(t, nil)
	base := r.serve()
	links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkPractice, 0, doorAnna, doorMax)
	r.must(err)
	p := b.Page(t, chrome.Desktop())
	authenticator(t, p)

	// On a good day the practice link makes a passkey.
	p.Open(base + "/signin/link/" + links[0].Token)
	p.Click("form[data-passkey] button")
	wantURL(p, "/security/ready")
	devices := r.factors.Devices(doorAnna)
	if len(devices) != 1 || devices[0].Kind != factor.Passkey || devices[0].Site != "localhost" {
		t.Fatalf("devices %+v", devices)
	}
	if _, err := r.people.Link(links[0].Token); err != accounts.ErrUsed {
		t.Errorf("the link is still good: %v", err)
	}
	if l := r.sessions.List(doorAnna); len(l) != 1 || l[0].Method != session.Practice {
		t.Errorf("sessions %+v", l)
	}

	// A second one on the same device isn't needed.
	p.Open(base + "/security")
	p.Click("form[data-passkey] button")
	p.Until("!document.querySelector('[data-error]').hidden")
	if got := p.Text("[data-error]"); !strings.Contains(got, "already") || len(r.factors.Devices(doorAnna)) != 1 {
		t.Errorf("a second passkey: %q, %d devices", got, len(r.factors.Devices(doorAnna)))
	}

	// On the bad day one press signs in, without an address.
	r.outage()
	p.Open(base + "/security")
	p.ClickThrough(".me button")
	wantURL(p, "/signin")
	p.Click("form[data-passkey] button")
	p.Until("location.pathname !== '/signin' && document.readyState === 'complete'")
	if l := r.sessions.List(doorAnna); len(l) != 1 || l[0].Method != session.Passkey || !l[0].Second || l[0].Device != devices[0].ID {
		t.Errorf("sessions %+v", l)
	}
	if d := r.factors.Devices(doorAnna); d[0].Used.IsZero() {
		t.Error("the use isn't kept")
	}

	// Nothing is said where it was removed.
	r.must(r.factors.Remove(t.Context(), doorAnna, devices[0].ID, "admin"))
	p.Open(base + "/security")
	p.ClickThrough(".me button")
	wantURL(p, "/signin")
	p.Click("form[data-passkey] button")
	p.Until("!document.querySelector('[data-error]').hidden")
	if got := p.Text("[data-error]"); !strings.Contains(got, "passkey didn't work") {
		t.Errorf("error %q", got)
	}
	if l := r.sessions.List(doorAnna); len(l) != 0 {
		t.Errorf("signed in by a removed passkey: %+v", l)
	}
	if got := b.Escapes(); len(got) > 0 {
		t.Errorf("asked for from outside: %q", got)
	}
}

// A passkey that asks for the person (a finger, a PIN) is two steps in one.
func TestPasskeyIsBothSteps(t *testing.T) {
	b := chrome.ForTest(t)
	r := newDoorRig(t, nil)
	base := r.serve()
	p := b.Page(t, chrome.Phone())
	authenticator(t, p)
	r.signIn(p, base, doorAnna)
	p.Open(base + "/security")
	p.Click("form[data-passkey] button")
	wantURL(p, "/security/ready")
	seed := factor.NewSeed()
	r.must(r.factors.ConfirmTOTP(t.Context(), doorAnna, seed, totpAt(t, seed, time.Now())))
	r.must(r.sessions.EndAll(t.Context(), doorAnna, "", "test", "test"))
	p.Open(base + "/signin")
	p.Click("form[data-passkey] button")
	p.Until("location.pathname !== '/signin' && document.readyState === 'complete'")
	if l := r.sessions.List(doorAnna); len(l) != 1 || l[0].Method != session.Passkey || !l[0].Second {
		t.Errorf("sessions %+v at %s", l, p.URL())
	}
}

// signIn gives the page a session of the account, as of now.
func (r *doorRig) signIn(p *chrome.Page, base, account string) {
	r.t.Helper()
	token, _, err := r.sessions.Start(context.Background(), session.Session{Account: account, Method: session.Password, Addr: "127.0.0.1", Agent: "Chrome, Linux"})
	r.must(err)
	p.Cookie(base, "session", token)
}

// Without JavaScript: password, second page, code, device, everything but passkeys.
func TestSignInWithoutScript(t *testing.T) {
	b := chrome.ForTest(t)
	r := newDoorRig(t, nil)
	base := r.serve()
	r.outage()
	sheets, err := r.people.MakeCodes(t.Context(), "admin", doorAnna)
	r.must(err)
	p := b.Page(t, chrome.Phone().WithoutScript())
	p.Open(base + "/m/me/inbox")
	wantURL(p, "/signin")
	p.Type("#address", doorAnna)
	p.ClickThrough("form .primary")
	p.Type("#code", sheets[0].Codes[0])
	p.ClickThrough(`form[action="/signin/code"] button`)
	wantURL(p, "/m/me/inbox")
	p.Open(base + "/security")
	p.Until(`document.body.innerText.includes("signed in by a code")`)

	// An admin's link lets in for longer.
	links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkSignIn, time.Hour, doorAnna)
	r.must(err)
	p.Open(base + "/signin/link/" + links[0].Token)
	p.ClickThrough("form .primary")
	wantURL(p, "/m/me/inbox")
	p.Open(base + "/security")
	p.ClickThrough(`form[action="/security/devices"] button`)
	wantURL(p, "/security/ready")
	if len(r.factors.Devices(doorAnna)) != 1 {
		t.Error("the device isn't ready")
	}
}

// TestSignInLooks opens every page of sign-in and security in every view.
// RESTANTE_SCREENSHOTS=<folder> keeps pictures of them all.
func TestSignInLooks(t *testing.T) {
	b := chrome.ForTest(t)
	r := newDoorRig(t, nil)
	base := r.serve()
	links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkSignIn, 0, doorAnna, doorAnna)
	r.must(err)
	_, err = r.people.UseLink(t.Context(), links[1].Token)
	r.must(err)
	practice, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkPractice, 0, doorAnna)
	r.must(err)
	_, err = r.people.MakeCodes(t.Context(), "admin", doorAnna)
	r.must(err)
	key, _, err := r.factors.AddKey(t.Context(), doorAnna, "Firefox, Windows", "localhost")
	r.must(err)
	_, _, err = r.factors.AddKey(t.Context(), doorAnna, "Safari, iPhone", "localhost")
	r.must(err)
	r.mail.NoteActivity(doorAnna, "", "send", map[string]any{"recipients": 3, "addr": "192.0.2.1", "agent": "Chrome, Linux"})
	r.mail.NoteActivity(doorAnna, "", "sign-in-failed", map[string]any{"addr": "198.51.100.7", "agent": "Chrome, Windows"})
	r.mail.NoteActivity(doorAnna, "", "sign-in", map[string]any{"method": "passkey", "addr": "192.0.2.1", "agent": "Safari, iPhone"})
	maxSeed := factor.NewSeed()
	r.must(r.factors.ConfirmTOTP(t.Context(), doorMax, maxSeed, totpAt(t, maxSeed, time.Now())))
	type page struct {
		name, path string
		do         func(p *chrome.Page)
	}
	address := func(who string) func(p *chrome.Page) {
		return func(p *chrome.Page) {
			p.Type("#address", who)
			p.ClickThrough(`form[action="/signin"] button`)
		}
	}
	out := []page{
		{"signin", "/signin", nil},
		{"signin-with", "/signin", address("somebody.else@example.test")},
		{"signin-wrong", "/signin", func(p *chrome.Page) {
			address(doorAnna)(p)
			p.Type("#password", "wrong")
			p.ClickThrough(`form[action="/signin/password"] button`)
		}},
		{"signin-second", "/signin", func(p *chrome.Page) {
			address(doorMax)(p)
			p.Type("#password", "correct horse")
			p.ClickThrough(`form[action="/signin/password"] button`)
		}},
		{"signin-link", "/signin/link/" + links[0].Token, nil},
		{"signin-link-used", "/signin/link/" + links[1].Token, nil},
		{"signin-practice", "/signin/link/" + practice[0].Token, nil},
	}
	in := []page{
		{"security", "/security", nil},
		{"security-wrong", "/security", func(p *chrome.Page) {
			p.Type("#current", "wrong")
			p.Type("#new", "battery staple")
			p.ClickThrough(`form[action="/security/password"] button`)
		}},
		{"security-second", "/security/second", nil},
		{"security-ready", "/security/ready", nil},
		{"security-other", "/security", func(p *chrome.Page) { p.ClickThrough(`form[action="/security/devices/other"] button`) }},
		{"sessions", "/security/sessions", nil},
		{"activity", "/activity", nil},
	}
	axe := true
	look := func(view chrome.View, p *chrome.Page, pages []page) {
		for _, one := range pages {
			p.Forget()
			p.Open(base + one.path)
			if one.do != nil {
				one.do(p)
			}
			p.Screenshot(one.name)
			if axe {
				p.NoViolations(one.name)
			}
			for _, e := range p.Errors() {
				if !strings.Contains(e, "status of 40") {
					t.Errorf("%s (%s): %s", one.name, view.Name, e)
				}
			}
			if got := p.Wide(); got > view.Width {
				t.Errorf("%s (%s) is %d px wide", one.name, view.Name, got)
			}
		}
	}
	views := chrome.Views()
	if os.Getenv("RESTANTE_SCREENSHOTS") == "" {
		views = []chrome.View{chrome.Phone(), chrome.Desktop().InDark()} // both sizes and both themes are enough to find faults
	}
	for _, view := range views {
		p := b.Page(t, view)
		r.outage()
		look(view, p, out)
		p.Cookie(base, devicesCookie, key)
		look(view, p, []page{{"signin-device", "/signin", nil}})
		r.set(DomainState{Hosted: true, Up: true})
		look(view, p, []page{{"signin-up", "/signin", address(doorAnna)}})
		r.signIn(p, base, doorAnna)
		look(view, p, in)
	}
	axe = false // the same pages, with longer words
	for _, lang := range []string{"de", "fr", "ja"} {
		view := chrome.Phone()
		view.Language, view.Name = lang, "phone-"+lang
		p := b.Page(t, view)
		r.outage()
		look(view, p, out[:2])
		r.signIn(p, base, doorAnna)
		look(view, p, in[:1])
		look(view, p, in[5:])
	}
}
