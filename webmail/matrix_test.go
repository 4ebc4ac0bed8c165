package webmail

import (
	"bufio"
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"restante/spool"
	"restante/webmail/accounts"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/session"
)

// owned is something that belongs to somebody.
type owned struct {
	owner, mark    string // account (or address without one), and the word that is in all of it
	entry          string // in the inbox
	writing, draft string // a draft and its entry
	file           string // its attachment
}

// draft keeps a draft that says whose it is.
func (r *rig) draft(account, mark string) (writing string) {
	r.t.Helper()
	d, err := r.mail.SaveDraft(r.t.Context(), mailbox.Draft{Account: account, Raw: compose.Draft{To: mark + "@outside.example", Subject: mark + "-draft", Text: mark + "-text"}.Bytes()})
	must(r.t, err)
	return d.Writing
}

// belongings gives everybody a message, and those with an account a draft with an attachment.
func (r *rig) belongings() []owned {
	r.t.Helper()
	var all []owned
	for _, who := range []string{"anna@example.test", "max@example.test", "kim@other.test", "info@example.test", "ghost@other.test"} {
		o := owned{owner: who, mark: "SECRET-" + strings.NewReplacer("@", "-", ".", "-").Replace(who)}
		o.entry = r.deliver(held{from: o.mark + "@outside.example", rcpts: []string{who}, raw: secretMail(o.mark)})[0]
		if _, ok := r.accounts.Account(who); ok {
			o.writing = r.draft(who, o.mark)
			a, err := r.mail.Attach(r.t.Context(), who, o.writing, o.mark+"-file.txt", "text/plain", strings.NewReader(o.mark+"-attached"), 1<<20)
			must(r.t, err)
			o.file = a.ID
			d, err := r.mail.SaveDraft(r.t.Context(), mailbox.Draft{Account: who, Writing: o.writing,
				Raw: compose.Draft{To: o.mark + "@outside.example", Subject: o.mark + "-draft", Text: o.mark + "-text", Attachments: []string{a.ID}}.Bytes()})
			must(r.t, err)
			o.draft = d.Entry
		}
		all = append(all, o)
	}
	return all
}

// may says whether somebody may see what is another's.
func (o owned) may(who string) bool {
	return who == o.owner || o.owner == "info@example.test" && (who == "anna@example.test" || who == "max@example.test")
}

// form asks with the form of the page "write".
func (r *rig) form(who, path string, fields ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for i := 0; i+1 < len(fields); i += 2 {
		must(r.t, m.WriteField(fields[i], fields[i+1]))
	}
	must(r.t, m.Close())
	req := httptest.NewRequest(http.MethodPost, path, &b)
	req.Header.Set("Content-Type", m.FormDataContentType())
	req.AddCookie(&http.Cookie{Name: "who", Value: url.QueryEscape(who)})
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w
}

// TestNobodyTakesAnothersMail asks for what is another's by everything but the path: an answer to it, a forward of it,
// its attachments in a message of one's own, its names in completion and search, what is nested in it.
func TestNobodyTakesAnothersMail(t *testing.T) {
	r := newRig(t)
	r.log.quiet.Store(true)
	all := r.belongings()
	own := 0
	see := func(who, what string, texts ...string) {
		t.Helper()
		for _, o := range all {
			for _, said := range texts {
				if !strings.Contains(said, o.mark) {
					continue
				}
				if own++; !o.may(who) {
					t.Errorf("%s sees what is %s's: %s", who, o.owner, what)
				}
			}
		}
	}
	boxes := []string{"me", "", "anna@example.test", "max@example.test", "kim@other.test", "info@example.test", "ghost@other.test"}
	for _, who := range []string{"anna@example.test", "max@example.test", "kim@other.test"} {
		get := func(path string) {
			t.Helper()
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				w := r.ask(who, method, path, nil)
				see(who, method+" "+path, w.Body.String(), fmt.Sprint(w.Header()))
			}
		}
		for _, q := range []string{"SECRET", "secret-m", "secret-a", "secret-k"} {
			get("/write/people?q=" + q)
		}
		for _, box := range boxes {
			get("/write?from=" + url.QueryEscape(box))
			for _, q := range []string{"SECRET", "from:SECRET", "subject:SECRET", "has:attachment", "attached"} {
				get("/m/" + url.PathEscape(box) + "/search?q=" + url.QueryEscape(q))
			}
			for _, o := range all {
				for _, id := range []string{o.entry, o.draft, o.file} {
					if id == "" {
						continue
					}
					for _, mode := range []string{"reply", "reply-all", "forward", "forward-as"} {
						get("/write?" + url.Values{"mode": {mode}, "box": {box}, "id": {id}}.Encode())
					}
					at := "/m/" + url.PathEscape(box) + "/message/" + id
					for _, what := range []string{"?in=1.3", "/frame?in=1.3", "/print?in=1.3", "/zip?in=1.3", "/part/1.2?show=1", "/part/1.3", "?as=text"} {
						get(at + what)
					}
					r.takes(who, box, id, o, see)
				}
			}
		}
	}
	if own < 100 {
		t.Errorf("only %d answers hold anything: this proves nothing", own)
	}
	for _, o := range all {
		if o.writing == "" {
			continue
		}
		saved, err := r.mail.Draft(t.Context(), o.owner, o.writing)
		must(t, err)
		if d, err := compose.ReadDraft(saved.Raw); err != nil || d.Text != o.mark+"-text" {
			t.Errorf("the draft of %s was changed by others: %q %v", o.owner, d.Text, err)
		}
	}
}

// takes writes a message of one's own that names what is another's, looks at it, and sends it.
func (r *rig) takes(who, box, id string, o owned, see func(who, what string, texts ...string)) {
	r.t.Helper()
	mine := spool.NewID()
	fields := []string{"box", box, "from", who, "to", "x@outside.example", "subject", "s", "text", "t", "forwards", id, "answers", id,
		"carry", "whole", "carry", "1.2", "carry", "1.3", "att", id, "att", o.file, "back", "/"}
	for _, do := range []string{"save", "send"} {
		what := "POST " + do + " naming " + id + " in " + box
		w := r.form(who, "/write/"+mine, append([]string{"do", do, "confirm", "x"}, fields...)...)
		see(who, what, w.Body.String(), fmt.Sprint(w.Header()))
		if d, err := r.mail.Draft(r.t.Context(), who, mine); err == nil {
			see(who, what+": the draft", string(d.Raw), fmt.Sprint(d.Attachments))
			for _, a := range d.Attachments {
				see(who, what+": "+a.Name, r.ask(who, http.MethodGet, "/write/"+mine+"/file/"+a.ID, nil).Body.String())
			}
		}
		see(who, what, r.ask(who, http.MethodGet, "/write/"+mine, nil).Body.String(), r.ask(who, http.MethodGet, "/write/"+mine+"/file/"+o.file, nil).Body.String())
	}
	r.sender.mu.Lock()
	for _, s := range r.sender.sent {
		see(s.Account, "what was sent", string(s.Message))
	}
	r.sender.sent = nil
	r.sender.mu.Unlock()
	if o.writing == "" || o.owner == who {
		return
	}
	for _, path := range []string{"", "/file/" + o.file, "/undo", "/undiscard", "/attach"} {
		w := r.form(who, "/write/"+o.writing+path, append([]string{"do", "discard"}, fields...)...)
		see(who, "POST to another's writing "+path, w.Body.String())
	}
}

// TestOtherMethods: a route answers to its own method alone (HEAD goes with GET).
func TestOtherMethods(t *testing.T) {
	r := newRig(t)
	all := r.belongings()
	declared := map[string][]string{}
	for _, rt := range r.server.routes() {
		declared[rt.Pattern] = append(declared[rt.Pattern], rt.Method)
	}
	n := 0
	for pattern, methods := range declared {
		for _, path := range paths(pattern, []string{"me"}, []string{all[0].entry}, []string{all[0].writing}) {
			for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GET", "POST"} {
				if slices.Contains(methods, method) || r.elsewhere(method, path) {
					continue
				}
				n++
				w := r.ask("anna@example.test", method, path, url.Values{"do": {"trash"}, "e": {all[0].entry}})
				if w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed || strings.Contains(w.Body.String(), all[0].mark) {
					t.Errorf("%s %s answers %d", method, path, w.Code)
				}
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d were tried", n)
	}
}

// elsewhere says that another pattern takes this path with this method: /m/{box}/act is a folder to GET.
func (r *rig) elsewhere(method, path string) bool {
	at, _, _ := strings.Cut(path, "?")
	return slices.ContainsFunc(r.server.routes(), func(rt route) bool {
		if rt.Method != method {
			return false
		}
		ok := regexp.MustCompile("^" + parameter.ReplaceAllString(strings.TrimSuffix(rt.Pattern, "{$}"), "[^/]+") + "$").MatchString(at)
		return ok
	})
}

// TestNothingWithoutASession: with the real sessions, those who have none any more get nothing at any route.
func TestNothingWithoutASession(t *testing.T) {
	r := newRig(t)
	all := r.belongings()
	r.server.viewer = r.server.viewerFrom
	start := func(account string) string {
		token, _, err := r.signIn.Sessions.Start(t.Context(), session.Session{Account: account, Method: session.Password, Addr: "192.0.2.1"})
		must(t, err)
		return token
	}
	good, ended, disabled, deleted := start("anna@example.test"), start("anna@example.test"), start("max@example.test"), start("kim@other.test")
	all2 := r.signIn.Sessions.List("anna@example.test")
	ids := []string{}
	for _, s := range all2 {
		ids = append(ids, s.ID)
	}
	peek, ok := r.signIn.Sessions.Check(ended)
	if !ok || !slices.Contains(ids, peek.ID) {
		t.Fatal("the session isn't there")
	}
	must(t, r.signIn.Sessions.End(t.Context(), "anna@example.test", peek.ID, "test", "test"))
	yes := true
	_, err := r.accounts.Edit(t.Context(), "test", "max@example.test", accounts.Edit{Disabled: &yes})
	must(t, err)
	must(t, r.accounts.Delete(t.Context(), "test", "kim@other.test"))

	var entries, writings []string
	for _, o := range all {
		entries = append(entries, o.entry)
		if o.writing != "" {
			writings = append(writings, o.writing)
		}
	}
	seen := map[string]int{}
	for name, token := range map[string]string{"good": good, "none": "", "garbage": "AAAA", "ended": ended, "disabled": disabled, "deleted": deleted, "cut": good[:len(good)-1], "case": strings.ToUpper(good)} {
		for _, rt := range r.server.routes() {
			if rt.Method == http.MethodPost && rt.Access == public || name == "good" && (rt.Method == http.MethodPost || rt.Pattern == "/events") {
				continue
			}
			for _, path := range paths(rt.Pattern, []string{"me", "info@example.test"}, entries, writings) {
				req := httptest.NewRequest(rt.Method, path, nil)
				req.AddCookie(&http.Cookie{Name: "session", Value: token})
				w := httptest.NewRecorder()
				r.server.ServeHTTP(w, req)
				if strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), "SECRET-") && !strings.Contains(w.Header().Get("Location"), "SECRET") {
					if seen[name]++; name != "good" {
						t.Errorf("%s: %s %s shows mail", name, rt.Method, path)
					}
				}
				if name != "good" && rt.Access != public && w.Code != http.StatusSeeOther && w.Code != http.StatusNoContent {
					t.Errorf("%s: %s %s answers %d", name, rt.Method, path, w.Code)
				}
			}
		}
	}
	if seen["good"] < 20 {
		t.Errorf("only %d answers to a good session have mail", seen["good"])
	}
}

// TestOtherSitesCantPost posts to every route as a page of another site makes a browser do it.
func TestOtherSitesCantPost(t *testing.T) {
	r := newRig(t)
	all := r.belongings()
	n := 0
	for _, rt := range r.server.routes() {
		if rt.Method != http.MethodPost {
			continue
		}
		for _, headers := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "http://example.com.evil.example"}} {
			path := paths(rt.Pattern, []string{"me"}, []string{all[0].entry}, []string{all[0].writing})[0]
			req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(url.Values{"do": {"trash"}, "e": {all[0].entry}}.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set(headers[0], headers[1])
			req.AddCookie(&http.Cookie{Name: "who", Value: "anna@example.test"})
			w := httptest.NewRecorder()
			r.server.ServeHTTP(w, req)
			if n++; w.Code != http.StatusForbidden || len(w.Header().Values("Set-Cookie")) > 0 {
				t.Errorf("POST %s with %v answers %d", path, headers, w.Code)
			}
		}
	}
	if it, err := r.mail.Item(t.Context(), r.box("anna@example.test"), all[0].entry); err != nil || it.Trashed || n < 100 {
		t.Errorf("%d tried; deleted: %v, %v", n, it.Trashed, err)
	}
}

// TestNobodySendsAsAnother: an alias that has become somebody else's is nothing to write from, though the account that had
// it was deleted and brought back with it.
func TestNobodySendsAsAnother(t *testing.T) {
	const alias = "a.schmidt@example.test"
	r := newRig(t)
	must(t, r.accounts.Delete(t.Context(), "admin", "anna@example.test"))
	_, err := r.accounts.Edit(t.Context(), "admin", "max@example.test", accounts.Edit{Aliases: []string{alias}})
	must(t, err)
	must(t, r.accounts.Undelete(t.Context(), "admin", "anna@example.test"))
	for who, want := range map[string]bool{"anna@example.test": false, "max@example.test": true} {
		for _, path := range []string{"/write", "/settings"} {
			if got := strings.Contains(r.ask(who, http.MethodGet, path, nil).Body.String(), alias); got != want {
				t.Errorf("%s offers %s to %s: %v, want %v", path, alias, who, got, want)
			}
		}
		w := r.form(who, "/write/"+spool.NewID(), "do", "send", "box", "me", "from", alias, "to", "x@outside.example", "subject", "pay me", "text", "Now.")
		if got := len(r.sender.sent) > 0; got != want {
			t.Errorf("%s sends as %s: %v, want %v (%d)", who, alias, got, want, w.Code)
		}
		r.sender.sent = nil
	}
}

// TestStreamsAreOnesOwn: what happens in others' mailboxes makes no event.
func TestStreamsAreOnesOwn(t *testing.T) {
	r := newRig(t)
	follow := func(who string) <-chan string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.web.URL+"/events", nil)
		must(t, err)
		req.AddCookie(&http.Cookie{Name: "who", Value: who})
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		lines := make(chan string, 100)
		go func() {
			defer res.Body.Close()
			for in := bufio.NewScanner(res.Body); in.Scan(); {
				if strings.HasPrefix(in.Text(), "event:") || strings.HasPrefix(in.Text(), "data:") && in.Text() != "data:" {
					lines <- in.Text()
				}
			}
		}()
		return lines
	}
	anna, kim := follow("anna@example.test"), follow("kim@other.test")
	r.deliver(held{from: "x@outside.example", rcpts: []string{"anna@example.test"}, raw: secretMail("mark")})
	if got := <-anna; got != "event: mail" {
		t.Errorf("anna is told %q", got)
	}
	r.draft("max@example.test", "mark")
	select {
	case got := <-kim:
		t.Errorf("kim is told %q", got)
	default:
	}
	r.deliver(held{from: "x@outside.example", rcpts: []string{"kim@other.test"}, raw: secretMail("mark")})
	if got := <-kim; got != "event: mail" {
		t.Errorf("kim is told %q of the own mail", got)
	}
	select {
	case got := <-anna:
		t.Errorf("anna is told %q of kim's", got)
	default:
	}
}
