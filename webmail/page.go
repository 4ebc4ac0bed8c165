package webmail

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"restante/webmail/ui"
	"restante/webmail/words"
)

// view is what templates get: {{.Data}} is the page's own.
type view struct {
	Name   string // of the page
	Lang   string
	Zone   string // name of the time zone that times are written in
	Path   string // that was asked for, with the query
	Viewer *viewer
	Rail   rail   // boxes and folders; only with a Viewer
	Lines  []line // what is going on, on top of the page
	Toast  *toast
	Swap   bool // an answer to htmx: what changes elsewhere goes with it
	Secure bool
	Data   any
}

// ownPages are those of the program itself. They are the same for all its servers, so they are parsed once.
var ownPages = sync.OnceValues(func() (map[string]map[string]*template.Template, error) {
	a, err := ownAssets()
	if err != nil {
		return nil, err
	}
	return loadPages(ui.Files, a)
})

// loadPages parses layout, parts and pages, once for each language, in which {{t}} is bound to its words.
func loadPages(files fs.FS, a *assets) (map[string]map[string]*template.Template, error) {
	base, err := template.New("layout.html").Funcs(funcs(a, words.Of(words.Default))).ParseFS(files, "layout.html", "parts/*.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	all := map[string]map[string]*template.Template{}
	for _, lang := range words.Languages() {
		all[lang] = map[string]*template.Template{}
		for _, name := range names {
			t, err := base.Clone()
			if err != nil {
				return nil, err
			}
			if t, err = t.Funcs(funcs(a, words.Of(lang))).ParseFS(files, name); err != nil {
				return nil, err
			}
			all[lang][strings.TrimSuffix(path.Base(name), ".html")] = t
		}
	}
	return all, nil
}

// funcs are the functions of the templates, beside those of html/template.
func funcs(a *assets, w *words.Words) template.FuncMap {
	return template.FuncMap{
		"t":       w.T,
		"size":    w.Size,
		"number":  func(n int) string { return w.Number(int64(n)) },
		"static":  a.url,
		"icon":    icon,
		"tint":    tint,
		"initial": initial,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		// dict makes the argument of a part: {{template "x" (dict "Item" . "Box" $.Data.Box)}}
		"dict": func(pairs ...any) (map[string]any, error) {
			if len(pairs)%2 != 0 {
				return nil, fmt.Errorf("dict wants pairs, not %d values", len(pairs))
			}
			m := map[string]any{}
			for i := 0; i < len(pairs); i += 2 {
				m[fmt.Sprint(pairs[i])] = pairs[i+1]
			}
			return m, nil
		},
	}
}

// page answers with the page of that name from ui/pages. To htmx it answers with the block that fills the
// element it asks for, when the page defines one by the element's id ("list", "reader", "main"), and with what
// changes elsewhere.
func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	text := s.wordsOf(r)
	t := s.pages[text.Lang()][name]
	if t == nil {
		s.o.Log.Error("webmail: there is no such page", "name", name)
		http.Error(w, "there is no such page", http.StatusInternalServerError)
		return
	}
	v := view{Name: name, Lang: text.Lang(), Zone: zoneOf(r).String(), Path: r.URL.RequestURI(), Viewer: viewerOf(r.Context()), Secure: s.o.Secure, Data: data}
	if v.Viewer != nil {
		v.Rail, v.Lines = s.rail(r, v.Viewer), s.lines(r, v.Viewer)
		v.Toast = s.takeToast(w, r)
	}
	var b bytes.Buffer
	if err := s.execute(&b, t, r, &v); err != nil {
		s.o.Log.Error("webmail: a page could not be written", "name", name, "err", err)
		http.Error(w, text.T("common.problem.internal.text"), http.StatusInternalServerError)
		return
	}
	s.write(w, r, status, "text/html; charset=utf-8", b.Bytes())
}

// execute writes the whole page, or what htmx asks for: the block that fills an element, the title with what is
// the page's main part, and what changes elsewhere.
func (s *Server) execute(b *bytes.Buffer, t *template.Template, r *http.Request, v *view) error {
	target, ok := fromHTMX(r)
	if strings.HasPrefix(target, "m-") {
		target = "fragment" // a message in its place
	}
	if !ok || target == "" || target != "main" && t.Lookup(target) == nil {
		return t.ExecuteTemplate(b, "layout.html", v)
	}
	v.Swap = true
	blocks := []string{target}
	switch target {
	case "main":
		blocks = []string{"title-element", "main-element", "elsewhere"}
	case "reader":
		blocks = []string{"title-element", "reader", "elsewhere"}
	case "list":
		blocks = []string{"list", "elsewhere"}
		if r.PathValue("thread") == "" {
			blocks = append([]string{"title-element"}, blocks...) // how many are unread
		}
	case "lines":
		blocks = []string{"elsewhere"}
	}
	for _, block := range blocks {
		if err := t.ExecuteTemplate(b, block, v); err != nil {
			return err
		}
	}
	return nil
}

// write answers with a body, compressed where that helps. (What is compressed together with a reader's words is
// of no use to an onlooker without requests in the reader's name, which SameSite cookies and Sec-Fetch-Site keep away.)
func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, ctype string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", ctype)
	h.Add("Vary", "Accept-Encoding")
	h.Add("Vary", "HX-Request")
	const worth = 1024 // octets below which compressing gains nothing
	if len(body) >= worth && acceptsGzip(r) {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.DefaultCompression)
		if err == nil {
			if _, err = z.Write(body); err == nil && z.Close() == nil {
				h.Set("Content-Encoding", "gzip")
				body = b.Bytes()
			}
		}
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a reader that went away is no fault of ours
	}
}
