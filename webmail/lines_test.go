package webmail

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/words"
)

var tags = regexp.MustCompile(`<[^>]*>`)

// editShared gives an account a shared mailbox.
func editShared(address string) accounts.Edit { return accounts.Edit{Shared: []string{address}} }

func TestLines(t *testing.T) {
	r := newRig(t)
	r.now = time.Date(2026, 11, 21, 9, 59, 0, 0, time.UTC) // 10:59 in Berlin
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 21, hour, minute, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		state DomainState
		why   string
		want  string
		kind  string
	}{
		"up":         {DomainState{Hosted: true, Up: true}, "", "Your mail server works. New mail goes to your normal mailbox, not here.", "up"},
		"down":       {DomainState{Hosted: true, Down: true, Since: at(8, 12)}, "", "Mail server unreachable since 09:12. New mail arrives here; what you write goes out now.", "down"},
		"yesterday":  {DomainState{Hosted: true, Down: true, Since: at(8, 12).AddDate(0, 0, -1)}, "", "Mail server unreachable since 20 Nov, 09:12. New mail arrives here; what you write goes out now.", "down"},
		"no sending": {DomainState{Hosted: true, Down: true, Since: at(8, 12)}, "smarthost-down", "Mail server unreachable since 09:12. New mail arrives here. Sending doesn&#39;t work right now; you can read.", "down"},
		"in house":   {DomainState{Hosted: true, Down: true, Since: at(8, 12)}, inHouse, "Mail server unreachable since 09:12. New mail arrives here. You can write to colleagues only.", "down"},
		"drill":      {DomainState{Hosted: true, Down: true, Drill: true, Since: at(8, 12)}, "", "Practice since 09:12: mail is handled as if the mail server were unreachable. New mail arrives here; what you write goes out now.", "drill"},
		"handing":    {DomainState{Hosted: true, Recovering: true, Total: 1214, Delivered: 141}, "", "The mail server is back. 141 of 1,214 handed over.", "recovering"},
		"back":       {DomainState{Hosted: true, Up: true, Until: at(9, 3), Total: 214, Delivered: 214}, "", "Back since 10:03. Everything was handed over to your normal mailbox.", "back"},
		"closing":    {DomainState{Hosted: true, Up: true, Until: at(9, 3), WritingUntil: at(10, 3)}, "", "Back since 10:03. Everything was handed over to your normal mailbox. You can write here until 11:03.", "back"},
		"parked":     {DomainState{Hosted: true, Up: true, Until: at(9, 3), Total: 214, Delivered: 213, Parked: 1}, "", "Back since 10:03. 213 of 214 handed over to your normal mailbox; your administrator looks after 1 message.", "back"},
	} {
		r.outages.set("example.test", c.state)
		r.sender.why = c.why
		page := r.client("anna@example.test").get("/m/me/inbox").body
		_, page, _ = strings.Cut(page, `id="lines"`)
		page, _, _ = strings.Cut(page, `<div class="frame">`)
		if got := strings.Join(strings.Fields(tags.ReplaceAllString(page[strings.Index(page, ">")+1:], "")), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		has(t, name, page, `class="line `+c.kind+`"`)
	}
	r.sender.why = ""

	// Two domains: the own first, the other only when something is wrong there.
	_, err := r.accounts.Edit(t.Context(), "test", "anna@example.test", editShared("desk@other.test"))
	must(t, err)
	a, _ := r.accounts.Account("anna@example.test")
	v := &viewer{Account: a, Lang: "en", Zone: time.UTC}
	v.Own, v.Shared = r.accounts.Boxes(a.Address)
	req, err := http.NewRequestWithContext(withViewer(t.Context(), v), http.MethodGet, "/", nil)
	must(t, err)
	r.outages.set("example.test", DomainState{Hosted: true, Up: true})
	r.outages.set("other.test", DomainState{Hosted: true, Up: true})
	if got := r.server.lines(req, v); len(got) != 1 || got[0].Kind != "up" {
		t.Errorf("all is well: %+v", got)
	}
	r.outages.set("other.test", DomainState{Hosted: true, Down: true, Since: at(8, 12), Notice: "Call 100."})
	got := r.server.lines(req, v)
	if len(got) != 3 || got[0].Kind != "up" || got[1].Domain != "other.test" || got[1].Kind != "down" || got[2].Text != "Call 100." {
		t.Errorf("the other is down: %+v", got)
	}
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: at(8, 12), Notice: "Call 100."})
	if got := r.server.lines(req, v); len(got) != 2 || got[1].Kind != "notice" {
		t.Errorf("both are down alike: %+v", got)
	}

	// And that the pages lack what is kept, as long as they do.
	r.mail.SetBehind(spool.Behind{Since: time.Now().Add(-time.Hour), Batches: 9})
	if got := r.server.lines(req, v); len(got) != 3 || !strings.Contains(got[2].Text, "catching up since") {
		t.Errorf("behind: %+v", got)
	}
	r.mail.SetBehind(spool.Behind{})
	if got := r.server.lines(req, v); len(got) != 2 {
		t.Errorf("caught up: %+v", got)
	}
}

// TestEvents follows the stream: it says that something changed, ends with the session, and is limited.
func TestEvents(t *testing.T) {
	r := newRig(t)
	r.server.streams.limits(Limits{Events: 1, Streams: 2})
	open := func(who string) (*http.Response, *bufio.Scanner) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.web.URL+"/events", nil)
		must(t, err)
		req.AddCookie(&http.Cookie{Name: "who", Value: url.QueryEscape(who)})
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return res, bufio.NewScanner(res.Body)
	}
	res, lines := open("anna@example.test")
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	next("retry: 3000")
	if second, _ := open("anna@example.test"); second.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a second stream of one account: %d", second.StatusCode)
	}
	if other, _ := open("max@example.test"); other.StatusCode != http.StatusOK {
		t.Errorf("another account: %d", other.StatusCode)
	}
	if third, _ := open("kim@other.test"); third.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a third stream in all: %d", third.StatusCode)
	}
	r.deliver(held{from: "x@outside.example", rcpts: []string{"info@example.test"}, raw: "Subject: hello\n\nhi\n"})
	next("event: mail")
	r.server.Close()
	for lines.Scan() {
	}
	if lines.Err() != nil {
		t.Errorf("the stream didn't end: %v", lines.Err())
	}
	if after, _ := open("kim@other.test"); after.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the end: %d", after.StatusCode)
	}
}

// TestEventsFollowTheBoxes: who may read a shared mailbox no longer isn't told of its mail, also on a page that stays open.
func TestEventsFollowTheBoxes(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.web.URL+"/events", nil)
	must(t, err)
	req.AddCookie(&http.Cookie{Name: "who", Value: "anna@example.test"})
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	_, err = r.accounts.Edit(t.Context(), "admin", "anna@example.test", accounts.Edit{NoShared: []string{"info@example.test"}})
	must(t, err)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "event:") {
			t.Errorf("told %q", lines.Text())
		}
	}
	if lines.Err() != nil { // the browser asks again, for what may be read now
		t.Errorf("the stream goes on: %v", lines.Err())
	}
}

func TestLanguagesOfPages(t *testing.T) {
	r := newRig(t)
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: time.Now().Add(-time.Hour)})
	ids := r.deliver(sampleMail(time.Now())...)
	for _, lang := range words.Languages() {
		req := func(path string) string {
			w, err := http.NewRequest(http.MethodGet, r.web.URL+path, nil)
			must(t, err)
			w.AddCookie(&http.Cookie{Name: "who", Value: url.QueryEscape("anna@example.test")})
			w.AddCookie(&http.Cookie{Name: "lang", Value: lang})
			return (&client{t: t, http: http.DefaultClient}).do(w).body
		}
		for _, path := range []string{"/m/me/inbox", "/m/me/inbox/" + ids[2], "/m/me/inbox/" + ids[3], "/help"} {
			page := req(path)
			has(t, lang, page, `<html lang="`+lang+`"`, words.Of(lang).T("common.settings"))
			hasNot(t, lang, page, "⟦", "{n}", "{since}")
		}
	}
}
