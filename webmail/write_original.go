package webmail

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/render"
)

// startFrom fills in an answer to, or a forward of, an entry.
func (s *Server) startFrom(r *http.Request, v *viewer, box mailbox.Box, entry string, mode compose.Mode, p *writePage) error {
	ctx, o, err := s.open(r.Context(), box, entry, "")
	if err != nil {
		return err
	}
	defer o.Close()
	m := o.message
	text, err := m.Text(ctx)
	if err != nil {
		return err
	}
	t, zone := s.wordsOf(r), zoneOf(r)
	from := originalOf(o, quotable(text))
	date := from.Date
	if date.IsZero() {
		date = o.item.Received
	}
	start := compose.Start(mode, from, senders(v, box), v.Account.Signature, compose.Words{
		Wrote:     t.T("write.wrote", "day", t.Day(date, zone), "time", t.Clock(date, zone), "name", personLabel(from.From)),
		Forwarded: t.T("write.forwarded"), From: t.T("write.from"), Date: t.T("write.date"), Subject: t.T("write.subject"), To: t.T("write.to"), Cc: t.T("write.cc"),
		DateText: t.Full(date, zone),
	})
	p.Draft = compose.Draft{Box: box.ID, From: start.From, To: compose.FormatList(start.To), Cc: compose.FormatList(start.Cc),
		Subject: start.Subject, Text: start.Text, InReplyTo: start.InReplyTo, References: start.References}
	p.Back = boxPath(v.boxName(box), o.item.Folder) + "/" + o.item.Thread
	switch mode {
	case compose.Forward:
		p.Draft.Forwards = entry
		for _, a := range m.Attachments {
			p.Carry = append(p.Carry, carried{a.ID, partName(a), a.Size})
		}
	case compose.ForwardAs:
		p.Draft.Forwards = entry
		p.Carry = []carried{{carryWhole, wholeName(m), o.body.Size()}}
	default:
		p.Draft.Answers = entry
		p.Elsewhere = elsewhere(from, start.To)
	}
	return nil
}

// elsewhere returns the first address that an answer goes to when none of them has the domain of who wrote: a habit
// of those who write under other people's names.
func elsewhere(o compose.Original, to []compose.Person) string {
	if len(o.ReplyTo) == 0 || len(o.From) == 0 || len(to) == 0 {
		return ""
	}
	author, why := compose.CleanAddress(o.From[0].Addr)
	if why != "" || slices.ContainsFunc(to, func(p compose.Person) bool { return compose.Domain(p.Addr) == compose.Domain(author) }) {
		return ""
	}
	return to[0].Addr
}

// originalOf is what compose needs to know of a message.
func originalOf(o *source, text string) compose.Original {
	m := o.message
	return compose.Original{
		From: people(m.From), ReplyTo: people(m.ReplyTo), To: people(m.To), Cc: people(m.Cc), Bcc: people(m.Bcc),
		MailReplyTo: fieldPeople(m, "Mail-Reply-To"), MailFollowupTo: fieldPeople(m, "Mail-Followup-To"),
		Subject: m.Subject, MessageID: m.MessageID, InReplyTo: m.InReplyTo, References: m.References, Date: m.Date,
		Text: text, Delivered: o.item.Rcpt,
	}
}

func people(all []render.Address) []compose.Person {
	out := make([]compose.Person, 0, len(all))
	for _, a := range all {
		if a.Addr != "" {
			out = append(out, compose.Person{Name: a.Name, Addr: a.Addr})
		}
	}
	return out
}

func fieldPeople(m *render.Message, name string) []compose.Person {
	all, _ := compose.ParseList(render.DecodeHeader(m.Header.Get(name)))
	return all
}

func personLabel(all []compose.Person) string {
	switch {
	case len(all) == 0:
		return "?"
	case all[0].Name != "":
		return all[0].Name
	}
	return all[0].Addr
}

// quotable is a message's text as compose takes it: a line a paragraph, quotes marked by "> ".
func quotable(t render.Text) string {
	var b strings.Builder
	for i, block := range t.Blocks {
		if block.Signature && block.Quote == 0 {
			break
		}
		prefix := strings.Repeat(">", block.Quote)
		if prefix != "" {
			prefix += " "
		}
		if i > 0 {
			b.WriteString(strings.Repeat(">", min(block.Quote, t.Blocks[i-1].Quote)) + "\n")
		}
		for _, line := range block.Lines {
			b.WriteString(prefix)
			for _, span := range line {
				b.WriteString(span.Text)
				if t.FromHTML && span.URL != "" && !strings.Contains(span.Text, strings.TrimPrefix(span.URL, "mailto:")) && !strings.HasPrefix(span.Text, "http") {
					b.WriteString(" <" + span.URL + ">")
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// partName is the name under which a part goes along.
func partName(p *render.Part) string {
	if p.Message != nil && p.Name == "" {
		return wholeName(p.Message)
	}
	if p.Name == "" {
		return "attachment"
	}
	return p.Name
}

// wholeName is the name of a whole message as a file.
func wholeName(m *render.Message) string {
	name := compose.FileName(compose.BareSubject(m.Subject))
	if strings.TrimSpace(m.Subject) == "" {
		name = "message"
	}
	return name + ".eml"
}

// carry makes attachments of parts of the original that a draft forwards.
func (s *Server) carry(ctx context.Context, v *viewer, writing string, d compose.Draft, parts []string, room int64) ([]mailbox.Attachment, error) {
	if len(parts) == 0 || d.Forwards == "" {
		return nil, nil
	}
	box, ok := boxByID(v, d.Box)
	if !ok {
		return nil, mailbox.ErrNotFound
	}
	_, o, err := s.open(ctx, box, d.Forwards, "")
	if err != nil {
		return nil, err
	}
	defer o.Close()
	o.Taken()
	var all []mailbox.Attachment
	for _, id := range parts {
		var content io.Reader = o.body.Reader()
		name, kind := wholeName(o.message), "message/rfc822"
		if id != carryWhole {
			p, ok := o.message.Part(id)
			if !ok {
				continue // a form that was tampered with
			}
			content, name, kind = p.Open(ctx), partName(p), p.Type
			if p.Charset != "" {
				kind += "; charset=" + p.Charset
			}
		}
		if s.quotas.full(v.Account.Address, s.o.Limits.Kept, s.o.Now()) {
			return all, errQuota
		}
		a, err := s.o.Mail.Attach(ctx, v.Account.Address, writing, name, kind, content, room)
		if err != nil {
			return all, err
		}
		s.quotas.add(v.Account.Address, a.Size, s.o.Now())
		room -= a.Size
		all = append(all, a)
	}
	return all, nil
}
