package webmail

import (
	"archive/zip"
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"restante/spool"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/render"
)

// has fails unless the page holds all the texts, as written in HTML.
func has(t *testing.T, where, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("%s lacks %q", where, text)
		}
	}
}

func hasNot(t *testing.T, where, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			t.Errorf("%s has %q", where, text)
		}
	}
}

var article = regexp.MustCompile(`<article class="message( folded)?`)

func TestReading(t *testing.T) {
	r := newRig(t)
	r.outages.set("example.test", DomainState{Hosted: true, Down: true, Since: time.Now().Add(-time.Hour)})
	ids := r.deliver(sampleMail(time.Now())...)
	c := r.client("anna@example.test")

	list := c.get("/m/me/inbox").body
	has(t, "inbox", list, "Lea Brunner", "Café Müller", "田中致子", "Not verified", "Mail server unreachable since", "what you write goes out now", `title="2 messages"`)
	if n := strings.Count(list, `<li class="row unread"`); n != 7 {
		t.Errorf("%d unread conversations, not 7", n)
	}

	page := c.get("/m/me/inbox/" + ids[4]).body
	has(t, "conversation", page, "Offer for Thursday", "offer-2026-11.pdf", "drawing.png", "Verified", "https://partner.example/projects/17", "Show what was said before", "Reply", "mode=reply")
	if got := article.FindAllStringSubmatch(page, -1); len(got) != 2 || got[0][1] != "" {
		t.Errorf("both were unread: %v", got)
	}
	page = c.get("/m/me/inbox/" + ids[1]).body
	if got := article.FindAllStringSubmatch(page, -1); len(got) != 2 || got[0][1] != " folded" || got[1][1] != "" {
		t.Errorf("read once, the older is folded: %v", got)
	}
	if n := strings.Count(c.get("/m/me/inbox").body, `<li class="row unread"`); n != 6 {
		t.Errorf("%d unread after reading one, not 6", n)
	}

	page = c.get("/m/me/inbox/" + ids[0]).body
	has(t, "HTML mail", page, "/m/me/message/"+ids[0]+"/frame", `sandbox="allow-same-origin allow-popups allow-popups-to-escape-sandbox"`, "1 image or file from elsewhere was not loaded", "Show as plain text")
	hasNot(t, "HTML mail", page, "coffee is on its way</h1>", "shop.example/logo.png")
	text := c.get("/m/me/message/" + ids[0] + "?as=text").body
	has(t, "as text", text, "Dear Anna, your parcel left us", "Show with formatting")
	hasNot(t, "as text", text, "<iframe")
	frame := c.get("/m/me/message/" + ids[0] + "/frame").body
	has(t, "frame", frame, "Your coffee is on its way", `target="_blank"`)
	hasNot(t, "frame", frame, "shop.example/logo.png", "<script", "style=")

	page = c.get("/m/me/inbox/" + ids[3]).body
	has(t, "phishing", page, "Suspicious", "Be careful with this message", "The name shows another address", "x8812@paket.example", "Answers go to")

	page = c.get("/m/me/inbox/" + ids[2]).body
	has(t, "invitation", page, "Invitation", "Réunion de lancement", "Tuesday, 24 November 2026, 14:00 to 15:30", "Every 2 weeks (Tuesday), 6 times", "12 rue de la Paix, Lyon", "Max Huber (coming)", "Save to calendar")
	page = c.get("/m/me/message/" + ids[6]).body
	has(t, "Arabic", page, `dir="rtl"`)
	hasNot(t, "nothing judged", page, "Not verified", "Suspicious")

	if got := c.get("/m/me/inbox/" + ids[0] + "/more"); got.status != http.StatusNotFound {
		t.Errorf("beyond a conversation: %d", got.status)
	}
	if got := c.get("/m/me/nofolder"); got.status != http.StatusNotFound {
		t.Errorf("a folder that there isn't: %d", got.status)
	}
	if got := c.get("/m/info@example.test/drafts"); got.status != http.StatusNotFound {
		t.Errorf("drafts of a shared box: %d", got.status)
	}
	if got := c.get("/m/me"); got.path != "/m/me/inbox" {
		t.Errorf("the box leads to %s", got.path)
	}
}

func TestSearching(t *testing.T) {
	r := newRig(t)
	ids := r.deliver(sampleMail(time.Now())...)
	c := r.client("anna@example.test")
	r.until("texts are read", "anna@example.test", func() bool {
		n, err := r.mail.Progress(t.Context())
		return err == nil && n == 0
	})
	page := c.get("/m/me/search?q=" + url.QueryEscape("has:attachment offer")).body
	has(t, "search", page, "Re: Offer for Thursday", "/m/me/search/", "q=has%3Aattachment&#43;offer")
	hasNot(t, "search", page, "Lea Brunner")
	has(t, "what was found", c.get("/m/me/search/"+ids[4]+"?q=offer").body, "Back to Search", "offer-2026-11.pdf")
	has(t, "Japanese", c.get("/m/me/search?q="+url.QueryEscape("日程")).body, "田中致子")
	has(t, "nothing", c.get("/m/me/search?q=nothingofthekind").body, "Nothing found")
	has(t, "nonsense", c.get("/m/me/search?q="+url.QueryEscape("after:yesterdayish")).body, "This can&#39;t be searched for")
	if got := c.get("/m/me/search?q="); got.path != "/m/me/inbox" {
		t.Errorf("an empty search leads to %s", got.path)
	}
}

func TestActing(t *testing.T) {
	r := newRig(t)
	ids := r.deliver(sampleMail(time.Now())...)
	c, box := r.client("anna@example.test"), r.box("anna@example.test")
	item := func(id string) mailbox.Item {
		t.Helper()
		it, err := r.mail.Item(t.Context(), box, id)
		must(t, err)
		return it
	}
	got := c.post("/m/me/act", url.Values{"do": {"trash"}, "t": {ids[4], ids[7]}, "folder": {"inbox"}, "back": {"/m/me/inbox/" + ids[4]}})
	has(t, "after deleting", got.body, "2 deleted here", "Undo", `value="restore"`)
	if got.path != "/m/me/inbox" || !item(ids[1]).Trashed || !item(ids[4]).Trashed || !item(ids[7]).Trashed || item(ids[0]).Trashed {
		t.Errorf("at %s, trashed %v %v %v %v", got.path, item(ids[1]).Trashed, item(ids[4]).Trashed, item(ids[7]).Trashed, item(ids[0]).Trashed)
	}
	has(t, "trash", c.get("/m/me/trash").body, "Lunch?", "Put back")
	has(t, "in the trash", c.get("/m/me/trash/"+ids[7]).body, "still goes to your normal mailbox")
	hasNot(t, "inbox", c.get("/m/me/inbox").body, "Lunch?", "deleted here")
	form := url.Values{"do": {"restore"}, "e": {ids[1], ids[4], ids[7]}, "back": {"/m/me/inbox"}}
	has(t, "after undoing", c.post("/m/me/act", form).body, "Put back.", "Lunch?")

	c.post("/m/me/act", url.Values{"star": {ids[0]}, "t": {ids[1]}, "do": {"trash"}, "back": {"/m/me/inbox"}})
	if !item(ids[0]).Starred || item(ids[1]).Trashed {
		t.Error("a row's star is pressed in a form with other rows selected: only the star counts")
	}
	quiet := c.post("/m/me/act", url.Values{"unstar": {ids[0]}}, "HX-Request", "true", "HX-Target", "none")
	if quiet.status != http.StatusNoContent || item(ids[0]).Starred {
		t.Errorf("a quiet action answers %d", quiet.status)
	}
	c.post("/m/me/act", url.Values{"do": {"seen"}, "t": {ids[1]}, "folder": {"inbox"}, "back": {"/"}})
	if item(ids[1]).Unread || item(ids[4]).Unread {
		t.Error("marking a conversation as read leaves some unread")
	}
	c.post("/m/me/act", url.Values{"do": {"unseen"}, "t": {ids[1]}, "folder": {"inbox"}, "back": {"/"}})
	if item(ids[1]).Unread || !item(ids[4]).Unread {
		t.Error("marking a conversation as unread means its newest message")
	}
	for name, form := range map[string]url.Values{"unknown": {"do": {"explode"}, "e": {ids[0]}}, "nothing": {}} {
		if got := c.post("/m/me/act", form); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	if got := c.post("/m/me/act", url.Values{"do": {"seen"}, "e": slices.Repeat([]string{"x"}, 501)}); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("more than the limit: %d", got.status)
	}
	if got := c.post("/m/me/act", url.Values{"do": {strings.Repeat("x", 2<<20)}}); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a form over the limit: %d", got.status)
	}
	if got := c.post("/m/me/act", url.Values{"do": {"seen"}, "e": {ids[0]}, "back": {"https://evil.example/"}}); got.path != "/m/me/inbox" {
		t.Errorf("back leads to %s", got.path)
	}
}

func TestFiles(t *testing.T) {
	r := newRig(t)
	ids := r.deliver(append(sampleMail(time.Now()), held{from: "x@y.example", rcpts: []string{"anna@example.test"}, raw: secretMail("mark")},
		held{from: "x@y.example", rcpts: []string{"anna@example.test"}, raw: "Subject: page\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html; name=\"a.html\"\nContent-Disposition: attachment; filename=\"a.html\"\n\n<script>alert(1)</script>\n--b\nContent-Type: image/png; name=\"fake.png\"\nContent-Disposition: attachment\n\n<html><script>alert(1)</script>\n--b--\n"})...)
	c := r.client("anna@example.test")
	message := "/m/me/message/" + ids[4]
	pdf := c.get(message + "/part/1.2")
	if kind, params, err := mime.ParseMediaType(pdf.header.Get("Content-Disposition")); err != nil || kind != "attachment" || params["filename"] != "offer-2026-11.pdf" {
		t.Errorf("Content-Disposition %q", pdf.header.Get("Content-Disposition"))
	}
	if pdf.header.Get("Content-Type") != "application/pdf" || len(pdf.body) != len("%PDF-1.4 a page of numbers ")*8000 {
		t.Errorf("%s, %d octets", pdf.header.Get("Content-Type"), len(pdf.body))
	}
	shown := c.get(message + "/part/1.3?show=1")
	if !strings.HasPrefix(shown.header.Get("Content-Disposition"), "inline") || shown.header.Get("Content-Type") != "image/png" || !strings.HasPrefix(shown.body, "\x89PNG") {
		t.Errorf("a picture: %v", shown.header)
	}
	for _, path := range []string{"/m/me/message/" + ids[9] + "/part/1.1", "/m/me/message/" + ids[9] + "/part/1.1?show=1", "/m/me/message/" + ids[9] + "/part/1.2?show=1"} {
		got := c.get(path)
		if !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") || strings.Contains(got.header.Get("Content-Type"), "html") || got.header.Get("Content-Security-Policy") != filePolicy {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	z := c.get(message + "/zip")
	files, err := zip.NewReader(bytes.NewReader([]byte(z.body)), int64(len(z.body)))
	must(t, err)
	if len(files.File) != 2 || files.File[0].Name != "offer-2026-11.pdf" || z.header.Get("Content-Type") != "application/zip" {
		t.Errorf("a zip of %d files, %v", len(files.File), z.header)
	}
	eml := c.get(message + "/eml")
	has(t, "the original", eml.body, "Message-ID: <t2@partner.example>\r\n", "--b1--")
	if eml.header.Get("Content-Type") != "message/rfc822" || eml.header.Get("Content-Length") != fmt.Sprint(len(eml.body)) {
		t.Errorf("the original: %v", eml.header)
	}
	has(t, "printed", c.get(message+"/print").body, "data-print", "offer-2026-11.pdf", "Thank you, Anna")
	hasNot(t, "printed", c.get(message+"/print").body, "<details class=\"quoted\"")
	nested := c.get("/m/me/message/" + ids[8] + "?in=1.3").body
	has(t, "nested", nested, "mark-nested", "mark-inside")
	hasNot(t, "nested", nested, "mark-body", "Verified")
	for _, path := range []string{message + "/part/9", message + "/part/x", message + "?in=1.2", message + "?in=9", "/m/me/message/" + ids[7] + "/zip"} {
		if got := c.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	r.until("downloads are noted", "anna@example.test", func() bool {
		evs, err := r.mail.Activity(t.Context(), "anna@example.test", time.Time{}, 20)
		return err == nil && len(evs) >= 4
	})
	r.server.o.Limits.Zip = 1000
	if got := c.get(message + "/zip"); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a zip over the limit: %d", got.status)
	}
}

func TestEveryMessageIsShown(t *testing.T) {
	r := newRig(t)
	raws := []string{
		"", "\n", "\x00\xff\xfe", "no header at all", "Subject: x", "From: \n\n", "Content-Type: multipart/mixed\n\nno boundary", "Content-Type: multipart/mixed; boundary=b\n\n--b\n",
		"Content-Transfer-Encoding: base64\n\n!!!!", "Content-Type: text/html\n\n<table><tr><td><b>", "Content-Type: text/plain; charset=klingon\n\nnuqneH", strings.Repeat("X: y\n", 3000) + "\nbody",
		"Content-Type: text/calendar\n\nBEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:never\nEND", "Subject: " + strings.Repeat("=?utf-8?q?=", 500) + "\n\n",
	}
	var all []held
	for _, raw := range raws {
		all = append(all, held{rcpts: []string{"anna@example.test"}, raw: raw})
	}
	ids := r.deliver(all...)
	c := r.client("anna@example.test")
	for i, id := range ids {
		for _, path := range []string{"/m/me/inbox/" + id, "/m/me/message/" + id, "/m/me/message/" + id + "/frame", "/m/me/message/" + id + "/print", "/m/me/message/" + id + "/eml"} {
			if got := c.get(path); got.status != http.StatusOK {
				t.Errorf("message %d (%.30q): %s answers %d", i, raws[i], path, got.status)
			}
		}
	}
}

func TestEmptyFolders(t *testing.T) {
	r := newRig(t)
	c := r.client("anna@example.test")
	page := c.get("/m/me/inbox").body
	has(t, "inbox", page, "Nothing yet", "New mail appears by itself", "Your mail server works")
	hasNot(t, "inbox", page, "Mail from before the outage")
	r.outages.set("example.test", DomainState{Hosted: true, Down: true})
	has(t, "inbox in an outage", c.get("/m/me/inbox").body, "Mail from before the outage is on the mail server that is down")
	for folder, says := range map[string]string{"starred": "Nothing starred", "sent": "Nothing sent from here", "drafts": "No drafts", "trash": "The trash is empty"} {
		has(t, folder, c.get("/m/me/"+folder).body, says)
	}
}

func TestGroupsFoldWhatWasSaidBefore(t *testing.T) {
	lines := func(n int) []render.Line { return make([]render.Line, n) }
	own, short, long, sig := render.Block{Lines: lines(1)}, render.Block{Quote: 1, Lines: lines(2)}, render.Block{Quote: 1, Lines: lines(9)}, render.Block{Signature: true, Lines: lines(1)}
	for name, c := range map[string]struct {
		blocks []render.Block
		want   string
	}{
		"plain": {[]render.Block{own, own}, "2"}, "short": {[]render.Block{own, short}, "2"}, "long": {[]render.Block{own, long}, "1 (1)"},
		"deep": {[]render.Block{own, long, {Quote: 2, Lines: lines(1)}}, "1 (2)"}, "signature": {[]render.Block{own, long, sig}, "1 (1) 1"},
		"answered in between": {[]render.Block{long, own, long, own}, "4"}, "only quoted": {[]render.Block{long}, "1"}, "nothing": {nil, "0"},
	} {
		var got []string
		for _, g := range textGroups(c.blocks) {
			s := fmt.Sprint(len(g.Blocks))
			if g.Folded {
				s = "(" + s + ")"
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

const answerMail = `From: Anna Schmidt <anna@example.test>
To: Max Huber <max@partner.example>, Gone <gone@partner.example>
Subject: Re: Offer for Thursday
Message-ID: <own@example.test>
In-Reply-To: <t2@partner.example>
Content-Type: text/plain; charset=utf-8

Here it is.
`

func TestSentMail(t *testing.T) {
	r := newRig(t)
	ids := r.deliver(sampleMail(time.Now())...)
	c := r.client("anna@example.test")
	sent, copied := r.send("anna@example.test", answerMail, "max@partner.example", "gone@partner.example")
	r.until("the text is read", "anna@example.test", func() bool { return strings.Contains(c.get("/m/me/sent").body, "Here it is") })
	page := c.get("/m/me/sent").body
	has(t, "sent", page, "to Max, Gone", "On its way")
	page = c.get("/m/me/inbox/" + ids[4]).body
	has(t, "conversation", page, "m-"+copied, "gone@partner.example", "On its way")
	must(t, r.spool.Record(t.Context(), spool.Event{ID: spool.NewID(), Time: time.Now(), Type: spool.Delivered, Entry: sent, Rcpt: 0, Reply: "250 ok"},
		spool.Event{ID: spool.NewID(), Time: time.Now(), Type: spool.Bounced, Entry: sent, Rcpt: 1, Reply: "550 5.1.1 no such user", Reason: "refused"}))
	r.until("the outcomes are folded", "anna@example.test", func() bool {
		return strings.Contains(c.get("/m/me/sent").body, "Not delivered")
	})
	page = c.get("/m/me/sent/" + copied).body
	has(t, "with outcomes", page, "Delivered ", "Not delivered", "550 5.1.1 no such user")

	// A draft in the list leads to where it is gone on with; in its conversation it is announced.
	d, err := r.mail.SaveDraft(t.Context(), mailbox.Draft{Account: "anna@example.test", Raw: compose.Draft{To: "max@partner.example", Subject: "Re: Offer for Thursday", Text: "And also", InReplyTo: "t2@partner.example", References: []string{"t1@partner.example", "t2@partner.example"}}.Bytes()})
	must(t, err)
	has(t, "drafts", c.get("/m/me/drafts").body, "/write/"+d.Writing)
	has(t, "conversation with a draft", c.get("/m/me/inbox/"+ids[4]).body, "You have begun an answer", "/write/"+d.Writing)
}

// TestReadersSeeWhoIsAnswering: people of a shared mailbox see who is writing an answer there.
func TestReadersSeeWhoIsAnswering(t *testing.T) {
	r := newRig(t)
	id := r.deliver(held{from: "x@outside.example", rcpts: []string{"info@example.test"}, raw: secretMail("mark")})[0]
	_, err := r.mail.SaveDraft(t.Context(), mailbox.Draft{Account: "max@example.test", Box: "info@example.test", Raw: compose.Draft{Box: "info@example.test", Subject: "Re: mark", Text: "I answer", InReplyTo: "mark@outside.example", References: []string{"mark@outside.example"}}.Bytes()})
	must(t, err)
	path := "/m/info@example.test/inbox/" + id
	has(t, "anna's page", r.client("anna@example.test").get(path).body, "Max Weber is writing an answer")
	hasNot(t, "anna's page", r.client("anna@example.test").get(path).body, "I answer")
	hasNot(t, "max's own page", r.client("max@example.test").get(path).body, "is writing an answer")
}

// TestOneMessageCantBeRead: the rest of its conversation can.
func TestOneMessageCantBeRead(t *testing.T) {
	r := newRig(t)
	ids := r.deliver(sampleMail(time.Now())...)
	r.until("texts are read", "anna@example.test", func() bool {
		n, err := r.mail.Progress(t.Context())
		return err == nil && n == 0
	})
	r.log.quiet.Store(true)
	r.lost.Store(ids[1])
	page := r.client("anna@example.test").get("/m/me/inbox/" + ids[4])
	if page.status != http.StatusOK {
		t.Fatalf("the conversation answers %d", page.status)
	}
	has(t, "conversation", page.body, "can&#39;t be read right now", "offer-2026-11.pdf")
	it, err := r.mail.Item(t.Context(), r.box("anna@example.test"), ids[1])
	if err != nil || !it.Unread {
		t.Errorf("what couldn't be read counts as read: %v", err)
	}
	if got := r.client("anna@example.test").get("/m/me/message/" + ids[1]); got.status != http.StatusInternalServerError {
		t.Errorf("by itself it answers %d", got.status)
	}
}

// TestViewsAreBounded: what takes too long to take apart says so, and its original can be saved elsewhere.
func TestViewsAreBounded(t *testing.T) {
	r := newRig(t)
	id := r.deliver(sampleMail(time.Now())...)[0]
	c := r.client("anna@example.test")
	r.server.o.Limits.View = time.Nanosecond
	if got := c.get("/m/me/message/" + id); got.status != http.StatusGatewayTimeout || !strings.Contains(got.body, "takes too long to show") {
		t.Errorf("a view without time answers %d", got.status)
	}
	r.log.quiet.Store(true)
	has(t, "its conversation", c.get("/m/me/inbox/"+id).body, "can&#39;t be read right now")
}
