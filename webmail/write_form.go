package webmail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	"restante/webmail/compose"
	"restante/webmail/mailbox"
)

// Bounds of the form on which people write, files aside.
const (
	maxField  = 4 << 20 // octets of all fields together: the text in its longest encoding
	maxFields = 200     // fields, of which most name attachments
)

// errForm is a form that no page of ours sends.
var errForm = errors.New("webmail: the form is damaged or too large")

// writeForm is what the form on the page "write" says.
type writeForm struct {
	do       string
	remove   string // attachment to take off
	draft    compose.Draft
	carry    []string
	confirm  string
	back     string
	uploaded []mailbox.Attachment // files that came with it, kept already
	tooLarge []string             // names of files that are over the limit
}

// readForm reads the form, and keeps each file in it as it comes. box is checked: it is the viewer's.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request, v *viewer, writing string) (writeForm, error) {
	values := map[string][]string{}
	var f writeForm
	total := s.o.Limits.Message*3 + maxField // files that are over the limit are told, not cut off, within reason
	r.Body = http.MaxBytesReader(w, r.Body, total)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return f, errForm
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return f, fmt.Errorf("%w: %w", errForm, err)
	}
	n, room := 0, maxField
	for {
		p, err := parts.NextPart()
		if err == io.EOF { //nolint:errorlint // wrapped, it says that the form was cut off
			break
		}
		if n++; err != nil || n > maxFields+compose.MaxAttachments {
			return f, fmt.Errorf("%w: %w", errForm, err)
		}
		if p.FileName() != "" {
			err = s.takeFile(r.Context(), v, writing, p, values["att"], &f)
		} else {
			err = takeField(p, values, &room)
		}
		if err != nil {
			return f, err
		}
	}
	get := func(name string) string { return strings.Join(values[name][:min(1, len(values[name]))], "") }
	box, ok := v.box(get("box"))
	if !ok {
		return f, mailbox.ErrNotFound
	}
	f.do, f.remove, f.confirm, f.carry, f.back = get("do"), get("remove"), get("confirm"), values["carry"], localPath(get("back"))
	f.draft = compose.Draft{
		Box: box.ID, From: get("from"), To: get("to"), Cc: get("cc"), Bcc: get("bcc"), Subject: get("subject"), Text: compose.Newlines(get("text")),
		InReplyTo: get("irt"), References: strings.Fields(get("refs")), Answers: get("answers"), Forwards: get("forwards"), Saved: s.o.Now().In(zoneOf(r)),
	}
	for _, id := range values["att"] {
		if id != f.remove && len(f.draft.Attachments) < compose.MaxAttachments {
			f.draft.Attachments = append(f.draft.Attachments, id)
		}
	}
	for _, a := range f.uploaded {
		f.draft.Attachments = append(f.draft.Attachments, a.ID)
	}
	return f, nil
}

// takeField reads a field, of at most room octets.
func takeField(p *multipart.Part, values map[string][]string, room *int) error {
	raw, err := io.ReadAll(io.LimitReader(p, int64(*room)+1))
	if err != nil {
		return fmt.Errorf("%w: %w", errForm, err)
	}
	if *room -= len(raw); *room < 0 {
		return errForm
	}
	values[p.FormName()] = append(values[p.FormName()], strings.ToValidUTF8(string(raw), "\ufffd"))
	return nil
}

// takeFile keeps one file. had are the ids of what is attached already.
func (s *Server) takeFile(ctx context.Context, v *viewer, writing string, p *multipart.Part, had []string, f *writeForm) error {
	used := f.uploaded
	for _, id := range had {
		if a, err := s.attachment(ctx, v, writing, id); err == nil {
			used = append(used, a)
		}
	}
	if len(used) >= compose.MaxAttachments {
		f.tooLarge = append(f.tooLarge, p.FileName())
		return nil
	}
	if s.quotas.full(v.Account.Address, s.o.Limits.Kept, s.o.Now()) {
		return errQuota
	}
	a, err := s.o.Mail.Attach(ctx, v.Account.Address, writing, compose.FileName(p.FileName()), p.Header.Get("Content-Type"), p, s.room(used))
	switch {
	case errors.Is(err, mailbox.ErrTooLarge):
		f.tooLarge = append(f.tooLarge, p.FileName())
		_, err = io.Copy(io.Discard, p) // so that the fields behind it are read; the body as a whole is bounded
		return err
	case err != nil:
		return err
	}
	s.quotas.add(v.Account.Address, a.Size, s.o.Now())
	f.uploaded = append(f.uploaded, a)
	return nil
}

// attachment says what an attachment of a piece of writing is.
func (s *Server) attachment(ctx context.Context, v *viewer, writing, id string) (mailbox.Attachment, error) {
	a, content, err := s.o.Mail.OpenAttachment(ctx, v.Account.Address, writing, id)
	if err != nil {
		return a, err
	}
	return a, content.Close()
}

// room is how many octets more may be attached.
func (s *Server) room(used []mailbox.Attachment) int64 {
	room := s.filesLimit()
	for _, a := range used {
		room -= a.Size
	}
	return max(room, 0)
}
