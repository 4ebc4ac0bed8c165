package webmail

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"restante/spool"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

// writeRoutes are the pages on which people write. A piece of writing is named by a ULID that its first
// page makes up; what is kept under it belongs to the account that is signed in, whatever name is asked for.
//
//	GET  /write                             a new one; mode=reply|reply-all|forward|forward-as with box= and id= of the original,
//	                                        or from= (a box), to=, cc=, subject=, body=, or mailto= (RFC 6068)
//	GET  /write/people?q=                   addresses that begin so, as JSON
//	GET  /write/{writing}                   a draft
//	POST /write/{writing}                   its form: do=save|send|discard|attach, remove={attachment}
//	POST /write/{writing}/attach            one file by script
//	GET  /write/{writing}/file/{id}         an attachment of a draft
//	POST /write/{writing}/undo              take back what was sent a moment ago
//	POST /write/{writing}/undiscard         take back that it was discarded
func (s *Server) writeRoutes() []route {
	return []route{
		{http.MethodGet, "/write", writing, s.newWriting},
		{http.MethodGet, "/write/people", writing, s.people},
		{http.MethodGet, "/write/{writing}", writing, s.openWriting},
		{http.MethodPost, "/write/{writing}", writing, s.keepWriting},
		{http.MethodPost, "/write/{writing}/attach", writing, s.attach},
		{http.MethodGet, "/write/{writing}/file/{id}", writing, s.attachedFile},
		{http.MethodPost, "/write/{writing}/undo", writing, s.undoSend},
		{http.MethodPost, "/write/{writing}/undiscard", writing, s.undiscard},
	}
}

// writePath is where an answer to, or a forward of, an entry that a box sees is begun. box is its name in URLs.
func writePath(mode compose.Mode, box, entry string) string {
	return "/write?" + url.Values{"mode": {string(mode)}, "box": {box}, "id": {entry}}.Encode()
}

// draftPath is where a draft is gone on with.
func draftPath(writing string) string { return "/write/" + url.PathEscape(writing) }

// writePage is what the page "write" shows.
type writePage struct {
	Writing     string
	Title       string
	Draft       compose.Draft
	BoxName     string // of the box in URLs
	Refs        string
	Senders     []sender
	Attachments []mailbox.Attachment
	Carry       []carried // parts of the original that become attachments when it is kept
	Back        string    // where one came from
	More        bool      // Cc and Bcc are open
	Saved       string    // time of day, "" if it isn't kept yet
	Problems    writeProblems
	Warnings    []string
	Confirm     string // what the warnings were about, sent back by "send anyway"
	WhyNot      string // key of why it can't be sent now, or to colleagues alone (inHouse), "" if it can
	Answering   []string
	Elsewhere   string // where an answer goes that doesn't go to who wrote, "" otherwise
	FilesLimit  int64  // octets of all attachments
	FileLimit   int    // how many
}

// Shut says that nothing can be sent now, to colleagues neither.
func (p writePage) Shut() bool { return p.WhyNot != "" && p.WhyNot != inHouse }

// sender is an address that may be written from.
type sender struct {
	Address, Label string
	Chosen         bool
}

// carried is a part of the original that goes along with a forward.
type carried struct {
	ID   string // of the part, or carryWhole
	Name string
	Size int64
}

// carryWhole stands for the whole original as a file.
const carryWhole = "whole"

// writeProblems say by field what must be mended before sending, in words.
type writeProblems struct {
	To, Cc, Bcc, From, Files, General []string
}

// Any reports that something must be mended.
func (p writeProblems) Any() bool {
	return len(p.To)+len(p.Cc)+len(p.Bcc)+len(p.From)+len(p.Files)+len(p.General) > 0
}

// newWriting is GET /write. It keeps nothing: a piece of writing begins to be with its first save.
func (s *Server) newWriting(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	q := r.URL.Query()
	p := writePage{Writing: spool.NewID(), Back: boxPath(boxMe, mailbox.Inbox)}
	mode := compose.Mode(q.Get("mode"))
	switch mode {
	case compose.Reply, compose.ReplyAll, compose.Forward, compose.ForwardAs:
		box, ok := v.box(q.Get("box"))
		if !ok {
			s.notFound(w, r)
			return
		}
		if err := s.startFrom(r, v, box, q.Get("id"), mode, &p); err != nil {
			s.fail(w, r, err)
			return
		}
	default:
		s.startNew(v, q, &p)
	}
	s.writingPage(w, r, http.StatusOK, p)
}

// startNew fills in a new message from the query.
func (s *Server) startNew(v *viewer, q url.Values, p *writePage) {
	box, ok := v.box(q.Get("from"))
	if !ok {
		box = v.Own
	}
	p.Back = boxPath(v.boxName(box), mailbox.Inbox)
	if link := q.Get("mailto"); link != "" {
		q = mailtoFields(link)
	}
	for _, name := range []string{"to", "cc"} { // one line, as in the field
		q.Set(name, strings.NewReplacer("\r", "", "\n", ", ").Replace(q.Get(name)))
	}
	start := compose.Start(compose.New, compose.Original{}, senders(v, box), v.Account.Signature, compose.Words{})
	p.Draft = compose.Draft{Box: box.ID, From: start.From, To: q.Get("to"), Cc: q.Get("cc"), Subject: q.Get("subject"), Text: start.Text}
	if body := q.Get("body"); body != "" {
		p.Draft.Text = strings.TrimRight(compose.Newlines(body), "\n") + p.Draft.Text
	}
}

// mailtoFields reads a mailto link (RFC 6068): who it is to, and of its fields those that are harmless (5).
func mailtoFields(link string) url.Values {
	out := url.Values{}
	u, err := url.Parse(link)
	if err != nil || !strings.EqualFold(u.Scheme, "mailto") {
		return out
	}
	to, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return out
	}
	fields, err := url.ParseQuery(strings.ReplaceAll(u.RawQuery, "+", "%2B")) // a plus is a plus there
	if err != nil {
		fields = url.Values{}
	}
	for name, values := range fields {
		switch name = strings.ToLower(name); name {
		case "to", "cc":
			out.Set(name, strings.Join(values, ", "))
		case "subject", "body":
			out.Set(name, values[0])
		}
	}
	if more := out.Get("to"); more != "" && to != "" {
		to += ", " + more
	}
	if to != "" {
		out.Set("to", to)
	}
	return out
}

// senders are the addresses that the viewer may write from, that of the box first.
func senders(v *viewer, box mailbox.Box) []string {
	all := v.senders()
	if i := slices.Index(all, box.ID); i > 0 {
		all = append([]string{box.ID}, slices.Delete(slices.Clone(all), i, i+1)...)
	}
	return all
}

// openWriting is GET /write/{writing}: a draft of the viewer's own.
func (s *Server) openWriting(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	writing, ok := writingOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	saved, err := s.o.Mail.Draft(r.Context(), v.Account.Address, writing)
	if errors.Is(err, mailbox.ErrNotFound) {
		s.notFound(w, r)
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	d, err := compose.ReadDraft(saved.Raw)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	p := writePage{Writing: writing, Draft: d, Attachments: saved.Attachments, Back: boxPath(boxMe, mailbox.Drafts)}
	p.Saved = s.wordsOf(r).When(saved.Saved, s.o.Now(), zoneOf(r))
	if box, ok := boxByID(v, d.Box); ok && d.Answers != "" { // back to what is answered
		if it, err := s.o.Mail.Item(r.Context(), box, d.Answers); err == nil {
			p.Back = boxPath(v.boxName(box), it.Folder) + "/" + it.Thread
		}
	}
	s.writingPage(w, r, http.StatusOK, p)
}

// writingOf returns the name of the piece of writing in the path.
func writingOf(r *http.Request) (string, bool) {
	id, err := ulid.ParseStrict(r.PathValue("writing"))
	return id.String(), err == nil
}

// writingPage fills in what every view of the form needs and writes it.
func (s *Server) writingPage(w http.ResponseWriter, r *http.Request, status int, p writePage) {
	v, t := viewerOf(r.Context()), s.wordsOf(r)
	box, ok := boxByID(v, p.Draft.Box)
	if !ok { // no longer shared with the writer
		box, p.Draft.Box = v.Own, v.Own.ID
	}
	p.BoxName = v.boxName(box)
	for _, a := range senders(v, box) {
		p.Senders = append(p.Senders, sender{Address: a, Label: compose.Person{Addr: a}.String(), Chosen: a == p.Draft.From})
	}
	if _, why := s.maySend(r, v, p.Draft.From); why != "" {
		p.WhyNot = why
	}
	p.Refs = strings.Join(p.Draft.References, " ")
	p.More = p.More || p.Draft.Cc != "" || p.Draft.Bcc != ""
	p.FilesLimit, p.FileLimit = s.filesLimit(), compose.MaxAttachments
	switch {
	case p.Draft.Answers != "":
		p.Title = t.T("write.title.reply")
	case p.Draft.Forwards != "":
		p.Title = t.T("write.title.forward")
	default:
		p.Title = t.T("write.title.new")
	}
	if box.Shared && p.Draft.Answers != "" {
		p.Answering = s.answering(r, v, box, p.Draft.Answers)
	}
	s.page(w, r, status, "write", p)
}

// maySend is Sender.May with a reason that there are words for.
func (s *Server) maySend(r *http.Request, v *viewer, from string) (ok bool, why string) {
	if ok, why = s.o.Sender.May(r.Context(), v.Account.Address, from); ok {
		return true, ""
	}
	if !slices.Contains([]string{inHouse, "smarthost-down", "stopped", "limit", "closed"}, why) {
		why = "closed"
	}
	return false, why
}

// answering says who else is writing an answer to a conversation of a shared box, each in a sentence.
func (s *Server) answering(r *http.Request, v *viewer, box mailbox.Box, thread string) []string {
	all, err := s.o.Mail.Answering(r.Context(), box, thread)
	if err != nil && r.Context().Err() == nil && !errors.Is(err, mailbox.ErrNotFound) {
		s.o.Log.Warn("webmail: who is answering", "box", box.ID, "err", err) // the page is of use without it
	}
	t := s.wordsOf(r)
	var out []string
	for _, a := range all {
		if a.Account != v.Account.Address {
			out = append(out, t.T("write.answering", "name", s.accountName(a.Account), "when", t.Since(a.Saved, s.o.Now(), zoneOf(r))))
		}
	}
	return out
}

// boxByID returns the box of the viewer with that address, "" being the own one.
func boxByID(v *viewer, id string) (mailbox.Box, bool) {
	if id == "" || id == v.Own.ID {
		id = boxMe
	}
	return v.box(id)
}

// undoDelay is how long what was sent can be taken back.
const undoDelay = 10 * time.Second

// filesLimit is how many octets all attachments of a message may have, so that it fits Limits.Message when encoded.
func (s *Server) filesLimit() int64 {
	const rest = 256 << 10 // header and text, as they mostly are
	return max(s.o.Limits.Message-rest, 0) / 78 * 57
}
