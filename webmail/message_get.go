package webmail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"restante/webmail/render"
)

// messagePage is what the pages "message" and "print" show.
type messagePage struct {
	*readerView
	Title string
	View  messageView
}

// message shows one message by itself: opened out of a conversation (htmx puts it into its place), nested in another
// (?in=), or with its text instead of its HTML (?as=text).
func (s *Server) message(w http.ResponseWriter, r *http.Request) { s.one(w, r, "message") }

// printed shows a message for paper.
func (s *Server) printed(w http.ResponseWriter, r *http.Request) { s.one(w, r, "print") }

func (s *Server) one(w http.ResponseWriter, r *http.Request, page string) {
	box, v, t := boxOf(r.Context()), viewerOf(r.Context()), s.wordsOf(r)
	name := v.boxName(box)
	ctx, m, err := s.open(r.Context(), box, r.PathValue("id"), r.URL.Query().Get("in"))
	if err != nil {
		s.failView(w, r, err)
		return
	}
	defer m.Close()
	p := place{viewer: v, box: box, name: name, folder: m.item.Folder}
	view := s.messageView(r, t, p, &m.item)
	view.Opened, err = s.opened(ctx, r, name, m)
	m.Taken()
	if err != nil {
		s.failView(w, r, err)
		return
	}
	if m.inner != "" && len(view.Opened.From) > 0 {
		from := view.Opened.From[0]
		view.Who = from.Name
		if view.Who == "" {
			view.Who = from.Addr
		}
		view.Initial, view.Tint, view.When, view.Mine, view.Outcomes = initial(view.Who), tint(from.Addr), "", false, nil
	}
	if m.inner == "" && m.item.Unread {
		s.markSeen(r, box, []string{m.item.Entry})
		view.Unread = false
	}
	if page == "print" {
		for i := range view.Opened.Text {
			view.Opened.Text[i].Folded = false // paper can't be unfolded
		}
	}
	data := messagePage{Title: view.Opened.Subject, View: view, readerView: &readerView{Box: name, Thread: m.item.Thread, Folder: m.item.Folder, Latest: m.item.Entry,
		Path: messagePath(name, m.item.Entry), Back: p.open(m.item.Thread), BackSays: t.T("read.backto"), act: "/m/" + name + "/act"}}
	if m.inner != "" {
		data.Back = messagePath(name, m.item.Entry)
	}
	if data.Title == "" {
		data.Title = t.T("read.nosubject")
	}
	s.page(w, r, http.StatusOK, page, data)
}

// failView is fail with a word for what took too long to take apart.
func (s *Server) failView(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
		s.problem(w, r, http.StatusGatewayTimeout, "toolong")
		return
	}
	s.fail(w, r, err)
}

func (s *Server) frameOptions(r *http.Request) render.HTMLOptions {
	t := s.wordsOf(r)
	return render.HTMLOptions{Lang: t.Lang(), Mailto: "/write?mailto=", ImageBlocked: t.T("read.image")}
}

// frame is the document in the sandboxed frame. Opened as a page of its own it is as harmless: the policy is the same.
func (s *Server) frame(w http.ResponseWriter, r *http.Request) {
	ctx, m, err := s.open(r.Context(), boxOf(r.Context()), r.PathValue("id"), r.URL.Query().Get("in"))
	if err != nil {
		s.failView(w, r, err)
		return
	}
	defer m.Close()
	f, err := m.message.HTML(ctx, s.frameOptions(r))
	m.Taken()
	if err != nil {
		s.failView(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", framePolicy(f.CSP))
	h.Set("X-Frame-Options", "SAMEORIGIN")
	s.write(w, r, http.StatusOK, "text/html; charset=utf-8", f.Document)
}

// framePolicy lets the page around the frame see how high the document is. Scripts stay forbidden by the same
// directive, by default-src and by the frame's attribute, so that nothing in there can make use of the origin.
func framePolicy(csp string) string {
	return strings.Replace(csp, "; sandbox allow-popups ", "; sandbox allow-same-origin allow-popups ", 1)
}

// file takes a place for a file on its way to the viewer, which leave gives back; not ok when it has answered already.
func (s *Server) file(w http.ResponseWriter, r *http.Request) (leave func(), ok bool) {
	leave, ok = s.downloads.open(viewerOf(r.Context()).Account.Address)
	if !ok {
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many downloads at once", http.StatusServiceUnavailable)
	}
	return leave, ok
}

// original is the message as it was received, with our trace fields, for a file.
func (s *Server) original(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.file(w, r)
	if !ok {
		return
	}
	defer leave()
	_, m, err := s.open(r.Context(), boxOf(r.Context()), r.PathValue("id"), "")
	if err != nil {
		s.failView(w, r, err)
		return
	}
	defer m.Close()
	m.Taken()
	s.download(w, "message/rfc822", render.SafeName(m.message.Subject+".eml"), m.body.Size())
	s.noteDownload(r, m, "message")
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, m.body.Reader()) // a reader that went away is no fault of ours
	}
}

// part gives one attachment as a file, or with ?show=1 a picture to be looked at.
func (s *Server) part(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.file(w, r)
	if !ok {
		return
	}
	defer leave()
	_, m, err := s.open(r.Context(), boxOf(r.Context()), r.PathValue("id"), "")
	if err != nil {
		s.failView(w, r, err)
		return
	}
	defer m.Close()
	m.Taken()
	p, ok := m.outer.Part(r.PathValue("part"))
	if !ok {
		s.notFound(w, r)
		return
	}
	body := bufio.NewReaderSize(p.Open(r.Context()), 32<<10)
	name := p.FileName()
	ctype := fileType(p.Type)
	if head, _ := body.Peek(512); r.URL.Query().Get("show") == "1" && shownImage(p.Type) && shownImage(http.DetectContentType(head)) {
		ctype = http.DetectContentType(head)
		s.download(w, ctype, name, -1)
		w.Header().Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": name}))
	} else {
		s.download(w, ctype, name, -1)
		s.noteDownload(r, m, name)
	}
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler) // a file cut short must not look whole
	}
}

// zipped gives all attachments in one file.
func (s *Server) zipped(w http.ResponseWriter, r *http.Request) {
	leave, ok := s.file(w, r)
	if !ok {
		return
	}
	defer leave()
	_, m, err := s.open(r.Context(), boxOf(r.Context()), r.PathValue("id"), r.URL.Query().Get("in"))
	if err != nil {
		s.failView(w, r, err)
		return
	}
	defer m.Close()
	m.Taken()
	var total int64
	for _, p := range m.message.Attachments {
		total += p.Size
	}
	switch {
	case len(m.message.Attachments) == 0:
		s.notFound(w, r)
		return
	case total > s.o.Limits.Zip:
		s.problem(w, r, http.StatusRequestEntityTooLarge, "zip")
		return
	}
	name := render.SafeName(m.message.Subject + ".zip")
	s.download(w, "application/zip", name, -1)
	s.noteDownload(r, m, name)
	if r.Method == http.MethodHead {
		return
	}
	if err := render.Zip(r.Context(), w, m.message.Attachments); err != nil {
		panic(http.ErrAbortHandler) // a zip cut short must not look whole
	}
}

// download sets the headers of a file out of mail: saved, never shown, and powerless if a browser shows it all the same.
func (s *Server) download(w http.ResponseWriter, ctype, name string, size int64) {
	if name == "" || strings.HasPrefix(name, ".") {
		name = "file" + name
	}
	h := w.Header()
	h.Set("Content-Type", ctype)
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("X-Frame-Options", "DENY")
	if size >= 0 {
		h.Set("Content-Length", fmt.Sprint(size))
	}
}

// fileType is the type that a file is given as: its own where a phone needs it to open the file and no browser
// would run it, otherwise one that says nothing.
func fileType(ctype string) string {
	harmless := []string{"application/pdf", "application/zip", "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint", "text/calendar", "text/csv", "text/plain"}
	office := strings.HasPrefix(ctype, "application/vnd.openxmlformats-officedocument.") || strings.HasPrefix(ctype, "application/vnd.oasis.opendocument.")
	if shownImage(ctype) || office || slices.Contains(harmless, ctype) {
		return ctype
	}
	return "application/octet-stream"
}

func (s *Server) noteDownload(r *http.Request, m *source, what string) {
	if r.Method == http.MethodGet {
		s.o.Mail.NoteActivity(viewerOf(r.Context()).Account.Address, m.item.Entry, "download", map[string]any{"file": what})
	}
}
