package webmail

import (
	"net/http"
	"net/url"
	"slices"

	"restante/webmail/mailbox"
)

// searchFolder is what stands in the place of a folder in the address of what a search has found.
const searchFolder mailbox.Folder = "search"

// readRoutes are the pages that show mail. {box} is "me" or the address of a shared mailbox, {thread} and {id} are
// entries; a handler finds them through the box alone.
func (s *Server) readRoutes() []route {
	return []route{
		{http.MethodGet, "/m/{box}", inBox, s.box},
		{http.MethodGet, "/m/{box}/{folder}", inBox, s.mail},
		{http.MethodGet, "/m/{box}/{folder}/{thread}", inBox, s.mail},
		{http.MethodPost, "/m/{box}/act", inBox, s.act},
		{http.MethodGet, "/m/{box}/message/{id}", inBox, s.message},
		{http.MethodGet, "/m/{box}/message/{id}/frame", inBox, s.frame},
		{http.MethodGet, "/m/{box}/message/{id}/print", inBox, s.printed},
		{http.MethodGet, "/m/{box}/message/{id}/eml", inBox, s.original},
		{http.MethodGet, "/m/{box}/message/{id}/zip", inBox, s.zipped},
		{http.MethodGet, "/m/{box}/message/{id}/part/{part}", inBox, s.part},
	}
}

func (s *Server) box(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, boxPath(r.PathValue("box"), mailbox.Inbox), http.StatusSeeOther)
}

// mailPage is what the page "mail" shows: a list, and beside it what is read. An answer to htmx may hold only one.
type mailPage struct {
	Box    string // name in URLs
	Title  string
	List   *listView
	Reader *readerView
}

// place is where in the mail a page is.
type place struct {
	viewer *viewer
	box    mailbox.Box
	name   string // of the box in URLs
	folder mailbox.Folder
	query  string // of a search, as typed
	after  mailbox.Cursor
}

// placeOf reads the place from an address; false for a folder that there isn't.
func placeOf(r *http.Request) (place, bool) {
	p := place{viewer: viewerOf(r.Context()), box: boxOf(r.Context()), folder: mailbox.Folder(r.PathValue("folder"))}
	p.name = p.viewer.boxName(p.box)
	q := r.URL.Query()
	p.after = mailbox.Cursor(q.Get("after"))
	if p.folder == searchFolder {
		p.query = q.Get("q")
		return p, true
	}
	if p.box.Shared && p.folder == mailbox.Drafts {
		return p, false
	}
	return p, p.folder != "" && slices.Contains(mailbox.Folders(), p.folder)
}

// path is the address of the list.
func (p place) path() string {
	at := boxPath(p.name, p.folder)
	if p.folder == searchFolder {
		at += "?" + url.Values{"q": {p.query}}.Encode()
	}
	return at
}

// open is the address of a conversation beside the list.
func (p place) open(thread string) string {
	at := boxPath(p.name, p.folder) + "/" + url.PathEscape(thread)
	if p.folder == searchFolder {
		at += "?" + url.Values{"q": {p.query}}.Encode()
	}
	return at
}

// mail shows a folder or what a search found, with or without a conversation beside it.
func (s *Server) mail(w http.ResponseWriter, r *http.Request) {
	p, ok := placeOf(r)
	if !ok {
		s.notFound(w, r)
		return
	}
	if p.folder == searchFolder && p.query == "" {
		http.Redirect(w, r, boxPath(p.name, mailbox.Inbox), http.StatusSeeOther)
		return
	}
	t := s.wordsOf(r)
	data := mailPage{Box: p.name}
	query, problem := s.query(r, p)
	target, swap := fromHTMX(r)
	if thread := r.PathValue("thread"); thread != "" && (!swap || target != "list" && target != "more") {
		reader, err := s.reader(r, p, query, thread)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		data.Reader, data.Title = reader, reader.Subject
	}
	if !swap || target != "reader" {
		list, err := s.listView(r, p, query, problem)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		list.Current(r.PathValue("thread"))
		data.List = list
		if data.Title == "" {
			data.Title = list.Heading
			if list.Unread > 0 {
				data.Title = t.T("read.title", "heading", list.Heading, "n", list.Unread)
			}
		}
	}
	s.page(w, r, http.StatusOK, "mail", data)
}

// query is what the place asks the store; problem says what is wrong with a search.
func (s *Server) query(r *http.Request, p place) (q mailbox.Query, problem string) {
	q = mailbox.Query{Box: p.box, Folder: p.folder, After: p.after}
	if p.folder != searchFolder {
		return q, ""
	}
	q.Folder = mailbox.All
	search, err := mailbox.ParseSearch(p.query, zoneOf(r))
	if err != nil {
		return q, s.wordsOf(r).T("read.search.problem")
	}
	q.Search = search
	return q, ""
}
