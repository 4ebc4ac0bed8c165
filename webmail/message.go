package webmail

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"restante/spool"
	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/render"
	"restante/webmail/words"
)

// parallelViews bounds how many messages are taken apart at once; each may take the memory that render's limits allow.
const parallelViews = 8

// opened is a message as it is read.
type opened struct {
	Entry, Box, Path string
	Inner            string // ID of the part that this message is nested in, "" for the outermost
	Subject          string
	From             []addressView
	Sender, ReplyTo  []addressView // only where they differ
	To, Cc, Bcc      []addressView
	ToLine           string // "to me, info@, Anna"
	Sent             string // when its writer says that it was sent, if that is far from when it came
	Verdict          *verdictView
	Careful          []string // what is suspicious, in sentences

	Text   []textGroup // shown in the page
	Cut    bool
	Frame  string // address of the frame's document, "" when Text is shown
	Height int    // of the frame before it was measured, in CSS pixels
	Other  string // address of the other way to show it, "" if there is none
	AsText bool
	Remote int // images and so on that aren't loaded

	Odd         bool
	Invitations []invitationView
	Files       []fileView
	Zip         string // address of all files together, "" unless there are several
	Eml, Print  string

	Links []link // ways to answer this very message; none while nothing can be sent

	others int // addresses that an answer to all would go to
}

// link is one line of a menu.
type link struct{ Path, Label, Icon string }

// addressView is one address, shown so that odd characters can be seen.
type addressView struct {
	Name, Addr, Key string // Key: why not to trust its looks, "" if nothing is known
	Me              bool
}

// textGroup is a run of text; one that only quotes what was said before is folded away.
type textGroup struct {
	Folded bool
	Blocks []render.Block
}

// fileView is one attachment.
type fileView struct {
	Name, Path, Icon string
	Size             int64
	Show             string // address at which a picture can be shown, or a message read, "" for neither
	Message          bool
}

// viewContext bounds making one view of a message.
func (s *Server) viewContext(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Limits.View)
	select {
	case s.views <- struct{}{}:
		return ctx, sync.OnceFunc(func() { <-s.views; cancel() }), nil
	case <-ctx.Done():
		cancel()
		return nil, nil, ctx.Err()
	}
}

// source is a message that was looked up through a box: all that handlers may show of it.
type source struct {
	item    mailbox.Item
	entry   *spool.Entry
	body    *spool.Body
	message *render.Message // as parsed; nested in another when inner isn't ""
	outer   *render.Message
	inner   string
	done    context.CancelFunc
}

// Taken ends what is bounded of a view: the message is taken apart, and what is left, to write octets of it to a reader who may
// be slow, holds up nobody. The context that open returned is over.
func (m *source) Taken() { m.done() }

// Close gives back the octets.
func (m *source) Close() {
	_ = m.body.Close() // it was only read
	m.done()
}

// open looks a message up through the box (the access check), reads it and takes it apart. inner is the ID of a
// part that holds the message meant, "" for the outermost. Close the source.
func (s *Server) open(ctx context.Context, box mailbox.Box, entry, inner string) (_ context.Context, _ *source, err error) {
	ctx, done, err := s.viewContext(ctx)
	if err != nil {
		return ctx, nil, err
	}
	m := &source{inner: inner, done: done}
	if m.item, m.entry, m.body, err = s.o.Mail.Open(ctx, box, entry); err != nil {
		done()
		return ctx, nil, err
	}
	if m.outer, err = render.Parse(ctx, m.body, m.body.Size(), render.Limits{}); err != nil {
		m.Close()
		return ctx, nil, err
	}
	m.message = m.outer
	if inner != "" {
		part, ok := m.outer.Part(inner)
		if !ok || part.Message == nil {
			m.Close()
			return ctx, nil, mailbox.ErrNotFound
		}
		m.message = part.Message
	}
	return ctx, m, nil
}

// openedItem reads a message of a conversation; what can't be read any more is told in its place.
func (s *Server) openedItem(r *http.Request, name string, box mailbox.Box, it *mailbox.Item) (*opened, error) {
	ctx, m, err := s.open(r.Context(), box, it.Entry, "")
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return s.opened(ctx, r, name, m)
}

func (s *Server) opened(ctx context.Context, r *http.Request, name string, m *source) (*opened, error) {
	t, v, msg := s.wordsOf(r), viewerOf(r.Context()), m.message
	out := &opened{Entry: m.item.Entry, Box: name, Inner: m.inner, Path: messagePath(name, m.item.Entry), Subject: msg.Subject}
	box := boxOf(r.Context())
	addresses := func(list []render.Address) []addressView { return addressViews(v, box, list) }
	out.From, out.To, out.Cc, out.Bcc = addresses(msg.From), addresses(msg.To), addresses(msg.Cc), addresses(msg.Bcc)
	if differ(msg.Sender, msg.From) {
		out.Sender = addresses(msg.Sender)
	}
	if differ(msg.ReplyTo, msg.From) {
		out.ReplyTo = addresses(msg.ReplyTo)
	}
	out.ToLine = toLine(t, out)
	for _, a := range append(append(append([]addressView{}, out.From...), out.To...), out.Cc...) {
		if !a.Me {
			out.others++
		}
	}
	if gap := m.item.Received.Sub(msg.Date).Abs(); !msg.Date.IsZero() && (gap.Hours() >= 1 || m.inner != "") {
		out.Sent = t.Full(msg.Date, zoneOf(r))
	}
	if m.inner == "" && m.item.Folder == mailbox.Inbox {
		out.Verdict, out.Careful = verdictOf(t, m, out)
		out.Careful = append(contentWarning(t, m.item.Verdicts), out.Careful...)
	}
	if err := s.body(ctx, r, m, out); err != nil {
		return nil, err
	}
	if ok, _ := s.mayWrite(r, v); ok && m.inner == "" {
		out.Links = []link{{writePath(compose.Reply, name, out.Entry), t.T("read.act.reply"), "reply"},
			{writePath(compose.ReplyAll, name, out.Entry), t.T("read.act.replyall"), "replyall"},
			{writePath(compose.Forward, name, out.Entry), t.T("read.act.forward"), "forward"}}
	}
	out.Odd = damaged(msg.Odd) || damaged(m.outer.Odd)
	out.Eml, out.Print = out.at("eml", nil), out.at("print", nil)
	s.files(ctx, r, m, out)
	return out, nil
}

// at is the address of something of the message.
func (o *opened) at(what string, q url.Values) string {
	if q == nil {
		q = url.Values{}
	}
	if o.Inner != "" {
		q.Set("in", o.Inner)
	}
	at := o.Path
	if what != "" {
		at += "/" + what
	}
	if len(q) > 0 {
		at += "?" + q.Encode()
	}
	return at
}

// body chooses how the message is shown: its HTML in a frame, or text in the page.
func (s *Server) body(ctx context.Context, r *http.Request, m *source, out *opened) error {
	text, html := m.message.Body()
	out.AsText = html == nil || r.URL.Query().Get("as") == "text"
	if html != nil {
		as := url.Values{"as": {"text"}}
		if out.AsText {
			as = nil
		}
		out.Other = out.at("", as)
	}
	if !out.AsText {
		frame, err := m.message.HTML(ctx, s.frameOptions(r))
		if err != nil {
			return err
		}
		out.Frame, out.Remote, out.Height = out.at("frame", nil), frame.Blocked, frameHeight(frame.Lines)
		return nil
	}
	var said render.Text
	var err error
	if text == nil && html != nil {
		said, err = render.TextOf(ctx, html)
	} else {
		said, err = m.message.Text(ctx)
	}
	if err != nil {
		return err
	}
	out.Text, out.Cut = textGroups(said.Blocks), said.Cut
	return nil
}

// frameHeight guesses the height of a frame from about how many lines it has, for those without JavaScript.
func frameHeight(lines int) int {
	const line, margin = 24, 48
	return min(max(lines*line+margin, 120), 6000)
}

// textGroups folds away the last run of quoted lines when it ends the message and is long: what was said before.
func textGroups(blocks []render.Block) []textGroup {
	const short = 4 // lines that aren't worth folding
	end := len(blocks)
	for end > 0 && blocks[end-1].Signature {
		end--
	}
	start, lines := end, 0
	for start > 0 && blocks[start-1].Quote > 0 {
		start--
		lines += len(blocks[start].Lines)
	}
	if start == 0 || start == end || lines <= short {
		return []textGroup{{Blocks: blocks}}
	}
	out := []textGroup{{Blocks: blocks[:start]}, {Folded: true, Blocks: blocks[start:end]}}
	if end < len(blocks) {
		out = append(out, textGroup{Blocks: blocks[end:]})
	}
	return out
}

// damaged leaves out what only a program cares for.
func damaged(odd []render.Oddity) bool {
	for _, o := range odd {
		switch o.Code {
		case render.OddBoundary, render.OddParts, render.OddDepth, render.OddSize, render.OddEncoding, render.OddTruncated, render.OddHTML, render.OddNoHeader, render.OddHeaderSize:
			return true
		}
	}
	return false
}

// differ reports whether a names somebody who isn't in b.
func differ(a, b []render.Address) bool {
	for _, x := range a {
		found := false
		for _, y := range b {
			found = found || strings.EqualFold(x.Addr, y.Addr)
		}
		if !found {
			return true
		}
	}
	return false
}

func addressViews(v *viewer, box mailbox.Box, list []render.Address) []addressView {
	p := place{viewer: v, box: box}
	var out []addressView
	for _, a := range list {
		out = append(out, addressView{Name: render.Visible(a.Name), Addr: a.DisplayAddr(), Key: a.Suspicious, Me: p.mine(a.Addr)})
	}
	return out
}

// toLine is "to me, Anna and 3 others".
func toLine(t *words.Words, o *opened) string {
	const few = 3
	var names []string
	all := append(append(append([]addressView{}, o.To...), o.Cc...), o.Bcc...)
	for _, a := range all {
		name := a.Name
		if a.Me {
			name = t.T("read.me")
		} else if name == "" {
			name = a.Addr
		}
		names = append(names, name)
	}
	switch n := len(names); {
	case n == 0:
		return t.T("read.undisclosed")
	case n > few+1:
		return t.T("read.tomany", "names", strings.Join(names[:few], ", "), "n", n-few)
	}
	return t.T("read.to", "names", strings.Join(names, ", "))
}
