package webmail

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"restante/webmail/compose"
	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// send sends a draft that was just kept, or shows what must be mended first.
func (s *Server) send(w http.ResponseWriter, r *http.Request, v *viewer, p writePage, f writeForm) {
	t := s.wordsOf(r)
	to, cc, bcc, problems := p.Draft.Recipients()
	s.checkPeople(t, &p)
	switch _, why := s.maySend(r, v, p.Draft.From); {
	case !slices.Contains(v.senders(), p.Draft.From):
		p.Problems.From = append(p.Problems.From, t.T("write.problem.from"))
	case why != "" && why != inHouse:
		p.Problems.General = append(p.Problems.General, t.T("write.problem.kept"))
	case len(to)+len(cc)+len(bcc) == 0 && len(problems) == 0:
		p.Problems.To = append(p.Problems.To, t.T("write.problem.nobody"))
	}
	if p.Problems.Any() {
		s.writingPage(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	warnings := compose.Check(p.Draft, domainsOf(v))
	if confirm := confirmation(warnings); confirm != "" && confirm != f.confirm {
		p.Confirm = confirm
		for _, x := range warnings {
			p.Warnings = append(p.Warnings, t.T("write.warn."+x.Kind, "text", x.Text, "other", x.Other))
		}
		s.writingPage(w, r, http.StatusUnprocessableEntity, p)
		return
	}
	result, err := s.submit(r.Context(), v, p, to, cc, bcc)
	if err != nil {
		s.notSent(w, r, p, err)
		return
	}
	s.o.Mail.Seen(r.Context(), result.Entries...) // else the next page may still show the draft
	s.afterSend(r, v, p, result, len(to)+len(cc)+len(bcc))
	s.setToast(w, toast{Text: t.T("write.sent"), Undo: draftPath(p.Writing) + "/undo"})
	http.Redirect(w, r, f.back, http.StatusSeeOther)
}

// checkPeople says field by field which addresses can't be read.
func (s *Server) checkPeople(t *words.Words, p *writePage) {
	for _, f := range []struct {
		typed string
		into  *[]string
	}{{p.Draft.To, &p.Problems.To}, {p.Draft.Cc, &p.Problems.Cc}, {p.Draft.Bcc, &p.Problems.Bcc}} {
		_, problems := compose.ParseList(f.typed)
		for _, x := range problems {
			*f.into = append(*f.into, t.T("write.address."+string(x.Why), "text", x.Text))
		}
	}
}

// confirmation names warnings, so that "send anyway" is said to these and no others.
func confirmation(all []compose.Warning) string {
	var b strings.Builder
	for _, x := range all {
		b.WriteString(x.Kind + ":" + x.Text + ";")
	}
	return b.String()
}

// submit builds the message and hands it over.
func (s *Server) submit(ctx context.Context, v *viewer, p writePage, to, cc, bcc []compose.Person) (SendResult, error) {
	m := compose.Message{
		ID: compose.NewMessageID(p.Draft.From), Date: s.o.Now().In(v.Zone), From: compose.Person{Name: v.Account.Name, Addr: p.Draft.From},
		To: to, Cc: cc, Subject: p.Draft.Subject, Text: p.Draft.Text, InReplyTo: p.Draft.InReplyTo, References: p.Draft.References,
	}
	for _, a := range p.Attachments {
		m.Attachments = append(m.Attachments, compose.Attachment{Name: a.Name, Type: a.Type, Size: a.Size, Open: func() (io.ReadCloser, error) {
			_, content, err := s.o.Mail.OpenAttachment(ctx, v.Account.Address, p.Writing, a.ID)
			return content, err
		}})
	}
	raw, err := m.Build(s.o.Limits.Message)
	if err != nil {
		return SendResult{}, err
	}
	out := Submission{Account: v.Account.Address, From: p.Draft.From, FromName: v.Account.Name, Message: raw, Writing: p.Writing, Delay: undoDelay}
	for _, x := range slices.Concat(to, cc, bcc) {
		out.Rcpts = append(out.Rcpts, x.Addr)
	}
	return s.o.Sender.Send(ctx, out)
}

// afterSend notes that the message went out. None of it can fail the sending.
func (s *Server) afterSend(r *http.Request, v *viewer, p writePage, result SendResult, people int) {
	ctx := context.WithoutCancel(r.Context())
	entry := ""
	if len(result.Entries) > 0 {
		entry = result.Entries[0]
	}
	s.o.Mail.NoteActivity(v.Account.Address, entry, "send", map[string]any{"from": p.Draft.From, "recipients": people})
	box, ok := boxByID(v, p.Draft.Box)
	if !ok || p.Draft.Answers == "" {
		return
	}
	yes := true
	if err := s.o.Mail.Flag(ctx, v.Account.Address, box, []string{p.Draft.Answers}, mailbox.Change{Answered: &yes, Seen: &yes}); err != nil {
		s.o.Log.Warn("webmail: marking as answered", "entry", p.Draft.Answers, "err", err)
	}
}

// notSent shows the form again, with why; what was typed is kept.
func (s *Server) notSent(w http.ResponseWriter, r *http.Request, p writePage, err error) {
	t := s.wordsOf(r)
	status := http.StatusUnprocessableEntity
	var no *Refusal
	switch {
	case errors.As(err, &no) && t.Has("write.whynot."+no.Key):
		p.WhyNot = no.Key
		p.Problems.General = append(p.Problems.General, t.T("write.problem.kept"))
	case errors.As(err, &no) && t.Has("write.refused."+no.Key):
		p.Problems.General = append(p.Problems.General, t.T("write.refused."+no.Key, no.Args...))
	case errors.Is(err, compose.ErrSize):
		p.Problems.Files = append(p.Problems.Files, t.T("write.problem.whole", "size", t.Size(s.o.Limits.Message)))
	case errors.Is(err, compose.ErrText):
		p.Problems.General = append(p.Problems.General, t.T("write.problem.text"))
	default:
		s.o.Log.Error("webmail: a message could not be sent", "writing", p.Writing, "err", err)
		status = http.StatusServiceUnavailable
		p.Problems.General = append(p.Problems.General, t.T("write.problem.unsent"))
	}
	s.writingPage(w, r, status, p)
}

// undoSend takes back what was sent within the last seconds; the draft is there again.
func (s *Server) undoSend(w http.ResponseWriter, r *http.Request) {
	v, t := viewerOf(r.Context()), s.wordsOf(r)
	writing, ok := writingOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	if err := s.o.Sender.Undo(r.Context(), v.Account.Address, writing); err != nil {
		s.o.Log.Info("webmail: sending was not undone", "writing", writing, "err", err)
		s.setToast(w, toast{Text: t.T("write.toolate")})
		s.leave(w, r, boxPath(boxMe, mailbox.Sent))
		return
	}
	s.o.Mail.NoteActivity(v.Account.Address, "", "unsend", nil)
	s.setToast(w, toast{Text: t.T("write.undone")})
	to := draftPath(writing)
	if err := s.revive(r.Context(), v.Account.Address, writing); err != nil {
		s.o.Log.Warn("webmail: a draft did not come back", "writing", writing, "err", err)
		to = boxPath(boxMe, mailbox.Drafts)
	}
	s.leave(w, r, to)
}

// undiscard brings a discarded draft back.
func (s *Server) undiscard(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	writing, ok := writingOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	switch err := s.revive(r.Context(), v.Account.Address, writing); {
	case errors.Is(err, mailbox.ErrNotFound):
		s.setToast(w, toast{Text: s.wordsOf(r).T("write.gone")})
		s.leave(w, r, boxPath(boxMe, mailbox.Drafts))
	case err != nil:
		s.fail(w, r, err)
	default:
		s.leave(w, r, draftPath(writing))
	}
}

// leave sends the browser to another page, also when htmx asked for a piece of one.
func (s *Server) leave(w http.ResponseWriter, r *http.Request, path string) {
	if _, ok := fromHTMX(r); ok {
		w.Header().Set("HX-Redirect", path)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, path, http.StatusSeeOther)
}
