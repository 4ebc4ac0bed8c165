package webmail

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	chrome "restante/webmail/browser"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/session"
)

// example is a page as people meet it, by the pattern of its route.
type example struct{ name, pattern, path string }

// examples are one page or more of every route that answers with one.
func (r *rig) examples(ids []string, writing string) []example {
	at := "/m/me/message/"
	return []example{
		{"signin", "/signin", "/signin"},
		{"signin-link", "/signin/link/{token}", "/signin/link/none"},
		{"inbox", "/m/{box}/{folder}", "/m/me/inbox"},
		{"drafts", "/m/{box}/{folder}", "/m/me/drafts"},
		{"sent-empty", "/m/{box}/{folder}", "/m/me/sent"},
		{"trash-empty", "/m/{box}/{folder}", "/m/me/trash"},
		{"shared-empty", "/m/{box}/{folder}", "/m/info@example.test/inbox"},
		{"search", "/m/{box}/{folder}", "/m/me/search?q=offer"},
		{"search-none", "/m/{box}/{folder}", "/m/me/search?q=nothingofthekind"},
		{"search-wrong", "/m/{box}/{folder}", "/m/me/search?q=after:nonsense"},
		{"conversation", "/m/{box}/{folder}/{thread}", "/m/me/inbox/" + ids[1]},
		{"invitation", "/m/{box}/{folder}/{thread}", "/m/me/inbox/" + ids[2]},
		{"suspicious", "/m/{box}/{folder}/{thread}", "/m/me/inbox/" + ids[3]},
		{"message", "/m/{box}/message/{id}", at + ids[4]},
		{"nested", "/m/{box}/message/{id}", at + ids[len(ids)-1] + "?in=1.3"},
		{"print", "/m/{box}/message/{id}/print", at + ids[0] + "/print"},
		{"write", "/write", "/write"},
		{"reply", "/write", "/write?" + url.Values{"mode": {"reply-all"}, "box": {"me"}, "id": {ids[4]}}.Encode()},
		{"draft", "/write/{writing}", "/write/" + writing},
		{"settings", "/settings", "/settings"},
		{"help", "/help", "/help"},
		{"security", "/security", "/security"},
		{"second", "/security/second", "/security/second"},
		{"ready", "/security/ready", "/security/ready"},
		{"sessions", "/security/sessions", "/security/sessions"},
		{"activity", "/activity", "/activity"},
		{"notfound", "", "/none"},
		{"closed", "", "/m/me/inbox"},
		{"erased", "", "/m/me/inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV"},
	}
}

// bare are the routes that answer with no page of their own: files, streams, redirects, data, and a second step that
// is nothing without a first (TestSignInLooks has it).
func bare() []string {
	return []string{"/{$}", "/static/{file}", "/favicon.ico", "/robots.txt", "/events", "/state", "/m/{box}", "/m/{box}/message/{id}/frame",
		"/m/{box}/message/{id}/eml", "/m/{box}/message/{id}/zip", "/m/{box}/message/{id}/part/{part}", "/signin/second", "/write/people", "/write/{writing}/file/{id}"}
}

// targets finds what is too small to hit: WCAG 2.2 asks for 24 by 24 CSS pixels, or as much room around the middle
// (2.5.8); on a phone buttons, fields, rows, what stands in bars and what unfolds a detail are 44 high, and as wide, but
// for the people inside a field, whose names may be short. Links in running text are let be.
const targets = `phone => {
  const wrong = [], all = [];
  const seen = el => { const s = getComputedStyle(el), b = el.getBoundingClientRect(); return s.visibility !== "hidden" && b.width > 1 && b.height > 1 && el.checkVisibility({opacityProperty: false}) && !el.closest("[inert], [aria-hidden=true], .unseen"); };
  for (const el of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (!seen(el) || el.matches(".skip, .unseen")) continue;
    let box = el.getBoundingClientRect();
    const label = el.closest("label") || (el.id && document.querySelector("label[for='" + CSS.escape(el.id) + "']"));
    if (label && el.matches("[type=checkbox], [type=radio], [type=file]")) { const l = label.getBoundingClientRect(); if (l.width * l.height > box.width * box.height) box = l; }
    all.push({el, box});
  }
  for (const {el, box} of all) {
    const inline = el.localName === "a" && getComputedStyle(el).display === "inline" && [...el.parentElement.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (inline) continue;
    const says = el.outerHTML.slice(0, 120).replace(/\s+/g, " ") + " is " + Math.round(box.width) + "x" + Math.round(box.height);
    const near = all.some(o => o.el !== el && !o.el.contains(el) && !el.contains(o.el) && Math.hypot(Math.max(o.box.left - (box.left + box.width / 2), 0, box.left + box.width / 2 - o.box.right), Math.max(o.box.top - (box.top + box.height / 2), 0, box.top + box.height / 2 - o.box.bottom)) < 12);
    if ((box.width < 24 || box.height < 24) && near) wrong.push("under 24: " + says);
    const matters = el.matches(".button, .icon-button, .fab, input, select, textarea, nav a, .row a.open, button, summary");
    if (phone && matters && (box.width < 43.5 && !el.closest(".pills") || box.height < 43.5)) wrong.push("under 44: " + says);
  }
  return wrong;
}`

// focus goes through everything that keys can reach and finds what doesn't show it.
const focus = `(() => {
  const wrong = [];
  const shot = el => { const out = []; for (let e = el, n = 0; e && n < 3; e = e.parentElement, n++) for (const x of [e, e.nextElementSibling]) { if (!x) continue; const s = getComputedStyle(x); out.push(s.outlineStyle === "none" ? "" : s.outlineWidth + s.outlineColor, s.boxShadow, s.borderColor); } return out.join("|"); };
  for (const el of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")) {
    if (el.disabled || el.tabIndex < 0 || !el.checkVisibility({visibilityProperty: true}) || el.closest("[inert], dialog:not([open])")) continue;
    document.activeElement.blur();
    const before = shot(el);
    el.focus({focusVisible: true});
    if (document.activeElement !== el) continue;
    if (shot(el) === before) wrong.push("no focus to be seen: " + el.outerHTML.slice(0, 160).replace(/\s+/g, " "));
  }
  document.activeElement.blur();
  return wrong;
})()`

// TestEveryPageIsForEverybody opens a page of every route, light on a phone and dark on a desktop, and finds nothing
// wrong by axe-core; nothing is wider than the screen, too small to hit, or without a focus that can be seen.
func TestEveryPageIsForEverybody(t *testing.T) {
	slow(t)
	b := chrome.ForTest(t)
	r := newRig(t)
	r.server.viewer = r.server.viewerFrom
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: time.Now().Add(-47 * time.Minute), Notice: "Back at about 14:00. Questions: extension 100."})
	all := sampleMail(time.Now())
	ids := r.deliver(append(all, held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: secretMail("Minutes")})...)
	d, err := r.mail.SaveDraft(t.Context(), mailbox.Draft{Account: "anna@example.test", Raw: compose.Draft{From: "anna@example.test", To: "max@partner.example", Subject: "Offer", Text: "Dear Max,\n"}.Bytes()})
	must(t, err)
	_, _, err = r.signIn.Factors.AddKey(t.Context(), "anna@example.test", "Firefox, Windows", "localhost")
	must(t, err)
	token, _, err := r.signIn.Sessions.Start(t.Context(), session.Session{Account: "anna@example.test", Method: session.Password, Addr: "192.0.2.1", Agent: "Firefox, Windows"})
	must(t, err)
	pages := r.examples(ids, d.Writing)
	for _, rt := range r.server.routes() {
		if rt.Method == http.MethodGet && !slices.Contains(bare(), rt.Pattern) && !slices.ContainsFunc(pages, func(e example) bool { return e.pattern == rt.Pattern }) {
			t.Errorf("no example of %s: nobody has looked at that page", rt.Pattern)
		}
	}
	down := r.outages.Domain("example.test")
	over := DomainState{Hosted: true, Up: true, Since: time.Now().Add(-9 * 24 * time.Hour), Until: time.Now().Add(-8 * 24 * time.Hour), ReadingUntil: time.Now().Add(-24 * time.Hour)}
	for _, view := range []chrome.View{chrome.Phone(), chrome.Desktop().InDark()} {
		p := b.Page(t, view)
		for _, page := range pages {
			r.outages.set("example.test", down)
			if page.name == "closed" {
				r.outages.set("example.test", over)
			}
			if !strings.HasPrefix(page.path, "/signin") {
				p.Cookie(r.web.URL, "session", token)
			}
			p.Forget()
			p.Open(r.web.URL + page.path)
			p.Until(`[...document.querySelectorAll("iframe.mail")].every(f => f.style.height)`)
			p.Screenshot("every-" + page.name)
			p.NoViolations(page.name)
			if got := p.Wide(); got > view.Width {
				t.Errorf("%s (%s) is %d px wide", page.name, view.Name, got)
			}
			var wrong, unseen []string
			p.Eval(fmt.Sprintf("(%s)(%v)", targets, view.Touch), &wrong)
			p.Eval(focus, &unseen)
			for _, w := range append(wrong, unseen...) {
				t.Errorf("%s (%s): %s", page.name, view.Name, w)
			}
			if at, _, _ := strings.Cut(page.path, "?"); !strings.HasPrefix(p.URL(), at) {
				t.Errorf("%s is at %s", page.name, p.URL())
			}
		}
	}
}
