package webmail

import (
	"net/http"
	"testing"
	"time"

	"restante/spool"
)

// TestFilteredMail: people are warned of what content filters found in mail that was taken; what is in quarantine isn't there on any page
// until it is released.
func TestFilteredMail(t *testing.T) {
	r := newRig(t)
	anna := []string{"anna@example.test"}
	raw := func(subject string) string {
		return "From: Max <max@kunde.example>\nTo: anna@example.test\nSubject: " + subject +
			"\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nLook\n--b\nContent-Disposition: attachment; filename=a.txt\n\nfile\n--b--\n"
	}
	ids := r.deliver(
		held{from: "max@kunde.example", rcpts: anna, raw: raw("Locked away"), why: "clamd: found Eicar"},
		held{from: "max@kunde.example", rcpts: anna, raw: raw("Bargain"), verdicts: map[string]string{"rspamd": "add header", "content": "spam", "dmarc": "pass"}},
		held{from: "max@kunde.example", rcpts: anna, raw: raw("Infected"), verdicts: map[string]string{"clamd": "found", "clamd.virus": "Eicar<b>", "content": "virus"}},
	)
	c := r.client(anna[0])
	list := c.get("/m/me/inbox").body
	has(t, "inbox", list, "Bargain", "Infected", "Spam", "Virus")
	hasNot(t, "inbox", list, "Locked away")
	has(t, "spam", c.get("/m/me/inbox/"+ids[1]).body, "A filter takes this message for spam.", "Be careful")
	has(t, "virus", c.get("/m/me/inbox/"+ids[2]).body, "A virus was found in this message (Eicar&lt;b&gt;). Open no files of it.")
	hasNot(t, "search", c.get("/m/me/inbox?q=locked").body, "max@kunde.example")
	pages := []string{"/m/me/inbox/", "/m/me/message/"}
	for _, rest := range []string{"/frame", "/eml", "/print", "/zip", "/part/2", "/source", "/headers"} {
		pages = append(pages, "/m/me/message/*"+rest)
	}
	for _, page := range pages {
		path := page + ids[0]
		if at := len("/m/me/message/"); len(page) > at && page[at] == '*' {
			path = page[:at] + ids[0] + page[at+1:]
		}
		if got := c.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if err := r.spool.Record(t.Context(), spool.Event{Type: spool.Released, By: "admin", Entry: ids[0], Round: 1, Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	r.until("it is let out", anna[0], func() bool {
		_, err := r.mail.Item(t.Context(), r.box(anna[0]), ids[0])
		return err == nil
	})
	has(t, "inbox", c.get("/m/me/inbox").body, "Locked away")
	if got := c.get("/m/me/message/" + ids[0] + "/eml"); got.status != http.StatusOK {
		t.Errorf("its file: %d", got.status)
	}
}
