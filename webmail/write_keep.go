package webmail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

// keepWriting is the form's action: whatever is asked for, what was typed is kept first.
func (s *Server) keepWriting(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	writing, ok := writingOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	f, err := s.readForm(w, r, v, writing)
	if errors.Is(err, errForm) {
		s.problem(w, r, http.StatusBadRequest, "form")
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if f.do == "discard" {
		s.discard(w, r, v, writing, f)
		return
	}
	p, err := s.keep(r, v, writing, f)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	switch {
	case f.do == "send":
		s.send(w, r, v, p, f)
	case r.Header.Get("Accept") == "application/json":
		s.keptJSON(w, r, p)
	case p.Problems.Any():
		s.writingPage(w, r, http.StatusUnprocessableEntity, p)
	default:
		if f.do == "save" {
			s.setToast(w, toast{Text: s.wordsOf(r).T("write.kept")})
		}
		http.Redirect(w, r, draftPath(writing), http.StatusSeeOther)
	}
}

// keep makes a version of the draft durable, with what a forward carries along.
func (s *Server) keep(r *http.Request, v *viewer, writing string, f writeForm) (writePage, error) {
	ctx, t := r.Context(), s.wordsOf(r)
	p := writePage{Writing: writing, Draft: f.draft, Back: f.back}
	for _, name := range f.tooLarge {
		p.Problems.Files = append(p.Problems.Files, t.T("write.problem.large", "name", compose.FileName(name), "size", t.Size(s.filesLimit()), "files", compose.MaxAttachments))
	}
	var used []mailbox.Attachment
	if len(f.carry) > 0 {
		for _, id := range p.Draft.Attachments {
			if a, err := s.attachment(ctx, v, writing, id); err == nil {
				used = append(used, a)
			}
		}
	}
	carried, err := s.carry(ctx, v, writing, p.Draft, f.carry, s.room(used))
	for _, a := range carried {
		p.Draft.Attachments = append(p.Draft.Attachments, a.ID)
	}
	switch {
	case errors.Is(err, mailbox.ErrTooLarge):
		p.Problems.Files = append(p.Problems.Files, t.T("write.problem.carry", "size", t.Size(s.filesLimit())))
	case err != nil:
		return p, err
	}
	saved, err := s.saveDraft(ctx, mailbox.Draft{Account: v.Account.Address, Writing: writing, Box: p.Draft.Box, Raw: p.Draft.Bytes()})
	if err != nil {
		return p, err
	}
	if f.do == "send" || f.do == "discard" {
		s.undoable.keep(saved.Draft, s.o.Now())
	}
	p.Attachments = saved.Attachments
	p.Saved = t.When(saved.Saved, s.o.Now(), zoneOf(r))
	return p, nil
}

// saveDraft keeps a version, unless the newest says the same: a script keeps before it sends.
func (s *Server) saveDraft(ctx context.Context, d mailbox.Draft) (mailbox.SavedDraft, error) {
	had, err := s.o.Mail.Draft(ctx, d.Account, d.Writing)
	if err == nil && had.Box == d.Box && bytes.Equal(undated(had.Raw), undated(d.Raw)) {
		return had, nil
	}
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		return mailbox.SavedDraft{}, err
	}
	if s.quotas.full(d.Account, s.o.Limits.Kept, s.o.Now()) {
		return mailbox.SavedDraft{}, errQuota
	}
	s.quotas.add(d.Account, int64(len(d.Raw)), s.o.Now())
	return s.o.Mail.SaveDraft(ctx, d)
}

// undated is a draft from behind its Date field, which is the first.
func undated(raw []byte) []byte {
	_, rest, _ := bytes.Cut(raw, []byte("\n"))
	return rest
}

// keptJSON tells a script that saved in the background what it has to show.
func (s *Server) keptJSON(w http.ResponseWriter, r *http.Request, p writePage) {
	t := s.wordsOf(r)
	var files bytes.Buffer
	if err := s.pages[t.Lang()]["write"].ExecuteTemplate(&files, "files", p); err != nil {
		s.fail(w, r, err)
		return
	}
	s.json(w, r, http.StatusOK, map[string]string{"saved": t.T("write.saved", "when", p.Saved), "path": draftPath(p.Writing), "files": files.String(),
		"problem": strings.Join(p.Problems.Files, " ")})
}

// json answers a script.
func (s *Server) json(w http.ResponseWriter, r *http.Request, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.write(w, r, status, "application/json", raw)
}

// attach takes one file from a script, which then saves the draft that names it.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	v, t := viewerOf(r.Context()), s.wordsOf(r)
	writing, ok := writingOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	f, err := s.readForm(w, r, v, writing)
	switch {
	case errors.Is(err, errForm):
		s.json(w, r, http.StatusRequestEntityTooLarge, map[string]string{"problem": t.T("write.problem.upload")})
	case err != nil:
		s.fail(w, r, err)
	case len(f.tooLarge) > 0:
		s.json(w, r, http.StatusRequestEntityTooLarge, map[string]string{
			"problem": t.T("write.problem.large", "name", compose.FileName(f.tooLarge[0]), "size", t.Size(s.filesLimit()), "files", compose.MaxAttachments)})
	case len(f.uploaded) == 0:
		s.json(w, r, http.StatusBadRequest, map[string]string{"problem": t.T("write.problem.upload")})
	default:
		s.json(w, r, http.StatusOK, map[string]string{"id": f.uploaded[0].ID})
	}
}

// attachedFile gives an attachment of a draft back, to be saved; it may do nothing in the browser.
func (s *Server) attachedFile(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(r.Context())
	writing, ok := writingOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	a, content, err := s.o.Mail.OpenAttachment(r.Context(), v.Account.Address, writing, r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer content.Close()
	h := w.Header()
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(a.Name))
	_, _ = io.Copy(w, content) // a reader that went away is no fault of ours
}

// discard gives a piece of writing up; for a while that can be taken back.
func (s *Server) discard(w http.ResponseWriter, r *http.Request, v *viewer, writing string, f writeForm) {
	if !f.draft.Empty() { // the newest words are what an undo brings back
		if _, err := s.keep(r, v, writing, f); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	err := s.o.Mail.DiscardDraft(r.Context(), v.Account.Address, writing)
	if err != nil && !errors.Is(err, mailbox.ErrNotFound) {
		s.fail(w, r, err)
		return
	}
	note := toast{Text: s.wordsOf(r).T("write.discarded")}
	if err == nil {
		note.Undo = draftPath(writing) + "/undiscard"
	}
	s.setToast(w, note)
	http.Redirect(w, r, f.back, http.StatusSeeOther)
}
