package webmail

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restante/webmail/accounts"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

const offer = `From: Kunde Klein <k@kunde.example>
To: Anna <anna@example.com>, Chef <chef@kunde.example>
Cc: info@example.com
Subject: Offer for Thursday
Message-ID: <p1@kunde.example>
Date: Sat, 21 Nov 2026 09:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Hello Anna,

could we have the offer?

-- 
Kunde GmbH
--b
Content-Type: application/pdf; name="wishes.pdf"
Content-Disposition: attachment; filename="wishes.pdf"
Content-Transfer-Encoding: base64

aGVsbG8=
--b--
`

func TestNewWritingKeepsNothing(t *testing.T) {
	r := newWriteRig(t)
	page := r.get(annaAddress, "/write")
	if page.Code != http.StatusOK {
		t.Fatalf("%d %s", page.Code, page.Body)
	}
	action, f := r.formOf(page.Body.String())
	if f["from"][0] != annaAddress || f["box"][0] != "me" || f["back"][0] != "/m/me/inbox" || !strings.HasPrefix(action, "/write/0") {
		t.Errorf("%s %v", action, f)
	}
	if got := len(r.raw); got != 0 {
		t.Errorf("%d entries were kept", got)
	}
	if got := r.get(annaAddress, action); got.Code != http.StatusNotFound {
		t.Errorf("a writing that nobody kept: %d", got.Code)
	}
}

func TestNewWritingFromQuery(t *testing.T) {
	r := newWriteRig(t)
	for path, want := range map[string]form{
		"/write?to=k@kunde.example&subject=Hi&body=a%0Ab": {"to": {"k@kunde.example"}, "subject": {"Hi"}, "text": {"a\nb"}},
		"/write?from=info@example.com":                    {"from": {infoAddress}, "box": {infoAddress}, "back": {"/m/info@example.com/inbox"}},
		"/write?from=you@example.com":                     {"from": {annaAddress}, "box": {"me"}},
		"/write?to=a@x.example%0D%0Ab@x.example":          {"to": {"a@x.example, b@x.example"}},
		"/write?mailto=" + url.QueryEscape("mailto:k%2Bx@kunde.example?cc=c@kunde.example&Subject=A%20B+C&body=x%0Ay&bcc=evil@x.example&attach=/etc/passwd"): {"to": {"k+x@kunde.example"},
			"cc": {"c@kunde.example"}, "subject": {"A B+C"}, "text": {"x\ny"}, "bcc": {""}},
		"/write?mailto=javascript:alert(1)": {"to": {""}},
	} {
		_, f := r.formOf(r.get(annaAddress, path).Body.String())
		for name, values := range want {
			if d := cmp.Diff(values, f[name]); d != "" {
				t.Errorf("%s: %s: %s", path, name, d)
			}
		}
	}
}

func TestAnswering(t *testing.T) {
	r := newWriteRig(t)
	id := r.received(offer, annaAddress, infoAddress)
	quote := "\n\nOn Saturday, 21 November 2026 at 10:00, Kunde Klein wrote:\n> Hello Anna,\n>\n> could we have the offer?\n"
	for _, c := range []struct {
		mode compose.Mode
		box  string
		want form
	}{
		{compose.Reply, "me", form{"to": {"Kunde Klein <k@kunde.example>"}, "subject": {"Re: Offer for Thursday"}, "text": {quote}, "from": {annaAddress}, "answers": {id},
			"irt": {"<p1@kunde.example>"}, "refs": {"<p1@kunde.example>"}, "box": {"me"}, "back": {"/m/me/inbox/" + id}}},
		{compose.ReplyAll, "me", form{"to": {"Kunde Klein <k@kunde.example>, Chef <chef@kunde.example>"}, "cc": {""}}},
		{compose.Reply, infoAddress, form{"from": {infoAddress}, "box": {infoAddress}, "back": {"/m/info@example.com/inbox/" + id}}},
		{compose.Forward, "me", form{"to": {""}, "subject": {"Fwd: Offer for Thursday"}, "forwards": {id}, "carry": {"1.2"}, "answers": {""}, "refs": {"<p1@kunde.example>"}, "irt": {""}}},
		{compose.ForwardAs, "me", form{"carry": {carryWhole}, "text": {""}}},
	} {
		page := r.get(annaAddress, writePath(c.mode, c.box, id))
		_, f := r.formOf(page.Body.String())
		for name, values := range c.want {
			if d := cmp.Diff(values, f[name]); d != "" {
				t.Errorf("%s from %s: %s: %s", c.mode, c.box, name, d)
			}
		}
	}
}

func TestAnswersThatGoElsewhere(t *testing.T) {
	r := newWriteRig(t)
	for replyTo, want := range map[string]bool{"": false, "Reply-To: desk@kunde.example\n": false, "Reply-To: k@freemail.example\n": true} {
		id := r.received(replyTo+offer, annaAddress)
		page := r.get(annaAddress, writePath(compose.Reply, "me", id)).Body.String()
		if strings.Contains(page, "your answer goes to another address than the one it came from: k@freemail.example") != want {
			t.Errorf("%q: told %v", replyTo, !want)
		}
	}
}

func TestNobodyWritesWithOthersMail(t *testing.T) {
	r := newWriteRig(t)
	id := r.received(offer, annaAddress)
	kept := r.fill(annaAddress, "/write", "save", form{"to": {"x@y.example"}, "text": {"secret words"}}, upload{"secret.txt", "text/plain", "secret file"})
	path := kept.Header().Get("Location")
	saved, err := r.mail.Draft(t.Context(), annaAddress, writingIn(path))
	if err != nil {
		t.Fatal(err)
	}
	file := path + "/file/" + saved.Attachments[0].ID
	if got := r.get(annaAddress, file); got.Code != http.StatusOK || got.Body.String() != "secret file" || got.Header().Get("Content-Security-Policy") != filePolicy {
		t.Errorf("one's own file: %d %q", got.Code, got.Body)
	}
	for _, p := range []string{
		writePath(compose.Reply, "me", id), writePath(compose.Reply, infoAddress, id), writePath(compose.Reply, annaAddress, id), writePath(compose.Forward, "me", "x"),
		path, file, "/write/nonsense", "/write/nonsense/file/x",
	} {
		if got := r.get(maxAddress, p); got.Code != http.StatusNotFound || strings.Contains(got.Body.String(), "secret") || strings.Contains(got.Body.String(), "Offer") {
			t.Errorf("%s: %d", p, got.Code)
		}
	}
	// What another posts under the same name is their own.
	f := form{"box": {"me"}, "from": {maxAddress}, "text": {"mine"}, "att": {saved.Attachments[0].ID}, "do": {"save"}}
	if got := r.post(maxAddress, path, f); got.Code != http.StatusSeeOther {
		t.Errorf("%d", got.Code)
	}
	other, err := r.mail.Draft(t.Context(), maxAddress, writingIn(path))
	if err != nil || len(other.Attachments) != 0 {
		t.Errorf("another's file came along: %v %v", other.Attachments, err)
	}
	if again, err := r.mail.Draft(t.Context(), annaAddress, writingIn(path)); err != nil || string(again.Raw) != string(saved.Raw) {
		t.Errorf("another changed the draft: %v", err)
	}
	f = form{"box": {"me"}, "from": {maxAddress}, "to": {"x@y.example"}, "forwards": {id}, "carry": {"1.2", carryWhole}, "do": {"save"}}
	if got := r.post(maxAddress, path, f); got.Code != http.StatusNotFound {
		t.Errorf("forwarding another's mail: %d", got.Code)
	}
	if got := r.post(maxAddress, path, form{"box": {annaAddress}, "do": {"save"}}); got.Code != http.StatusNotFound {
		t.Errorf("another's box: %d", got.Code)
	}
	for _, p := range []string{"/undo", "/undiscard"} {
		w := r.post(maxAddress, "/write/"+writingIn(path)+p, nil)
		if _, page := r.follow(maxAddress, w); strings.Contains(page, "secret words") {
			t.Errorf("%s shows another's words", p)
		}
	}
	if got := r.get("", path); got.Code != http.StatusSeeOther || !strings.HasPrefix(got.Header().Get("Location"), "/signin") {
		t.Errorf("nobody: %d", got.Code)
	}
}

func TestSavingWithoutScript(t *testing.T) {
	r := newWriteRig(t)
	w := r.fill(annaAddress, "/write", "save", form{"to": {"Jörg <j@kunde.example>, max"}, "bcc": {"b@x.example"}, "subject": {"Hällo"}, "text": {"a\r\n\r\n  b"}},
		upload{"plan.pdf", "application/pdf", "PDF"}, upload{"notes.txt", "text/plain", "notes"})
	path, page := r.follow(annaAddress, w)
	_, f := r.formOf(page)
	want := form{"to": {"Jörg <j@kunde.example>, max"}, "cc": {""}, "bcc": {"b@x.example"}, "subject": {"Hällo"}, "text": {"a\n\n  b"}, "from": {annaAddress}}
	for name, values := range want {
		if d := cmp.Diff(values, f[name]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if len(f["att"]) != 2 || !strings.Contains(page, "plan.pdf") || !strings.Contains(page, "notes.txt") || !strings.Contains(page, "Draft saved.") || !strings.Contains(page, "Saved 10:12") {
		t.Errorf("attachments %v in %s", f["att"], page)
	}
	// One is taken off again, by its button.
	f["remove"], f["do"] = f["att"][:1], nil
	_, page = r.follow(annaAddress, r.post(annaAddress, path, f))
	if strings.Contains(page, "plan.pdf") || !strings.Contains(page, "notes.txt") {
		t.Error("the wrong file was taken off")
	}
	list, err := r.mail.List(t.Context(), mailbox.Query{Box: mailbox.Box{ID: annaAddress, Addresses: []string{annaAddress}}, Folder: mailbox.Drafts})
	if err != nil || len(list.Items) != 1 || list.Items[0].Subject != "Hällo" {
		t.Errorf("drafts: %+v %v", list.Items, err)
	}
}

func TestSavingByScript(t *testing.T) {
	r := newWriteRig(t)
	id := r.received(offer, annaAddress)
	action, f := r.formOf(r.get(annaAddress, writePath(compose.Forward, "me", id)).Body.String())
	post := func(path string, f form, files ...upload) (int, map[string]string) {
		req := r.request(path, f, files...)
		req.Header.Set("Accept", "application/json")
		w := r.do(annaAddress, req)
		var said map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Code, said
	}
	f["do"] = []string{"save"}
	code, said := post(action, f)
	if code != http.StatusOK || said["path"] != action || said["saved"] != "Saved 10:12" || !strings.Contains(said["files"], "wishes.pdf") || !strings.Contains(said["files"], `name="att"`) || said["problem"] != "" {
		t.Fatalf("%d %v", code, said)
	}
	entries := len(r.raw)
	code, said = post(action+"/attach", form{"box": {"me"}, "from": {annaAddress}}, upload{"a b.txt", "text/plain", "x"})
	if code != http.StatusOK || said["id"] == "" || len(r.raw) != entries+1 {
		t.Errorf("attaching: %d %v", code, said)
	}
	if code, said = post(action+"/attach", form{"box": {"me"}}); code != http.StatusBadRequest || said["problem"] == "" {
		t.Errorf("attaching nothing: %d %v", code, said)
	}
	r.server.o.Limits.Message = 300 << 10
	if code, said = post(action+"/attach", form{"box": {"me"}}, upload{"big.bin", "", strings.Repeat("x", 100<<10)}); code != http.StatusRequestEntityTooLarge || !strings.Contains(said["problem"], "big.bin") {
		t.Errorf("too large: %d %v", code, said)
	}
}

func TestSending(t *testing.T) {
	r := newWriteRig(t)
	id := r.received(offer, annaAddress)
	w := r.fill(annaAddress, writePath(compose.Reply, "me", id), "send", form{"cc": {"c@kunde.example"}, "bcc": {"secret@x.example"}, "text": {"Here it is.\n\nAnna"}},
		upload{"offer.pdf", "application/pdf", "%PDF"})
	path, page := r.follow(annaAddress, w)
	if path != "/m/me/inbox/"+id || !strings.Contains(page, "Goes out in 10 seconds.") || !strings.Contains(page, "/undo") {
		t.Errorf("%s %s", path, page)
	}
	if len(r.sent) != 1 {
		t.Fatalf("%d sent", len(r.sent))
	}
	s := r.sent[0]
	if d := cmp.Diff([]string{"k@kunde.example", "c@kunde.example", "secret@x.example"}, s.Rcpts); d != "" || s.Account != annaAddress || s.From != annaAddress || s.FromName != "Anna Schmidt" || s.Delay != undoDelay {
		t.Errorf("%+v %s", s, d)
	}
	for _, want := range []string{"From: Anna Schmidt <anna@example.com>\r\n", "In-Reply-To: <p1@kunde.example>\r\n", "Date: Sat, 21 Nov 2026 10:12:00 +0100\r\n", "offer.pdf", "\r\n\r\nHere it is.\r\n"} {
		if !strings.Contains(string(s.Message), want) {
			t.Errorf("%q is not in %s", want, s.Message)
		}
	}
	if strings.Contains(string(s.Message), "secret@") || strings.Contains(string(s.Message), "X-Restante") {
		t.Errorf("the message says too much: %s", s.Message)
	}
	item, err := r.mail.Item(t.Context(), mailbox.Box{ID: annaAddress, Addresses: []string{annaAddress}}, id)
	if err != nil || !item.Answered {
		t.Errorf("not marked as answered: %v", err)
	}
	if _, err := r.mail.Draft(t.Context(), annaAddress, s.Writing); !errors.Is(err, mailbox.ErrNotFound) {
		t.Errorf("the draft is still there: %v", err)
	}
	if got, err := r.mail.Activity(t.Context(), annaAddress, writeNow.Add(1e12), 10); err != nil || len(got) == 0 || got[0].Data["what"] != "send" && len(r.noted) == 0 {
		t.Errorf("activity %v %v", got, err)
	}
	// Taken back, it is a draft again, with its file.
	path, page = r.follow(annaAddress, r.post(annaAddress, "/write/"+s.Writing+"/undo", nil))
	_, f := r.formOf(page)
	if path != "/write/"+s.Writing || f["text"][0] != "Here it is.\n\nAnna\n" && f["text"][0] != "Here it is.\n\nAnna" || len(f["att"]) != 1 || !strings.Contains(page, "Not sent. Here is your draft.") {
		t.Errorf("%s %v", path, f)
	}
	_, page = r.follow(annaAddress, r.post(annaAddress, "/write/"+s.Writing+"/undo", nil))
	if !strings.Contains(page, "Too late") {
		t.Errorf("undone twice: %s", page)
	}
}

func TestWhatMustBeMended(t *testing.T) {
	r := newWriteRig(t)
	good := form{"to": {"k@kunde.example"}, "subject": {"s"}, "text": {"t"}}
	with := func(name, value string) form {
		f := form{}
		for k, v := range good {
			f[k] = v
		}
		f[name] = []string{value}
		return f
	}
	for _, c := range []struct {
		name   string
		change form
		before func()
		status int
		want   string
	}{
		{"bad address", with("to", "kunde"), nil, 422, "“kunde” is no address: the @ is missing."},
		{"bad blind copy", with("bcc", "a@b"), nil, 422, "“a@b”: what stands after the @"},
		{"nobody", with("to", ""), nil, 422, "Whom is it for?"},
		{"not one's own address", with("from", maxAddress), nil, 422, "You can&#39;t write from this address."},
		{"no subject", with("subject", ""), nil, 422, "There is no subject."},
		{"forgotten file", with("text", "see the attached plan"), nil, 422, "You wrote “attached”, but nothing is attached."},
		{"a slip", with("to", "max@exmaple.com"), nil, 422, "max@exmaple.com looks like an address at example.com"},
		{"closed", good, func() { r.why = "closed" }, 422, "Not sent. Your draft is kept."},
		{"outside, without a smarthost", good, func() { r.why, r.fail = inHouse, &Refusal{Key: inHouse} }, 422, "Only mail to colleagues can be sent here."},
		{"unknown reason", good, func() { r.why = "moonshine" }, 422, "writing here is closed"},
		{"refused", good, func() { r.fail = &Refusal{Key: "message", Args: []any{"why", "too odd"}} }, 422, "(too odd)"},
		{"stopped meanwhile", good, func() { r.fail = &Refusal{Key: "stopped"} }, 422, "Your administrator has stopped sending."},
		{"broken", good, func() { r.fail = errors.New("the disk is gone") }, 503, "Nothing is lost: your draft is kept."},
		{"too large", with("text", strings.Repeat("x\n", 3000)), func() { r.server.o.Limits.Message = 2000 }, 422, "The message is too large"},
	} {
		limit := r.server.o.Limits.Message
		r.why, r.fail = "", nil
		if c.before != nil {
			c.before()
		}
		w := r.fill(annaAddress, "/write", "send", c.change)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d, %q is not in %s", c.name, w.Code, c.want, w.Body)
			continue
		}
		action, f := r.formOf(w.Body.String())
		if f["text"][0] != c.change["text"][0] && f["text"][0]+"\n" != c.change["text"][0] {
			t.Errorf("%s: the text is gone", c.name)
		}
		if _, err := r.mail.Draft(t.Context(), annaAddress, writingIn(action)); err != nil {
			t.Errorf("%s: the draft is not kept: %v", c.name, err)
		}
		r.server.o.Limits.Message = limit
	}
	if len(r.sent) != 0 {
		t.Errorf("%d were sent all the same", len(r.sent))
	}
}

// TestWriteInHouse: where nothing takes mail for others, colleagues can be written to all the same.
func TestWriteInHouse(t *testing.T) {
	r := newWriteRig(t)
	r.setWhy(inHouse)
	page := r.get(annaAddress, "/write").Body.String()
	if !strings.Contains(page, "Only mail to colleagues can be sent here.") || strings.Contains(page, `value="send" disabled`) {
		t.Errorf("the page says %s", page)
	}
	w := r.fill(annaAddress, "/write", "send", form{"to": {maxAddress}, "subject": {"x"}, "text": {"y"}})
	if w.Code != http.StatusSeeOther || len(r.sent) != 1 {
		t.Errorf("%d, %d sent", w.Code, len(r.sent))
	}
}

func TestSendAnyway(t *testing.T) {
	r := newWriteRig(t)
	w := r.fill(annaAddress, "/write", "send", form{"to": {"k@kunde.example"}, "text": {"the attached plan"}})
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "Send anyway") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	// Another warning has come up since: it is told first.
	second := r.again(annaAddress, w.Body.String(), "send", form{"to": {"k@exmaple.com"}})
	if second.Code != http.StatusUnprocessableEntity {
		t.Fatalf("%d: a new warning was passed over", second.Code)
	}
	third := r.again(annaAddress, second.Body.String(), "send", nil)
	if third.Code != http.StatusSeeOther || len(r.sent) != 1 {
		t.Errorf("%d, %d sent", third.Code, len(r.sent))
	}
}

func TestForwardingFiles(t *testing.T) {
	r := newWriteRig(t)
	id := r.received(offer, annaAddress)
	for mode, want := range map[compose.Mode]string{compose.Forward: "aGVsbG8=", compose.ForwardAs: `filename="Offer for Thursday.eml"`} {
		r.sent = nil
		w := r.fill(annaAddress, writePath(mode, "me", id), "send", form{"to": {"k@kunde.example"}, "text": {"FYI"}})
		if w.Code != http.StatusSeeOther || len(r.sent) != 1 || !strings.Contains(string(r.sent[0].Message), want) {
			t.Errorf("%s: %d %v", mode, w.Code, r.sent)
		}
	}
	// A box that isn't ticked stays behind.
	r.sent = nil
	r.fill(annaAddress, writePath(compose.Forward, "me", id), "send", form{"to": {"k@kunde.example"}, "text": {"FYI"}, "carry": nil})
	if len(r.sent) != 1 || strings.Contains(string(r.sent[0].Message), "wishes.pdf") {
		t.Errorf("%v", r.sent)
	}
}

func TestFilesOverTheLimit(t *testing.T) {
	r := newWriteRig(t)
	r.server.o.Limits.Message = 400 << 10
	id := r.received(strings.Replace(offer, "aGVsbG8=", strings.Repeat(strings.Repeat("AAAA", 19)+"\n", 3000), 1), annaAddress)
	w := r.fill(annaAddress, "/write", "attach", form{"text": {"my words"}}, upload{"big.bin", "", strings.Repeat("x", 300<<10)}, upload{"small.bin", "", "x"})
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "big.bin doesn&#39;t fit") || !strings.Contains(w.Body.String(), "small.bin</a>") || !strings.Contains(w.Body.String(), "my words") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = r.fill(annaAddress, writePath(compose.Forward, "me", id), "save", nil)
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "The files of the original don&#39;t fit") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestDiscarding(t *testing.T) {
	r := newWriteRig(t)
	w := r.fill(annaAddress, "/write", "discard", form{"text": {"my words"}})
	path, page := r.follow(annaAddress, w)
	undo := ""
	if i := strings.Index(page, "/undiscard"); i > 0 {
		undo = page[strings.LastIndex(page[:i], `"`)+1:i] + "/undiscard"
	}
	if path != "/m/me/inbox" || undo == "" || !strings.Contains(page, "Draft discarded.") {
		t.Fatalf("%s %s", path, page)
	}
	if got := r.get(annaAddress, strings.TrimSuffix(undo, "/undiscard")); got.Code != http.StatusNotFound {
		t.Errorf("it is still there: %d", got.Code)
	}
	_, page = r.follow(annaAddress, r.post(annaAddress, undo, nil))
	if _, f := r.formOf(page); f["text"][0] != "my words" {
		t.Errorf("came back as %v", f)
	}
	// Nothing was written: nothing to take back.
	if _, page = r.follow(annaAddress, r.fill(annaAddress, "/write", "discard", nil)); strings.Contains(page, "/undiscard") {
		t.Error("nothing can be taken back")
	}
}

func TestWritingTellsWhoIsAnswering(t *testing.T) {
	r := newWriteRig(t)
	id := r.received(offer, infoAddress)
	if w := r.fill(maxAddress, writePath(compose.Reply, infoAddress, id), "save", form{"text": {"hello"}}); w.Code != http.StatusSeeOther {
		t.Fatal(w.Code)
	}
	path := writePath(compose.Reply, infoAddress, id)
	if page := r.get(annaAddress, path).Body.String(); !strings.Contains(page, "Max Meier is writing an answer to this too (saved 10:12).") {
		t.Error("nobody says that Max is answering")
	}
	if page := r.get(maxAddress, path).Body.String(); strings.Contains(page, "is writing an answer") {
		t.Error("Max is told of himself")
	}
}

func TestDamagedForms(t *testing.T) {
	r := newWriteRig(t)
	action, f := r.formOf(r.get(annaAddress, "/write").Body.String())
	plain := httptest.NewRequest(http.MethodPost, action, strings.NewReader("box=me&text=x"))
	plain.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	cut := r.request(action, f)
	cut.Body = http.NoBody
	many := form{"box": {"me"}}
	for range maxFields + compose.MaxAttachments + 2 {
		many["x"] = append(many["x"], "y")
	}
	for name, req := range map[string]*http.Request{
		"not multipart": plain, "cut off": cut, "many fields": r.request(action, many), "a huge field": r.request(action, form{"box": {"me"}, "text": {strings.Repeat("x", maxField+1)}}),
	} {
		if w := r.do(annaAddress, req); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "did not arrive whole") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	f["back"], f["do"] = []string{"https://evil.example/"}, []string{"discard"}
	if w := r.post(annaAddress, action, f); w.Header().Get("Location") != "/" {
		t.Errorf("sent to %q", w.Header().Get("Location"))
	}
}

func TestCompletion(t *testing.T) {
	r := newWriteRig(t)
	r.received(offer, annaAddress)
	name := "Kunigunde Außen"
	if _, err := r.people.Add(t.Context(), "admin", "k@other.example", accounts.Edit{Name: &name}); err != nil {
		t.Fatal(err)
	}
	for q, want := range map[string]string{
		"": "", "ma": "Max Meier <max@example.com>", "mei": "Max Meier <max@example.com>", "ku": "Kunde Klein <k@kunde.example>", "zzz": "", "you": "you@example.com",
		"a.sch": "Anna Schmidt <anna@example.com>",
	} {
		var got []completion
		w := r.get(annaAddress, "/write/people?q="+url.QueryEscape(q))
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, c := range got {
			values = append(values, c.Value)
		}
		if strings.Join(values, "; ") != want {
			t.Errorf("%q: %q, want %q", q, values, want)
		}
	}
}

func TestSettings(t *testing.T) {
	r := newWriteRig(t)
	if page := r.get(annaAddress, "/settings").Body.String(); !strings.Contains(page, `<option value="Europe/Berlin" selected>`) || !strings.Contains(page, "a.schmidt@example.com") {
		t.Error(page)
	}
	post := func(v url.Values) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodPost, "/settings", strings.NewReader(v.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r.do(annaAddress, req)
	}
	_, page := r.follow(annaAddress, post(url.Values{"language": {"de"}, "zone": {"Asia/Tokyo"}, "signature": {"Anna\r\nBeispiel GmbH\r\n"}}))
	a, _ := r.people.Account(annaAddress)
	if a.Language != "de" || a.Zone != "Asia/Tokyo" || a.Signature != "Anna\nBeispiel GmbH" || !strings.Contains(page, "Gesichert.") || !strings.Contains(page, "18:12") {
		t.Errorf("%+v %s", a, page)
	}
	if _, f := r.formOf(r.get(annaAddress, "/write").Body.String()); f["text"][0] != "\n\n-- \nAnna\nBeispiel GmbH" {
		t.Errorf("the signature stands as %q", f["text"])
	}
	w := post(url.Values{"language": {"de"}, "zone": {"Moon/Crater"}, "signature": {"kept in the form"}})
	if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "kept in the form") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
