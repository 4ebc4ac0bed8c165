package webmail

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

// secretMail is a message that says whose it is in every place that a page shows.
func secretMail(mark string) string {
	return fmt.Sprintf(`From: %[1]s-from <%[1]s@outside.example>
To: %[1]s-to <x@outside.example>
Subject: %[1]s-subject
Message-ID: <%[1]s@outside.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html

<p>%[1]s-body</p>
--b
Content-Type: text/plain; name="%[1]s-a.txt"
Content-Disposition: attachment; filename="%[1]s-a.txt"

%[1]s-attachment
--b
Content-Type: message/rfc822

Subject: %[1]s-nested

%[1]s-inside
--b--
`, mark)
}

// TestNobodySeesAnothersMail asks for every route of the table, as every account and as nobody, with the name of
// every box and the id of every message and piece of writing: no answer holds a word of mail that isn't the
// asker's to see, and nothing is changed.
func TestNobodySeesAnothersMail(t *testing.T) {
	r := newRig(t)
	// Whose mark may be seen by whom.
	owners := map[string][]string{
		"anna@example.test": {"anna@example.test"},
		"max@example.test":  {"max@example.test"},
		"kim@other.test":    {"kim@other.test"},
		"info@example.test": {"anna@example.test", "max@example.test"},
		"ghost@other.test":  nil, // mail without an account
	}
	mark := func(address string) string {
		return "SECRET-" + strings.NewReplacer("@", "-", ".", "-").Replace(address)
	}
	var ids, writings []string
	of := map[string]string{} // entry or writing -> address
	for _, address := range []string{"anna@example.test", "max@example.test", "kim@other.test", "info@example.test", "ghost@other.test"} {
		id := r.deliver(held{from: "x@outside.example", rcpts: []string{address}, raw: secretMail(mark(address))})[0]
		ids, of[id] = append(ids, id), address
		if _, ok := r.accounts.Account(address); !ok {
			continue
		}
		d, err := r.mail.SaveDraft(t.Context(), mailbox.Draft{Account: address, Raw: compose.Draft{Subject: mark(address) + "-draft", Text: mark(address) + "-text"}.Bytes()})
		must(t, err)
		writings, of[d.Writing] = append(writings, d.Writing), address
	}
	before := r.flags(ids, owners)
	r.log.quiet.Store(true) // nonsense is asked for, and noted
	routes := r.server.routes()
	boxes := []string{"me", "anna@example.test", "max@example.test", "kim@other.test", "info@example.test", "ghost@other.test", "none@example.test"}
	asked, own := 0, 0
	for _, who := range []string{"", "anna@example.test", "max@example.test", "kim@other.test"} {
		for _, rt := range routes {
			if rt.Pattern == "/events" || rt.Method == http.MethodPost && strings.HasPrefix(rt.Pattern, "/signin") {
				continue // a stream without an end, which says nothing but that there is something; attempts to sign in, which wait
			}
			for _, path := range paths(rt.Pattern, boxes, ids, writings) {
				asked++
				got := r.ask(who, rt.Method, path, url.Values{"e": ids, "t": ids, "do": {"trash"}, "star": {ids[0]}, "back": {"/"}, "folder": {"inbox"}, "id": ids, "box": boxes})
				r.check(who, rt, path, got, owners, of, mark)
				if who != "" && strings.Contains(got.Body.String(), mark(who)) {
					own++
				}
			}
		}
	}
	t.Logf("%d requests to %d routes; %d answers hold own mail", asked, len(routes), own)
	if own < 30 {
		t.Errorf("only %d answers hold the asker's own mail: this proves nothing", own)
	}
	after := r.flags(ids, owners)
	for entry, was := range before {
		address := of[entry]
		if address == "ghost@other.test" && after[entry] != was {
			t.Errorf("flags of %s, which nobody may see, went from %s to %s", address, was, after[entry])
		}
	}
}

// flags are those of entries as their boxes see them.
func (r *rig) flags(ids []string, owners map[string][]string) map[string]string {
	out := map[string]string{}
	for address := range owners {
		for _, id := range ids {
			if it, err := r.mail.Item(r.t.Context(), mailbox.Box{ID: address, Addresses: []string{address}}, id); err == nil {
				out[id] = fmt.Sprint(it.Unread, it.Starred, it.Trashed)
			}
		}
	}
	return out
}

var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// paths are all addresses of a pattern with what a curious reader could put in.
func paths(pattern string, boxes, ids, writings []string) []string {
	all := []string{strings.TrimSuffix(pattern, "{$}")}
	put := func(name string, values ...string) {
		var next []string
		for _, p := range all {
			if !strings.Contains(p, name) {
				next = append(next, p)
				continue
			}
			for _, v := range values {
				next = append(next, strings.Replace(p, name, url.PathEscape(v), 1))
			}
		}
		all = next
	}
	put("{box}", boxes...)
	put("{folder}", "inbox", "sent", "trash", "search")
	put("{thread}", ids...)
	put("{part}", "1", "1.1", "1.2", "1.3", "1.3.1")
	put("{writing}", append(slices.Clone(writings), ids[0])...)
	put("{id}", append(slices.Clone(ids), writings[0])...)
	for i, p := range all {
		all[i] = parameter.ReplaceAllString(p, "01ARZ3NDEKTSV4RRFFQ69G5FAV")
		if strings.Contains(p, "search") {
			all[i] += "?q=SECRET"
		}
	}
	return all
}

func (r *rig) ask(who, method, path string, form url.Values) *httptest.ResponseRecorder {
	at := path
	var body *strings.Reader = strings.NewReader("")
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	req := httptest.NewRequestWithContext(context.Background(), method, at, body)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if who != "" {
		req.AddCookie(&http.Cookie{Name: "who", Value: url.QueryEscape(who)})
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w
}

func (r *rig) check(who string, rt route, path string, w *httptest.ResponseRecorder, owners map[string][]string, of map[string]string, mark func(string) string) {
	r.t.Helper()
	said := w.Body.String() + fmt.Sprint(w.Header())
	for address, who2 := range owners {
		if !slices.Contains(who2, who) && strings.Contains(said, mark(address)) {
			r.t.Errorf("%q sees mail of %s: %s %s", who, address, rt.Method, path)
		}
	}
	if who == "" && rt.Access != public && w.Code != http.StatusSeeOther && w.Code != http.StatusNoContent {
		r.t.Errorf("nobody is signed in, and %s %s answers %d", rt.Method, path, w.Code)
	}
	if rt.Access != inBox || who == "" {
		return
	}
	box, _ := url.PathUnescape(strings.Split(strings.TrimPrefix(path, "/m/"), "/")[0])
	box, _, _ = strings.Cut(box, "?")
	if box == "me" {
		box = who
	}
	mine := box == who || slices.Contains(owners[box], who) && box == "info@example.test"
	if !mine || box == who && !strings.HasPrefix(path, "/m/me") {
		if w.Code != http.StatusNotFound {
			r.t.Errorf("%s asks for the box %s: %s %s answers %d", who, box, rt.Method, path, w.Code)
		}
		return
	}
	for id, address := range of {
		if strings.Contains(path, id) && address != box && w.Code != http.StatusNotFound {
			r.t.Errorf("%s asks in %s for an entry of %s: %s %s answers %d", who, box, address, rt.Method, path, w.Code)
		}
	}
}

// TestRoutesHaveRules makes New's checks fail, one by one.
func TestRoutesHaveRules(t *testing.T) {
	s := &Server{}
	ok := func(http.ResponseWriter, *http.Request) {}
	for name, rt := range map[string]route{
		"no rule":        {http.MethodGet, "/x", 0, ok},
		"unknown rule":   {http.MethodGet, "/x", 9, ok},
		"box, no rule":   {http.MethodGet, "/m/{box}/x", signedIn, ok},
		"rule, no box":   {http.MethodGet, "/x", inBox, ok},
		"no handler":     {http.MethodGet, "/x", public, nil},
		"no such method": {http.MethodPut, "/x", public, ok},
		"bad pattern":    {http.MethodGet, "x{", public, ok},
	} {
		if _, err := s.mux([]route{rt}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	twice := route{http.MethodGet, "/x", public, ok}
	if _, err := s.mux([]route{twice, twice}); err == nil {
		t.Error("the same route twice: accepted")
	}
	if _, err := s.mux([]route{twice}); err != nil {
		t.Error(err)
	}
}
