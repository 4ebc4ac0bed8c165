package webmail

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// eventsPattern is the route of event streams.
const eventsPattern = "/events"

// baseRoutes are those that belong to no page in particular.
func (s *Server) baseRoutes() []route {
	return []route{
		{http.MethodGet, "/{$}", public, s.home},
		{http.MethodGet, "/static/{file}", public, s.serveStatic},
		{http.MethodGet, "/favicon.ico", public, s.favicon},
		{http.MethodGet, "/robots.txt", public, s.robots},
		{http.MethodGet, "/help", signedIn, s.help},
		{http.MethodGet, eventsPattern, signedIn, s.events},
		{http.MethodGet, "/state", signedIn, s.state},
	}
}

func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	to := "/signin"
	if viewerOf(r.Context()) != nil {
		to = boxPath(boxMe, mailbox.Inbox)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) favicon(w http.ResponseWriter, r *http.Request) {
	to, err := s.assets.url("icon.svg")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) robots(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte("User-agent: *\nDisallow: /\n"))
}

func (s *Server) help(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, "help", struct{ Contact string }{s.o.Contact})
}

// state answers to htmx with what any page may have to change: the line on top and the counts.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	if target, _ := fromHTMX(r); target != "lines" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if at, err := url.Parse(r.Header.Get("HX-Current-URL")); err == nil {
		r.URL.Path = at.Path
		if parts := strings.Split(at.Path, "/"); len(parts) > 3 && parts[1] == "m" {
			if b, ok := viewerOf(r.Context()).box(parts[2]); ok {
				r = r.WithContext(withBox(r.Context(), b))
				r.SetPathValue("folder", parts[3])
			}
		}
	}
	s.page(w, r, http.StatusOK, "help", nil)
}

// boxPath is the address of a folder's page; box is its name in URLs.
func boxPath(box string, f mailbox.Folder) string {
	return "/m/" + url.PathEscape(box) + "/" + string(f)
}

// rail is the column with the boxes and their folders.
type rail struct {
	Page     string // name of the page in Page that the rail marks as current, "" for a folder
	Box      string // name of the current box
	MayWrite bool
	WhyNot   string // why there is no write button, in words
	Boxes    []railBox

	Name, Address string // of the viewer
}

type railBox struct {
	Title   string // "" for the own box
	Folders []railFolder
}

type railFolder struct {
	Path, Label, Icon string
	Count             int    // unread in the inbox, all of the drafts; 0 shows nothing
	CountSays         string // for screen readers, said after the number: "unread", "drafts"
	Current           bool
}

func (s *Server) rail(r *http.Request, v *viewer) rail {
	t := s.wordsOf(r)
	out := rail{Box: boxMe, Name: v.Account.Label(), Address: v.Account.Address}

	if b := boxOf(r.Context()); b.ID != "" {
		out.Box = v.boxName(b)
	} else if from := r.URL.Query().Get("from"); from != "" {
		if b, ok := v.box(from); ok {
			out.Box = v.boxName(b)
		}
	}
	folder := mailbox.Folder(r.PathValue("folder"))
	if boxOf(r.Context()).ID == "" {
		out.Page, _, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		folder = "-"
	}
	var why string
	if out.MayWrite, why = s.mayWrite(r, v); !out.MayWrite {
		out.WhyNot = t.T("common.why." + why)
	}
	for _, b := range v.readable() {
		out.Boxes = append(out.Boxes, s.railBox(r, v, t, b, out.Box, folder))
	}
	return out
}

// railBox lists a box's folders; of a shared one that isn't the current, only its inbox.
func (s *Server) railBox(r *http.Request, v *viewer, t *words.Words, b mailbox.Box, current string, folder mailbox.Folder) railBox {
	counts, err := s.o.Mail.Counts(r.Context(), b)
	if err != nil && r.Context().Err() == nil {
		s.o.Log.Warn("webmail: counting a box", "box", b.ID, "err", err) // the page is of use without them
	}
	name := v.boxName(b)
	out := railBox{}
	folders := mailbox.Folders()
	if b.Shared {
		out.Title = b.ID
		folders = []mailbox.Folder{mailbox.Inbox, mailbox.Starred, mailbox.Sent, mailbox.Trash}
		if name != current {
			folders = folders[:1]
		}
	}
	for _, f := range folders {
		n, says := 0, "common.unread"
		switch f {
		case mailbox.Drafts:
			n, says = counts[f].Total, "common.drafts_count"
		case mailbox.Inbox:
			n = counts[f].Unread
		}
		out.Folders = append(out.Folders, railFolder{Path: boxPath(name, f), Label: t.T("common.folder." + string(f)), Icon: folderIcon(f),
			Count: n, CountSays: t.T(says, "n", n), Current: name == current && f == folder})
	}
	return out
}

func folderIcon(f mailbox.Folder) string {
	if f == mailbox.Starred {
		return "star"
	}
	return string(f)
}

// mayWrite says whether the viewer may send from any address, and the key of the reason if not, or only inHouse.
func (s *Server) mayWrite(r *http.Request, v *viewer) (ok bool, why string) {
	if len(v.readable()) == 0 {
		return false, "closed"
	}
	ok, why = s.o.Sender.May(r.Context(), v.Account.Address, v.Account.Address)
	if !ok && !slices.Contains([]string{inHouse, "smarthost-down", "stopped", "limit", "closed"}, why) {
		why = "closed"
	}
	return ok || why == inHouse, why
}

// inHouse is why the viewer can write to colleagues alone: there is no server that would take mail for others.
const inHouse = "no-smarthost"

// initial is the letter that stands for a person.
func initial(name string) string {
	for _, c := range strings.TrimLeft(name, " \"'.-_<(") {
		return strings.ToUpper(string(c))
	}
	return "?"
}

// tint is a person's colour class, the same everywhere: "t1" to "t6".
func tint(address string) string {
	n := 0
	for _, c := range strings.ToLower(address) {
		n = (n*31 + int(c)) % 9973
	}
	return []string{"t1", "t2", "t3", "t4", "t5", "t6"}[n%6]
}

// domainsOf are the domains that the viewer's boxes are of, the own one first.
func domainsOf(v *viewer) []string {
	var out []string
	for _, b := range v.boxes() {
		_, d, _ := strings.Cut(b.ID, "@")
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// accountName is how a colleague is shown: the account's name, otherwise the address itself.
func (s *Server) accountName(address string) string {
	if a, ok := s.o.Accounts.ByAddress(address); ok {
		return a.Label()
	}
	return address
}
