package webmail

import (
	"net/http"
	"net/url"
	"slices"

	"restante/spool"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// maxOpen is how many messages of a conversation are shown open at once; the others open on demand.
const maxOpen = 3

// readerView is a conversation.
type readerView struct {
	Box, Thread, Subject string
	Unsubject            bool
	Folder               mailbox.Folder
	Path                 string // of this conversation
	Back                 string // of the list
	BackSays             string
	Newer, Older         string // conversations beside it, "" where there is none
	Next                 string // where to go once this one is deleted
	Messages             []messageView
	Latest               string // entry that actions on one message mean
	Starred, Trashed     bool
	Answering            []string // who else is writing an answer
	MayWrite             bool
	WhyNot               string
	Reply, All, Forward  string // addresses of the writing pages
	Several              bool   // there are others to answer to than the sender
	Draft                string // an answer that the viewer has begun
	act                  string
}

// Act is the address that actions are posted to.
func (v *readerView) Act() string { return v.act }

// messageView is one message of a conversation: a line, or open.
type messageView struct {
	Entry, Path              string
	Who, Initial, Tint       string
	Snippet, When, Full, ISO string
	Unread, Starred, Mine    bool
	Clip, Trashed            bool
	State, StateKind         string
	Outcomes                 []outcomeView
	Opened                   *opened // nil while it is a line
	Failed                   bool    // it can't be read at this moment
}

// outcomeView says how one recipient of a sent message stands.
type outcomeView struct{ Address, Text, Kind, Detail string }

// reader opens a conversation: what is unread, and the newest. It marks what it opens as read.
func (s *Server) reader(r *http.Request, p place, q mailbox.Query, thread string) (*readerView, error) {
	t := s.wordsOf(r)
	items, err := s.o.Mail.Conversation(r.Context(), p.box, thread)
	if err != nil {
		return nil, err
	}
	view := &readerView{Box: p.name, Thread: thread, Folder: p.folder, Path: p.open(thread), Back: p.path(), BackSays: t.T("read.back", "folder", s.heading(t, p)), act: "/m/" + url.PathEscape(p.name) + "/act"}
	for _, it := range items {
		if it.Folder == mailbox.Drafts && it.Writing != "" {
			view.Draft = draftPath(it.Writing)
		}
	}
	items = shownOf(items, p.folder)
	if len(items) == 0 {
		return nil, mailbox.ErrNotFound
	}
	latest := items[len(items)-1]
	view.Latest, view.Subject = latest.Entry, items[0].Subject
	if view.Subject == "" {
		view.Subject, view.Unsubject = t.T("read.nosubject"), true
	}
	open := openOf(items)
	var seen []string
	for i := range items {
		it := &items[i]
		m := s.messageView(r, t, p, it)
		view.Starred = view.Starred || it.Starred
		view.Trashed = view.Trashed || it.Trashed
		if open[it.Entry] {
			if m.Opened, err = s.openedItem(r, p.name, p.box, it); err != nil {
				if r.Context().Err() != nil {
					return nil, err
				}
				s.o.Log.Error("webmail: a message can't be read", "entry", it.Entry, "err", err)
				m.Failed = true // the others can be
			} else if it.Unread {
				seen = append(seen, it.Entry)
			}
		}
		view.Messages = append(view.Messages, m)
	}
	s.markSeen(r, p.box, seen)
	if err := s.neighbours(r, p, q, latest.Entry, view); err != nil {
		return nil, err
	}
	s.answers(r, p, t, &latest, view)
	return view, nil
}

func (s *Server) heading(t *words.Words, p place) string {
	if p.folder == searchFolder {
		return t.T("read.search.heading")
	}
	return t.T("common.folder." + string(p.folder))
}

// shownOf leaves out drafts, and what was deleted unless the trash is looked at (where nothing else is shown).
func shownOf(items []mailbox.Item, folder mailbox.Folder) []mailbox.Item {
	var out []mailbox.Item
	for _, it := range items {
		if it.Folder != mailbox.Drafts && it.Trashed == (folder == mailbox.Trash) {
			out = append(out, it)
		}
	}
	if len(out) == 0 { // it was deleted while its page is open
		out = slices.DeleteFunc(slices.Clone(items), func(it mailbox.Item) bool { return it.Folder == mailbox.Drafts })
	}
	return out
}

// openOf says which messages are shown open: the newest and the unread ones, at most maxOpen.
func openOf(items []mailbox.Item) map[string]bool {
	open := map[string]bool{}
	for _, it := range slices.Backward(items) {
		if len(open) < maxOpen && (it.Unread || len(open) == 0) {
			open[it.Entry] = true
		}
	}
	return open
}

// markSeen notes that messages were read: not for a page that a browser fetches ahead of time.
func (s *Server) markSeen(r *http.Request, box mailbox.Box, entries []string) {
	if len(entries) == 0 || r.Method != http.MethodGet || r.Header.Get("Sec-Purpose") != "" {
		return
	}
	yes := true
	if err := s.o.Mail.Flag(r.Context(), viewerOf(r.Context()).Account.Address, box, entries, mailbox.Change{Seen: &yes}); err != nil && r.Context().Err() == nil {
		s.o.Log.Warn("webmail: marking as read", "box", box.ID, "err", err) // it is read all the same
	}
}

// neighbours finds the conversations before and after this one in its list.
func (s *Server) neighbours(r *http.Request, p place, q mailbox.Query, entry string, view *readerView) error {
	newer, older, err := s.o.Mail.Neighbours(r.Context(), q, entry)
	if err != nil {
		return err
	}
	view.Next = view.Back
	if newer != "" {
		view.Newer = p.open(newer)
		view.Next = view.Newer
	}
	if older != "" {
		view.Older = p.open(older)
		view.Next = view.Older
	}
	return nil
}

// answers says who is answering, and how one can.
func (s *Server) answers(r *http.Request, p place, t *words.Words, latest *mailbox.Item, view *readerView) {
	view.Reply = writePath(compose.Reply, p.name, latest.Entry)
	view.All = writePath(compose.ReplyAll, p.name, latest.Entry)
	view.Forward = writePath(compose.Forward, p.name, latest.Entry)
	var why string
	if view.MayWrite, why = s.mayWrite(r, p.viewer); !view.MayWrite {
		view.WhyNot = t.T("common.why." + why)
	}
	if last := view.Messages[len(view.Messages)-1].Opened; last != nil {
		view.Several = last.others > 1
	}
	if !p.box.Shared {
		return
	}
	answers, err := s.o.Mail.Answering(r.Context(), p.box, view.Thread)
	if err != nil && r.Context().Err() == nil {
		s.o.Log.Warn("webmail: who is answering", "box", p.box.ID, "err", err)
	}
	for _, a := range answers {
		if a.Account != p.viewer.Account.Address {
			view.Answering = append(view.Answering, t.T("read.answering", "name", s.accountName(a.Account), "since", t.Since(a.Saved, s.o.Now(), zoneOf(r))))
		}
	}
}

func (s *Server) messageView(r *http.Request, t *words.Words, p place, it *mailbox.Item) messageView {
	now, zone := s.o.Now(), zoneOf(r)
	from := mailbox.Person{}
	if len(it.From) > 0 {
		from = it.From[0]
	}
	m := messageView{Entry: it.Entry, Path: messagePath(p.name, it.Entry), Who: label(from), Initial: initial(label(from)), Tint: tint(from.Addr),
		Snippet: it.Snippet, When: t.When(it.Received, now, zone), Full: t.Full(it.Received, zone), ISO: it.Received.UTC().Format("2006-01-02T15:04:05Z"),
		Unread: it.Unread, Starred: it.Starred, Clip: it.Attachments > 0, Trashed: it.Trashed, Mine: it.Folder == mailbox.Sent}
	if m.Who == "" {
		m.Who = t.T("read.nosender")
	}
	if m.Mine {
		m.State, m.StateKind = sentState(t, it, now)
		for _, o := range it.Outcomes {
			m.Outcomes = append(m.Outcomes, outcomeOf(t, o, t.Since(o.Changed, now, zone)))
		}
	}
	return m
}

func outcomeOf(t *words.Words, o mailbox.Outcome, at string) outcomeView {
	out := outcomeView{Address: o.Address, Detail: o.Reply}
	switch o.State {
	case spool.StateDelivered:
		out.Text, out.Kind, out.Detail = t.T("read.outcome.delivered", "at", at), "good", ""
	case spool.StateBounced, spool.StateExpired, spool.StateParked:
		out.Text, out.Kind = t.T("read.outcome.failed"), "bad"
		if out.Detail == "" {
			out.Detail = o.Reason
		}
	case spool.StateRemoved:
		out.Text, out.Detail = t.T("read.outcome.removed"), ""
	default:
		out.Text = t.T("read.outcome.waiting")
	}
	return out
}

// messagePath is the address of one message by itself.
func messagePath(box, entry string) string {
	return "/m/" + url.PathEscape(box) + "/message/" + url.PathEscape(entry)
}
