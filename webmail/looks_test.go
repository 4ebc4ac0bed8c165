package webmail

import (
	"os"
	"testing"
	"time"

	chrome "restante/webmail/browser"
)

// open goes to a page of the rig, signed in as an account.
func (r *rig) open(p *chrome.Page, who, path string) {
	r.t.Helper()
	p.Cookie(r.web.URL, "who", who)
	p.Open(r.web.URL + path)
}

// thorough says whether to look at everything, not only at a few.
func thorough() bool {
	return !testing.Short() && (os.Getenv("RESTANTE_TEST_REQUIRE") == "1" || os.Getenv("RESTANTE_SCREENSHOTS") != "")
}

// TestLooks opens every page of reading in every view: nothing is wrong for axe-core, for the console, for the policy.
// RESTANTE_SCREENSHOTS=<folder> keeps pictures of them all; without it, and without RESTANTE_TEST_REQUIRE=1, a few pages
// stand for all, so that the package's tests stay quick.
func TestLooks(t *testing.T) {
	b := chrome.ForTest(t)
	r := newRig(t)
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: time.Now().Add(-47 * time.Minute), Notice: "Back at about 14:00. Questions: extension 100."})
	ids := r.deliver(sampleMail(time.Now())...)
	r.until("texts are read", "anna@example.test", func() bool {
		n, err := r.mail.Progress(t.Context())
		return err == nil && n == 0
	})
	all := thorough()
	_, copied := r.send("anna@example.test", answerMail, "max@partner.example", "gone@partner.example")
	for i, view := range chrome.Views() {
		if !all && i != 0 && i != 3 {
			continue
		}
		p := b.Page(t, view)
		for _, page := range []struct {
			name, path string
			quick      bool
		}{
			{"inbox", "/m/me/inbox", true},
			{"conversation", "/m/me/inbox/" + ids[1], true},
			{"html", "/m/me/inbox/" + ids[0], true},
			{"invitation", "/m/me/inbox/" + ids[2], false},
			{"suspicious", "/m/me/inbox/" + ids[3], false},
			{"arabic", "/m/me/inbox/" + ids[6], false},
			{"empty", "/m/me/starred", false},
			{"search", "/m/me/search?q=offer", false},
			{"nothing", "/m/me/search?q=nothingofthekind", false},
			{"message", "/m/me/message/" + ids[4], false},
			{"shared", "/m/info@example.test/inbox", false},
			{"print", "/m/me/message/" + ids[0] + "/print", false},
			{"sent", "/m/me/sent", false},
			{"sent-open", "/m/me/sent/" + copied, false},
			{"help", "/help", false},
			{"notfound", "/m/me/inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV", false},
		} {
			if !all && !page.quick {
				continue
			}
			p.Forget()
			r.open(p, "anna@example.test", page.path)
			p.Until(`[...document.querySelectorAll("iframe.mail")].every(f => f.style.height)`)
			p.Screenshot(page.name)
			p.NoViolations(page.name)
			for _, e := range p.Errors() {
				if page.name != "notfound" {
					t.Errorf("%s (%s): %s", page.name, view.Name, e)
				}
			}
			if got := p.Wide(); got > view.Width {
				t.Errorf("%s (%s) is %d px wide", page.name, view.Name, got)
			}
		}
	}
	if got := b.Escapes(); len(got) > 0 {
		t.Errorf("asked for from outside: %q", got)
	}
}

// TestLanguagesLook looks at the longest and the widest words: nothing breaks.
func TestLanguagesLook(t *testing.T) {
	if !thorough() {
		t.Skip("looked at with RESTANTE_TEST_REQUIRE=1")
	}
	b := chrome.ForTest(t)
	r := newRig(t)
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: time.Now().Add(-47 * time.Minute)})
	ids := r.deliver(sampleMail(time.Now())...)
	for _, view := range []chrome.View{chrome.Phone(), chrome.Desktop()} {
		for _, lang := range []string{"de", "fr", "ja"} {
			p := b.Page(t, view)
			p.Cookie(r.web.URL, "lang", lang)
			for name, path := range map[string]string{"inbox": "/m/me/inbox", "suspicious": "/m/me/inbox/" + ids[3], "invitation": "/m/me/inbox/" + ids[2]} {
				r.open(p, "anna@example.test", path)
				p.Screenshot(name + "-" + lang)
				if got := p.Wide(); got > view.Width {
					t.Errorf("%s in %s (%s) is %d px wide", name, lang, view.Name, got)
				}
			}
		}
	}
}
