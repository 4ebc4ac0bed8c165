package webmail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"

	"restante/webmail/accounts"
	"restante/webmail/factor"
	"restante/webmail/session"
)

// door runs a test in fake time: refusals wait.
func door(t *testing.T, change func(*Options), run func(t *testing.T, r *doorRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { run(t, newDoorRig(t, change)) })
}

func TestPasswordSignsIn(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("first page", c.do("/signin", nil), 200, "Your mail address")
		r.want("address", c.post("/signin", "address", " Anna@Example.test "), 200, `value="anna@example.test"`)
		r.want("no address", c.post("/signin", "address", "anna"), 422, "whole mail address")
		r.want("wrong", c.password(doorAnna, "wrong"), 403, "don&#39;t match")
		c.wantIn("after a wrong password", doorAnna, false)
		w := c.password(doorAnna, "correct horse")
		r.want("right", w, 303, "")
		c.wantIn("after the right password", doorAnna, true)
		r.want("alias", r.guest("192.0.2.2").password("x"+doorAnna, "correct horse"), 303, "")
		k := c.cookies["session"]
		if !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || k.MaxAge > 7*24*3600 {
			t.Errorf("cookie %+v", k)
		}
		if a, _ := r.people.Account(doorAnna); a.Practised.IsZero() {
			t.Error("signing in on a good day is no practice")
		}
		evs, err := r.mail.Activity(t.Context(), doorAnna, time.Time{}, 10)
		if err != nil || len(evs) != 3 {
			t.Fatalf("%d activities, %v", len(evs), err)
		}
		r.want("activity", c.do("/activity", nil), 200, "Somebody couldn&#39;t sign in")
		r.want("activity", c.do("/activity", nil), 200, "Firefox, Linux · 192.0.2.1")
		r.want("sign out", c.post("/signout"), 303, "")
		c.wantIn("after signing out", doorAnna, false)
		if len(r.sessions.List(doorAnna)) != 1 {
			t.Error("the session wasn't ended")
		}
	})
}

// A page in which numbers and addresses are taken out.
func faceless(page string, words ...string) string {
	for _, w := range words {
		page = strings.ReplaceAll(page, w, "X")
	}
	return regexp.MustCompile(`class="avatar t\d"`).ReplaceAllString(page, "")
}

// Nobody learns from pages or times whether there is an account, whether it is disabled, or has a second step.
func TestUnknownLooksLikeKnown(t *testing.T) {
	for _, down := range []bool{false, true} {
		door(t, nil, func(t *testing.T, r *doorRig) {
			_, err := r.people.Edit(t.Context(), "admin", doorMax, accounts.Edit{Disabled: new(true)})
			r.must(err)
			if down {
				r.outage()
			}
			ways := map[string]func(c *guest, address string) (int, string){
				"page": func(c *guest, a string) (int, string) {
					w := c.post("/signin", "address", a)
					return w.Code, w.Body.String()
				},
				"password": func(c *guest, a string) (int, string) {
					w := c.password(a, "wrong")
					return w.Code, w.Body.String()
				},
				"code": func(c *guest, a string) (int, string) {
					w := c.post("/signin/code", "address", a, "code", "AAAA-AAAA")
					return w.Code, w.Body.String()
				},
				"device": func(c *guest, a string) (int, string) {
					w := c.post("/signin/device", "address", a)
					return w.Code, w.Body.String()
				},
			}
			for name, way := range ways {
				var first string
				var took time.Duration
				for i, address := range []string{doorAnna, doorMax, "nobody@example.test"} {
					began := time.Now()
					code, page := way(r.guest(fmt.Sprintf("192.0.2.%d", i+1)), address)
					page = fmt.Sprint(code) + faceless(page, address, strings.ReplaceAll(address, "@", "%40"), ">"+strings.ToUpper(address[:1])+"<")
					if i == 0 {
						first, took = page, time.Since(began)
						continue
					}
					if page != first {
						t.Errorf("%s of %s differs, down %v:\n%s\n---\n%s", name, address, down, between(page), between(first))
					}
					if d := time.Since(began); d != took {
						t.Errorf("%s of %s takes %v, of a known one %v", name, address, d, took)
					}
				}
			}
		})
	}
}

func TestCodeOnPaper(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		sheets, err := r.people.MakeCodes(t.Context(), "admin", doorAnna)
		r.must(err)
		codes := sheets[0].Codes
		c := r.guest("192.0.2.1")
		r.want("good day", c.post("/signin/code", "address", doorAnna, "code", codes[0]), 403, "wasn&#39;t used up")
		r.outage()
		page := c.post("/signin", "address", doorAnna)
		r.want("outage", page, 200, "Code from your sheet")
		r.want("outage", page, 200, "unreachable since")
		r.want("notice", page, 200, "Back at about 14:00.")
		r.want("contact", page, 200, "IT, extension 100")
		r.want("wrong", c.post("/signin/code", "address", doorAnna, "code", "AAAA-AAAA"), 403, "no code of yours")
		r.want("somebody else's", c.post("/signin/code", "address", doorMax, "code", codes[0]), 403, "no code of yours")
		r.want("right", c.post("/signin/code", "address", doorAnna, "code", strings.ToLower(codes[0])), 303, "")
		c.wantIn("by code", doorAnna, true)
		page = c.do("/security", nil)
		r.want("said before anything is pressed", page, 200, "signed in by a code")
		for _, offer := range []string{`action="/security/devices"`, `action="/security/devices/other"`, `"/security/passkey"`, `"/security/second"`} {
			if strings.Contains(page.Body.String(), offer) {
				t.Errorf("the page offers %s, which a code doesn't open", offer)
			}
		}
		for _, path := range []string{"/security/devices", "/security/devices/other"} {
			r.want("a card that was found opens nothing for longer: "+path, c.post(path), 403, "signed in by a code")
		}
		r.want("second step", c.do("/security/second", nil), 403, "signed in by a code")
		r.want("passkey", c.post("/security/passkey"), 403, "signed in by a code")
		r.want("password", c.post("/security/password", "new", "battery staple"), 403, "isn&#39;t right")
		r.want("twice", r.guest("192.0.2.2").post("/signin/code", "address", doorAnna, "code", codes[0]), 403, "used before")
		other := r.guest("192.0.2.3")
		r.want("in the password's field", other.password(doorAnna, codes[1]), 303, "")
		if a, _ := r.people.Account(doorAnna); !a.Practised.IsZero() {
			t.Error("a real outage counts as practice")
		}
		r.set(DomainState{Hosted: true, Up: true})
		c.wantIn("after the outage", doorAnna, false)
		other.wantIn("after the outage", doorAnna, false)
	})
}

func TestLink(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkSignIn, time.Hour, doorAnna, doorAnna)
		r.must(err)
		path := "/signin/link/" + links[0].Token
		for range 3 { // programs that preview it
			r.want("look", r.guest("192.0.2.9").do(path, nil), 200, "Sign in as Anna Schmidt")
		}
		c := r.guest("192.0.2.1")
		r.want("use", c.post(path), 303, "")
		c.wantIn("by link", doorAnna, true)
		r.want("again", r.guest("192.0.2.2").post(path), 404, "used already")
		r.want("look again", c.do(path, nil), 404, "used already")
		r.want("wrong", c.do("/signin/link/nonsense", nil), 404, "doesn&#39;t work")
		r.want("no passkey by it", r.guest("192.0.2.2").post("/signin/link/"+links[1].Token+"/passkey"), 403, "passkey")
		time.Sleep(time.Hour)
		r.want("late", r.guest("192.0.2.3").post("/signin/link/"+links[1].Token), 404, "too old")
		// The password may be set without the old one, for a while.
		time.Sleep(time.Second)
	})
}

func TestForgottenPasswordAfterALink(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkSignIn, time.Hour, doorAnna)
		r.must(err)
		c := r.guest("192.0.2.1")
		r.want("use", c.post("/signin/link/"+links[0].Token), 303, "")
		r.want("without the old one", c.post("/security/password", "new", "battery staple"), 303, "")
		r.want("new password", r.guest("192.0.2.2").password(doorAnna, "battery staple"), 303, "")
		time.Sleep(recently)
		r.want("too late", c.post("/security/password", "new", "something else"), 403, "isn&#39;t right")
	})
}

func TestPracticeMakesADeviceReady(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkPractice, 0, doorAnna)
		r.must(err)
		path := "/signin/link/" + links[0].Token
		c := r.guest("192.0.2.1")
		r.want("look", c.do(path, nil), 200, "Remember this browser")
		w := c.post(path)
		if w.Code != 303 || w.Header().Get("Location") != "/security/ready" {
			t.Fatalf("practice: %d to %q", w.Code, w.Header().Get("Location"))
		}
		r.want("ready", c.do("/security/ready", nil), 200, "This device is ready until")
		r.want("again", r.guest("192.0.2.2").post(path), 404, "used already")
		r.want("sign out", c.post("/signout"), 303, "")
		r.outage()
		r.want("offered", c.do("/signin", nil), 200, "Continue as Anna Schmidt")
		r.want("somebody else's", c.post("/signin/device", "address", doorMax), 403, "isn&#39;t ready")
		r.want("by the device", c.post("/signin/device", "address", doorAnna), 303, "")
		c.wantIn("by the device", doorAnna, true)
		d := r.factors.Devices(doorAnna)
		if len(d) != 1 || d[0].Name != "Firefox, Linux" {
			t.Fatalf("%+v", d)
		}
		r.want("listed", c.do("/security", nil), 200, "Firefox, Linux")
		// Another browser of hers removes it.
		other := r.guest("192.0.2.5")
		r.want("other", other.password(doorAnna, "correct horse"), 303, "")
		stranger := r.guest("192.0.2.6")
		r.want("stranger", stranger.password(doorMax, "correct horse"), 303, "")
		r.want("not his", stranger.post("/security/devices/"+d[0].ID+"/remove"), 404, "")
		r.want("remove", other.post("/security/devices/"+d[0].ID+"/remove"), 303, "")
		c.wantIn("after its removal", doorAnna, false)
		r.want("not offered any more", c.do("/signin", nil), 200, "Your mail address")
		r.want("after its removal", c.post("/signin/device", "address", doorAnna), 403, "isn&#39;t ready")
	})
}

func TestTwoPeopleOneBrowser(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkPractice, 0, doorAnna, doorMax)
		r.must(err)
		c := r.guest("192.0.2.1")
		for _, l := range links {
			r.want("practice", c.post("/signin/link/"+l.Token), 303, "")
		}
		if n := len(r.sessions.List(doorAnna)); n != 0 {
			t.Errorf("anna still has %d sessions in a browser where max signed in", n)
		}
		r.want("sign out", c.post("/signout"), 303, "")
		page := c.do("/signin", nil)
		r.want("both offered", page, 200, "Continue as Anna Schmidt")
		r.want("both offered", page, 200, "Continue as Max Weber")
	})
}

func TestAnotherDeviceByQR(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c, phone := r.guest("192.0.2.1"), r.guest("198.51.100.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		page := c.post("/security/devices/other")
		r.want("QR", page, 200, `<svg class="qr"`)
		link := regexp.MustCompile(`/signin/link/[a-z0-9]+`).FindString(page.Body.String())
		r.want("scanned", phone.post(link), 303, "")
		phone.wantIn("phone", doorAnna, true)
		c.wantIn("laptop", doorAnna, true)
	})
}

// totpAt returns what the app shows at a time.
func totpAt(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(seed, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// nextCode waits for the next time step and returns what the app shows then.
func nextCode(t *testing.T, seed string) string {
	t.Helper()
	time.Sleep(30 * time.Second)
	return totpAt(t, seed, time.Now())
}

var hiddenField = regexp.MustCompile(`name="(?:first|seed)" value="([^"]+)"`)

func hidden(t *testing.T, page string) string {
	t.Helper()
	m := hiddenField.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no hidden field in %s", between(page))
	}
	return m[1]
}

// setUpSecond turns the second step on and returns the seed.
func setUpSecond(t *testing.T, r *doorRig, c *guest) string {
	t.Helper()
	page := c.do("/security/second", nil)
	r.want("set up", page, 200, `<svg class="qr"`)
	seed := strings.ReplaceAll(regexp.MustCompile(`<code class="seed">([A-Z2-7 ]+)</code>`).FindStringSubmatch(page.Body.String())[1], " ", "")
	r.want("wrong code", c.post("/security/second", "seed", hidden(t, page.Body.String()), "code", "000000"), 403, "isn&#39;t right")
	r.want("confirm", c.post("/security/second", "seed", hidden(t, page.Body.String()), "code", nextCode(t, seed)), 303, "")
	return seed
}

func TestSecondStep(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c, old := r.guest("192.0.2.1"), r.guest("192.0.2.7")
		r.want("old", old.password(doorAnna, "correct horse"), 303, "")
		time.Sleep(time.Second)
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		seed := setUpSecond(t, r, c)
		c.wantIn("here", doorAnna, true)
		old.wantIn("elsewhere", doorAnna, false)

		other := r.guest("192.0.2.2")
		page := other.password(doorAnna, "correct horse")
		r.want("second step", page, 200, "Code from your authenticator app")
		other.wantIn("before the second step", doorAnna, false)
		first := hidden(t, page.Body.String())
		r.want("wrong", other.post("/signin/second", "first", first, "code", "000000"), 403, "isn&#39;t right")
		r.want("forged", other.post("/signin/second", "first", first[:len(first)-2]+"AA", "code", nextCode(t, seed)), 403, "too long")
		r.want("right", other.post("/signin/second", "first", first, "code", nextCode(t, seed)), 303, "")
		other.wantIn("after the second step", doorAnna, true)
		if l := r.sessions.List(doorAnna); len(l) != 2 || !l[0].Second && !l[1].Second {
			t.Errorf("sessions %+v", l)
		}

		late := r.guest("192.0.2.3")
		page = late.password(doorAnna, "correct horse")
		first = hidden(t, page.Body.String())
		time.Sleep(stateTime)
		r.want("late", late.post("/signin/second", "first", first, "code", nextCode(t, seed)), 403, "too long")

		// Neither links nor remembered browsers pass it by.
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkPractice, 0, doorAnna, doorAnna)
		r.must(err)
		r.want("practice link", late.post("/signin/link/"+links[0].Token), 200, "Code from your authenticator app")
		late.wantIn("by the link alone", doorAnna, false)
		r.want("device", late.post("/signin/device", "address", doorAnna), 200, "Code from your authenticator app")
		r.want("no passkey by the link", late.post("/signin/link/"+links[1].Token+"/passkey"), 403, "passkey")

		r.want("turn off, wrong", c.post("/security/second/off", "code", "000000"), 403, "isn&#39;t right")
		r.want("turn off", c.post("/security/second/off", "code", nextCode(t, seed)), 303, "")
		r.want("password alone", r.guest("192.0.2.4").password(doorAnna, "correct horse"), 303, "")
	})
}

// After a passkey that didn't ask for the person, a script is told to go to the second step.
func TestSecondStepAfterAScript(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		seed := setUpSecond(t, r, c)
		r.want("without a first step", r.guest("192.0.2.2").do("/signin/second", nil), 303, "")
		a, _ := r.people.Account(doorAnna)
		w := httptest.NewRecorder()
		r.server.askSecondLater(w, httptest.NewRequest(http.MethodPost, "/signin/passkey/finish", nil), a, proof{How: session.Passkey, Next: "/m/me/inbox"})
		r.want("script", w, 200, `{"to":"/signin/second"}`)
		phone := r.guest("192.0.2.3")
		for _, k := range w.Result().Cookies() {
			phone.cookies[k.Name] = k
		}
		page := phone.do("/signin/second", nil)
		r.want("page", page, 200, "Code from your authenticator app")
		phone.wantIn("before the second step", doorAnna, false)
		w = phone.post("/signin/second", "first", hidden(t, page.Body.String()), "code", nextCode(t, seed))
		if w.Header().Get("Location") != "/m/me/inbox" || phone.cookies["second"] != nil {
			t.Errorf("to %q with cookies %v", w.Header().Get("Location"), phone.cookies)
		}
		phone.wantIn("after the second step", doorAnna, true)
	})
}

func TestGuessesDoNotLockOut(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		home := r.guest("192.0.2.1")
		r.want("at home", home.password(doorAnna, "correct horse"), 303, "")
		sheets, err := r.people.MakeCodes(t.Context(), "admin", doorAnna)
		r.must(err)
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkSignIn, 0, doorAnna)
		r.must(err)
		r.outage()
		limited := 0
		for i := range 30 {
			w := r.guest(fmt.Sprintf("198.51.100.%d", i+1)).password(doorAnna, "wrong")
			if w.Code == http.StatusTooManyRequests {
				limited++
				if w.Header().Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
		}
		if limited < 15 {
			t.Errorf("%d of 30 guesses were limited", limited)
		}
		r.want("elsewhere", r.guest("203.0.113.1").password(doorAnna, "correct horse"), 429, "Too many tries")
		home.wantIn("session", doorAnna, true)
		r.want("other browser at home", r.guest("192.0.2.1").password(doorAnna, "correct horse"), 303, "")
		moved := r.guest("203.0.113.2")
		moved.cookies["browser"] = home.cookies["browser"]
		r.want("known browser elsewhere", moved.password(doorAnna, "correct horse"), 303, "")
		r.want("code", r.guest("203.0.113.3").post("/signin/code", "address", doorAnna, "code", sheets[0].Codes[0]), 303, "")
		r.want("link", r.guest("203.0.113.4").post("/signin/link/"+links[0].Token), 303, "")
		r.want("somebody else", r.guest("203.0.113.1").password(doorMax, "correct horse"), 303, "")
	})
}

func TestSessionsPage(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		here, there, stranger := r.guest("192.0.2.1"), r.guest("192.0.2.2"), r.guest("192.0.2.3")
		for _, c := range []*guest{here, there} {
			r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
			time.Sleep(time.Second)
		}
		r.want("sign in", stranger.password(doorMax, "correct horse"), 303, "")
		page := here.do("/security/sessions", nil)
		r.want("listed", page, 200, "192.0.2.2")
		if strings.Contains(page.Body.String(), "192.0.2.3") {
			t.Error("somebody else's session is listed")
		}
		theirs := r.sessions.List(doorMax)[0].ID
		r.want("not hers", here.post("/security/sessions/"+theirs+"/end"), 404, "")
		var id string
		for _, s := range r.sessions.List(doorAnna) {
			if s.Addr == "192.0.2.2" {
				id = s.ID
			}
		}
		r.want("end", here.post("/security/sessions/"+id+"/end"), 303, "")
		there.wantIn("ended", doorAnna, false)
		here.wantIn("not ended", doorAnna, true)
		r.want("sign in", there.password(doorAnna, "correct horse"), 303, "")
		time.Sleep(time.Second)
		r.want("end all", here.post("/security/sessions/end"), 303, "")
		there.wantIn("all ended", doorAnna, false)
		here.wantIn("here", doorAnna, true)
		stranger.wantIn("stranger", doorMax, true)

		_, err := r.people.Edit(t.Context(), "admin", doorAnna, accounts.Edit{Disabled: new(true)})
		r.must(err)
		here.wantIn("disabled", doorAnna, false)
	})
}

func TestPasswordChange(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		here, there := r.guest("192.0.2.1"), r.guest("192.0.2.2")
		for _, c := range []*guest{there, here} {
			r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
			time.Sleep(time.Second)
		}
		r.want("short", here.post("/security/password", "current", "correct horse", "new", "short"), 422, "at least 8")
		r.want("wrong", here.post("/security/password", "current", "wrong", "new", "battery staple"), 403, "isn&#39;t right")
		r.want("right", here.post("/security/password", "current", "correct horse", "new", "battery staple"), 303, "")
		here.wantIn("here", doorAnna, true)
		there.wantIn("elsewhere", doorAnna, false)
		r.want("the old one", there.password(doorAnna, "correct horse"), 403, "")
		r.want("the new one", there.password(doorAnna, "battery staple"), 303, "")
	})
}

// What lasts longer than a session asks for a sign-in of late.
func TestOldSessionsAskAgain(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		time.Sleep(recently)
		for _, path := range []string{"/security/devices", "/security/devices/other", "/security/second"} {
			w := c.post(path)
			if w.Code != 303 || !strings.HasPrefix(w.Header().Get("Location"), "/signin?again=1&next=/security") {
				t.Errorf("%s: %d to %q", path, w.Code, w.Header().Get("Location"))
			}
		}
		r.want("passkey", c.post("/security/passkey"), 200, "/signin?again=1")
		r.want("the page says why", c.do("/signin?again=1&next=/security", nil), 200, "once more")
		if n := len(r.factors.Devices(doorAnna)); n != 0 {
			t.Errorf("%d devices", n)
		}
		w := c.post("/signin/password", "address", doorAnna, "password", "correct horse", "next", "/security")
		if w.Header().Get("Location") != "/security" {
			t.Errorf("after it: to %q", w.Header().Get("Location"))
		}
		if n := len(r.sessions.List(doorAnna)); n != 1 {
			t.Errorf("%d sessions", n)
		}
		r.want("device", c.post("/security/devices"), 303, "")
	})
}

func TestSecureCookies(t *testing.T) {
	door(t, func(o *Options) { o.Secure, o.Names = true, []string{"example.com"} }, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		r.want("device", c.post("/security/devices"), 303, "")
		for _, name := range []string{"__Host-session", "__Host-browser", "__Host-devices"} {
			k := c.cookies[name]
			if k == nil || !k.Secure || !k.HttpOnly || k.Path != "/" || k.Domain != "" || k.SameSite != http.SameSiteLaxMode {
				t.Errorf("%s: %+v", name, k)
			}
		}
		if len(c.cookies) != 3 {
			t.Errorf("cookies %v", c.cookies)
		}
	})
}

func TestNextStaysHere(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		for next, want := range map[string]string{"/m/me/inbox": "/m/me/inbox", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/", "": "/", "/a\r\nX: y": "/"} {
			w := r.guest("192.0.2.1").post("/signin/password", "address", doorAnna, "password", "correct horse", "next", next)
			if got := w.Header().Get("Location"); got != want {
				t.Errorf("next %q goes to %q", next, got)
			}
		}
	})
}

func TestOtherSitesCannotSignIn(t *testing.T) {
	r := newDoorRig(t, nil)
	for _, path := range []string{"/signin/password", "/signout", "/signin/device", "/signin/link/x"} {
		req, err := http.NewRequest(http.MethodPost, path, strings.NewReader("address="+doorAnna+"&password=correct+horse"))
		r.must(err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		req.RemoteAddr = "192.0.2.1:1"
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, req)
		if w.Code != http.StatusForbidden || len(w.Result().Cookies()) != 0 {
			t.Errorf("%s from another site: %d", path, w.Code)
		}
	}
}

// When the ledger can't be written nobody gets in, and nothing is used up or forgotten.
func TestLedgerGone(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		r.mu.Lock()
		r.fail = errors.New("store gone")
		r.mu.Unlock()
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 503, "Nothing is lost")
		c.wantIn("without a ledger", doorAnna, false)
		r.mu.Lock()
		r.fail = nil
		r.mu.Unlock()
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
	})
}

// This browser knows anna: it says what she can use, and no more.
func TestKnownBrowserSaysWhatThereIs(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		r.want("sign out", c.post("/signout"), 303, "")
		r.must(r.people.ForgetPassword(context.Background(), "admin", doorAnna))
		r.outage()
		page := c.post("/signin", "address", doorAnna)
		r.want("name", page, 200, "Anna Schmidt")
		if body := page.Body.String(); strings.Contains(body, `name="password"`) || strings.Contains(body, `name="code"`) {
			t.Error("offers what she doesn't have")
		}
		r.want("elsewhere", r.guest("192.0.2.2").post("/signin", "address", doorAnna), 200, `name="password"`)
	})
}

// Whoever signs in by a password in a browser that is ready practises too: it stays ready.
func TestPractisingKeepsADeviceReady(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		r.want("ready", c.post("/security/devices"), 303, "")
		r.want("again", c.post("/security/devices"), 303, "")
		links, err := r.people.MakeLinks(t.Context(), "admin", accounts.LinkPractice, 0, doorAnna)
		r.must(err)
		r.want("practice in the same browser", c.post("/signin/link/"+links[0].Token), 303, "")
		d := r.factors.Devices(doorAnna)
		if len(d) != 1 {
			t.Fatalf("%d devices of one browser", len(d))
		}
		time.Sleep(factor.Term - time.Hour)
		r.want("by password", c.password(doorAnna, "correct horse"), 303, "")
		time.Sleep(factor.Term - time.Hour)
		r.want("by the device", c.post("/signin/device", "address", doorAnna), 303, "")
		time.Sleep(factor.Term + time.Hour)
		r.want("after its term", c.post("/signin/device", "address", doorAnna), 403, "isn&#39;t ready")
	})
}

// What changes how a person signs in is behind the sign-in, and acts for whoever asks alone.
func TestSecurityIsBehindTheSignIn(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		for _, rt := range r.server.securityRoutes() {
			if rt.Access != signedIn {
				t.Errorf("%s %s has the rule %d", rt.Method, rt.Pattern, rt.Access)
			}
			path := strings.NewReplacer("{device}", "x", "{session}", "x").Replace(rt.Pattern)
			c := r.guest("192.0.2.1")
			w := c.do(path, nil)
			if rt.Method == http.MethodPost {
				w = c.post(path, "new", "battery staple")
			}
			if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/signin") || len(c.cookies) != 0 {
				t.Errorf("%s %s by a stranger: %d to %q", rt.Method, rt.Pattern, w.Code, w.Header().Get("Location"))
			}
		}
	})
}

// A wrong cookie is nobody's, whatever is in it.
func TestForgedCookies(t *testing.T) {
	door(t, nil, func(t *testing.T, r *doorRig) {
		c := r.guest("192.0.2.1")
		r.want("sign in", c.password(doorAnna, "correct horse"), 303, "")
		r.want("ready", c.post("/security/devices"), 303, "")
		id := r.sessions.List(doorAnna)[0].ID
		for name, values := range map[string][]string{
			"session": {"", "x", id, strings.Repeat("x", 4000)},
			"devices": {"", "x", r.factors.Devices(doorAnna)[0].ID + ".x", strings.Repeat("x.y~", 900)},
			"browser": {"", "x", c.cookies["session"].Value, strings.Repeat("x", 4000)},
			"second":  {"", "x", c.cookies["browser"].Value},
		} {
			for _, v := range values {
				f := r.guest("192.0.2.2")
				f.cookies[name] = &http.Cookie{Name: name, Value: v}
				f.wantIn("forged "+name, doorAnna, false)
				if w := f.do("/signin", nil); w.Code != 200 || strings.Contains(w.Body.String(), "Anna") {
					t.Errorf("forged %s: %d", name, w.Code)
				}
				f.do("/signin/second", nil)
				r.want("forged "+name, f.post("/signin/device", "address", doorAnna), 403, "")
			}
		}
	})
}
