package webmail

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestReadingCloses: once reading has closed after an outage, no page has a word of mail; in the next outage all is open.
func TestReadingCloses(t *testing.T) {
	r := newRig(t)
	mail := r.deliver(held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: secretMail("OWN")},
		held{from: "x@outside.example", rcpts: []string{"info@example.test"}, raw: secretMail("SHARED")})
	writing := r.draft("anna@example.test", "OWN")
	back := DomainState{Hosted: true, Up: true, Since: time.Now().Add(-9 * 24 * time.Hour), Until: time.Now().Add(-8 * 24 * time.Hour)}
	var all []route
	for _, rt := range r.server.routes() {
		// The activity page names the files that one has saved oneself.
		if rt.Pattern != "/events" && rt.Pattern != "/activity" && !strings.HasPrefix(rt.Pattern, "/signin") && !strings.HasPrefix(rt.Pattern, "/signout") {
			all = append(all, rt)
		}
	}
	look := func() (seen, closed int) {
		for _, rt := range all {
			for _, path := range paths(rt.Pattern, []string{"me", "info@example.test"}, mail, []string{writing}) {
				w := r.ask("anna@example.test", rt.Method, path, url.Values{"q": {"SECRET"}, "e": mail})
				said := w.Body.String()
				if strings.Contains(said, "OWN") || strings.Contains(said, "SHARED") {
					seen++
				}
				if w.Code == http.StatusForbidden && strings.Contains(w.Body.String(), "Your mail is in your normal mailbox") {
					closed++
				}
			}
		}
		return seen, closed
	}
	r.log.quiet.Store(true)
	back.ReadingUntil = time.Now().Add(time.Hour)
	r.outages.set("example.test", back)
	if seen, closed := look(); seen < 10 || closed > 0 {
		t.Errorf("while reading is open %d answers have mail, %d are closed", seen, closed)
	}
	back.ReadingUntil = time.Now().Add(-time.Hour)
	r.outages.set("example.test", back)
	if seen, closed := look(); seen > 0 || closed < 20 {
		t.Errorf("when reading is closed %d answers have mail, %d are closed", seen, closed)
	}
	for _, path := range []string{"/security", "/settings", "/help"} {
		if w := r.ask("anna@example.test", http.MethodGet, path, nil); path != "/security" && w.Code != http.StatusOK {
			t.Errorf("%s answers %d: people can't get ready for the next time", path, w.Code)
		}
	}
	back.Up, back.Down = false, true
	r.outages.set("example.test", back)
	if seen, closed := look(); seen < 10 || closed > 0 {
		t.Errorf("in the next outage %d answers have mail, %d are closed", seen, closed)
	}
	// A box with an address in a domain whose outage isn't over stays open.
	back.Up, back.Down = true, false
	r.outages.set("example.test", back)
	if r.server.readingOver(r.box("kim@other.test")) {
		t.Error("another domain is closed with it")
	}
}
