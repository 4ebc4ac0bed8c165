package webmail

import (
	"fmt"
	"strings"
	"testing"
	"time"

	chrome "restante/webmail/browser"
)

// TestWithScript reads and tidies mail as people with JavaScript do.
func TestWithScript(t *testing.T) {
	b := chrome.ForTest(t)
	r := newRig(t)
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: time.Now().Add(-time.Hour)})
	ids := r.deliver(sampleMail(time.Now())...)
	p := b.Page(t, chrome.Desktop())
	r.open(p, "anna@example.test", "/m/me/inbox")
	p.Eval("window.sameDocument = true", nil)

	// Opening: beside the list, without another page, read from then on.
	row := fmt.Sprintf(`.row[data-thread=%q]`, ids[1])
	p.Click(row + " a.open")
	p.Wait("#reader[data-open] .message")
	p.Until(fmt.Sprintf(`location.pathname === "/m/me/inbox/%s" && document.title.includes("Offer")`, ids[1]))
	p.Until(fmt.Sprintf(`!document.querySelector(%q).matches(".unread") && document.querySelector(%q).matches(".now")`, row, row))

	// A folded message opens in its place, the attachment stands below the other.
	p.Until(`document.querySelectorAll(".message").length === 2`)
	p.Eval(`document.querySelector(".message.folded a")?.click()`, nil)
	p.Until(`!document.querySelector(".message.folded") && document.querySelectorAll(".message").length === 2`)

	// Keys: the next older, a star, back to unread.
	was := p.URL()
	p.Press("j")
	p.Until(fmt.Sprintf("location.pathname !== %q && document.querySelector('#reader[data-open]')", was))
	p.Press("s")
	p.Until(`document.querySelector(".reader-head .star").getAttribute("aria-pressed") === "true"`)
	r.until("the star is kept", "anna@example.test", func() bool {
		c, err := r.mail.Counts(t.Context(), r.box("anna@example.test"))
		return err == nil && c["starred"].Total == 1
	})
	p.Press("?")
	p.Wait("#keys[open]")
	p.Eval(`document.querySelector("#keys").close()`, nil)

	// Deleting goes on to the next and can be taken back.
	p.Until(`!document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling, #keys[open]")`)
	was = p.URL()
	p.Press("#")
	p.Wait("#toast .toast button")
	p.Until(fmt.Sprintf("location.pathname !== %q", was))
	p.Until(`document.querySelectorAll(".row").length === 6`)
	p.Press("z")
	p.Until(fmt.Sprintf("document.querySelectorAll('.row').length === 7 && location.pathname === %q", was))

	// Several at once.
	p.Eval(`document.querySelectorAll(".pick input").forEach((b, i) => { if (i < 3) b.click() })`, nil)
	p.Until(`document.querySelector("[data-picked]").textContent === "3"`)
	p.Screenshot("selected")
	p.Click(`.bulk [value="seen"]`)
	p.Until(`document.querySelectorAll(".row.unread").length === 0 || document.querySelector("#toast .toast")`)

	// New mail appears by itself, and so does the change on top.
	r.deliver(held{from: "new@kunde.example", rcpts: []string{"anna@example.test"}, raw: "From: New <new@kunde.example>\nSubject: Just in\n\nHello\n"})
	p.Until(`document.querySelector(".row .subject")?.textContent.includes("Just in")`)
	r.outages.set("example.test", DomainState{Hosted: true, Recovering: true, Total: 214, Delivered: 141})
	p.Until(`document.querySelector("#lines").textContent.includes("141 of 214")`)
	p.Screenshot("recovering")

	// Back in the browser's history.
	p.Eval("history.back()", nil)
	p.Until(`document.querySelector("#list") && document.querySelector("#lines")`)
	var same bool
	if p.Eval("window.sameDocument === true", &same); !same {
		t.Error("a page was loaded anew")
	}
	for _, e := range p.Errors() {
		t.Error(e)
	}
	if got := p.Dialogs(); len(got) > 0 {
		t.Errorf("dialogs: %q", got)
	}
}

// TestWithoutScript does the same with JavaScript off, on a phone.
func TestWithoutScript(t *testing.T) {
	b := chrome.ForTest(t)
	r := newRig(t)
	ids := r.deliver(sampleMail(time.Now())...)
	p := b.Page(t, chrome.Phone().WithoutScript())
	r.open(p, "anna@example.test", "/m/me/inbox")
	p.ClickThrough(fmt.Sprintf(`.row[data-thread=%q] a.open`, ids[0]))
	if got := p.Text("#reader h1"); !strings.Contains(got, "4711") {
		t.Errorf("reading %q", got)
	}
	p.Screenshot("reading")
	p.ClickThrough("#reader .back")
	p.Click(".row .pick")
	p.ClickThrough(`.bulk [value="trash"]`)
	if got := p.Text("#toast"); !strings.Contains(got, "Deleted here") {
		t.Errorf("the toast says %q", got)
	}
	var n int
	if p.Eval(`document.querySelectorAll(".row").length`, &n); n != 6 {
		t.Errorf("%d conversations are left, not 6", n)
	}
	p.Screenshot("deleted")
	p.ClickThrough("#toast button")
	if p.Eval(`document.querySelectorAll(".row").length`, &n); n != 7 {
		t.Errorf("%d conversations after undo, not 7", n)
	}
	p.Type(".search input", "parcel\r")
	p.Until(`location.search.includes("parcel")`)
	if p.Eval(`document.querySelectorAll(".row").length`, &n); n != 2 {
		t.Errorf("%d found, not 2", n)
	}
	p.Click(".list-head button")
	p.Until(`document.querySelector("#rail").matches(":popover-open")`)
	p.Screenshot("menu")
}
