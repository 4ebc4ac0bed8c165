package webmail

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"restante/spool"
	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// listView is a list of conversations.
type listView struct {
	Box, Heading string
	Folder       mailbox.Folder
	Path         string // of this list
	Query        string // of a search, as typed
	Rows         []row
	More         string // address of what follows, "" at the end
	Unread       int
	Empty        *emptyView
	Problem      string // with the search
	Pending      int    // messages whose text can't be searched yet
	First        bool   // the list begins with the newest
}

// emptyView says what will happen in an empty list.
type emptyView struct{ Icon, Title, Text string }

// row is one conversation in a list.
type row struct {
	Thread, Entry, Path                         string
	Who, Initial, Tint, Subject, Snippet        string
	When, Full                                  string
	At                                          time.Time
	Unread, Starred, Clip, Answered, Draft, Now bool
	Unsubject                                   bool // it has none
	Count                                       int
	Warn                                        string // about the sender, in two words
	State, StateKind                            string // of what was sent: on its way, came back
}

// Current marks the conversation that is read beside the list; any of its entries will do.
func (l *listView) Current(thread string) {
	for i := range l.Rows {
		if thread != "" && (l.Rows[i].Thread == thread || l.Rows[i].Entry == thread) {
			l.Rows[i].Now, l.Rows[i].Unread = true, false
		}
	}
}

func (s *Server) listView(r *http.Request, p place, q mailbox.Query, problem string) (*listView, error) {
	t := s.wordsOf(r)
	l := &listView{Box: p.name, Folder: p.folder, Path: p.path(), Query: p.query, Problem: problem, First: p.after == ""}
	l.Heading = t.T("common.folder." + string(mailbox.Inbox))
	switch {
	case p.folder == searchFolder:
		l.Heading = t.T("read.search.heading")
	case p.box.Shared && p.folder == mailbox.Inbox:
		l.Heading = p.box.ID
	default:
		l.Heading = t.T("common.folder." + string(p.folder))
	}
	if problem != "" {
		return l, nil
	}
	page, err := s.o.Mail.List(r.Context(), q)
	if err != nil {
		return nil, err
	}
	l.Pending = page.Pending
	for i := range page.Items {
		l.Rows = append(l.Rows, s.row(r, t, p, &page.Items[i]))
	}
	if page.Next != "" {
		values := url.Values{"after": {string(page.Next)}}
		if p.query != "" {
			values.Set("q", p.query)
		}
		l.More = boxPath(p.name, p.folder) + "?" + values.Encode()
	}
	if len(l.Rows) == 0 {
		l.Empty = s.emptyView(t, p)
	}
	if p.folder == mailbox.Inbox {
		counts, err := s.o.Mail.Counts(r.Context(), p.box)
		if err != nil {
			return nil, err
		}
		l.Unread = counts[mailbox.Inbox].Unread
	}
	return l, nil
}

func (s *Server) emptyView(t *words.Words, p place) *emptyView {
	key, icon := string(p.folder), folderIcon(p.folder)
	text := t.T("read.empty." + key + ".text")
	if p.folder == mailbox.Inbox {
		_, domain, _ := strings.Cut(p.box.ID, "@")
		if d := s.o.Outages.Domain(domain); d.Down || d.Recovering {
			text += " " + t.T("read.empty.before")
		}
	}
	return &emptyView{Icon: icon, Title: t.T("read.empty." + key + ".title"), Text: text}
}

func (s *Server) row(r *http.Request, t *words.Words, p place, it *mailbox.Item) row {
	now, zone := s.o.Now(), zoneOf(r)
	out := row{Thread: it.Thread, Entry: it.Entry, Path: p.open(it.Thread), Subject: it.Subject, Snippet: it.Snippet,
		When: t.When(it.Received, now, zone), Full: t.Full(it.Received, zone), At: it.Received,
		Unread: it.Unread, Starred: it.Starred, Clip: it.Attachments > 0, Answered: it.Answered, Count: it.Count}
	if out.Subject == "" {
		out.Subject, out.Unsubject = t.T("read.nosubject"), true
	}
	people := it.Senders
	if len(people) == 0 {
		people = it.From
	}
	switch it.Folder {
	case mailbox.Drafts:
		out.Draft, out.Path, people = true, draftPath(it.Writing), it.To
	case mailbox.Sent:
		if p.folder == mailbox.Sent || len(it.Senders) == 0 {
			people = it.To
		}
		out.State, out.StateKind = sentState(t, it, now)
	default:
		out.Warn = s.listWarning(t, it)
	}
	out.Who = s.names(t, p, people)
	if it.Folder != mailbox.Inbox && (p.folder == mailbox.Sent || p.folder == mailbox.Drafts) {
		out.Who = t.T("read.to", "names", out.Who)
		if len(people) == 0 {
			out.Who = t.T("read.nobody")
		}
	}
	first := mailbox.Person{Name: "?"}
	if len(people) > 0 {
		first = people[len(people)-1]
		if i := slices.IndexFunc(people, func(q mailbox.Person) bool { return !p.mine(q.Addr) }); i >= 0 {
			first = people[i]
		}
	}
	out.Initial, out.Tint = initial(label(first)), tint(first.Addr)
	return out
}

// mine reports whether an address is the viewer's or of the box.
func (p place) mine(address string) bool {
	address = strings.ToLower(address)
	return slices.Contains(p.viewer.Own.Addresses, address) || slices.Contains(p.box.Addresses, address)
}

// label is how a person is shown.
func label(q mailbox.Person) string {
	if name := strings.TrimSpace(q.Name); name != "" {
		return name
	}
	return q.Addr
}

// names are those of a row: "Anna Schmidt", or first names when there are several; the viewer is "me".
func (s *Server) names(t *words.Words, p place, people []mailbox.Person) string {
	var out []string
	for _, q := range people {
		name := label(q)
		switch {
		case p.mine(q.Addr) && len(people) > 1:
			name = t.T("read.me")
		case len(people) > 1 && !strings.Contains(name, "@"):
			if first, _, many := strings.Cut(name, " "); many && !strings.HasSuffix(first, ",") && len(first) > 2 {
				name = first
			}
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// listWarning says in a list what content filters found, or that a sender isn't verified: when something was judged and nothing passed, the sender's
// domain disowns it, or nobody can be said to be the sender. What exactly is wrong is told where the message is read.
func (s *Server) listWarning(t *words.Words, it *mailbox.Item) string {
	if it.Kind != spool.Held || len(it.Verdicts) == 0 {
		return ""
	}
	v := it.Verdicts
	if found := v["content"]; found == "spam" || found == "virus" {
		return t.T("read.verdict.found." + found)
	}
	if v["dmarc"] == "pass" || v["dmarc"] != "fail" && v["dmarc"] != "permerror" && (v["dkim"] == "pass" || v["spf"] == "pass") {
		return ""
	}
	judged := false
	for _, name := range []string{"spf", "dkim", "dmarc"} {
		judged = judged || v[name] != "" && v[name] != "temperror"
	}
	if !judged {
		return ""
	}
	return t.T("read.verdict.short")
}

// sentState says how what was sent stands; nothing once all is well.
func sentState(t *words.Words, it *mailbox.Item, now time.Time) (text, kind string) {
	if now.Before(it.NotBefore) {
		return t.T("read.sent.soon"), ""
	}
	waiting := false
	for _, o := range it.Outcomes {
		switch o.State {
		case spool.StateBounced, spool.StateExpired, spool.StateParked:
			return t.T("read.sent.failed"), "bad"
		case spool.StatePending:
			waiting = true
		}
	}
	if waiting {
		return t.T("read.sent.waiting"), ""
	}
	return "", ""
}
