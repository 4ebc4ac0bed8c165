package render

import (
	"context"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// oddCodes are oddities whose part is not known yet.
type oddCodes []string

func (o oddCodes) at(part string) []Oddity {
	var all []Oddity
	for _, c := range o {
		all = append(all, Oddity{c, part, ""})
	}
	return all
}

// parseHTML reads HTML as browsers do. It fails when ctx ends, or when the HTML is nested beyond reading.
func parseHTML(ctx context.Context, text string) (*html.Node, error) {
	return html.ParseWithOptions(&ctxReader{ctx, strings.NewReader(text)}, html.ParseOptionEnableScripting(false))
}

// htmlLines makes lines of text of HTML.
func htmlLines(ctx context.Context, text string, l Limits) ([]textLine, oddCodes, error) {
	w := &textWriter{}
	root, err := parseHTML(ctx, text)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		w.tokens(ctx, text)
		w.newline()
		return w.lines, oddCodes{OddHTML}, ctx.Err()
	}
	w.walk(root)
	w.newline()
	return w.lines, nil, nil
}

// textWriter lays text out in lines.
type textWriter struct {
	lines []textLine
	line  Line
	quote int
	pre   int
	flat  int    // cells around that are of one line
	space bool   // white space is due before the next text
	href  string // of the link around
	link  int    // where its text starts in line
	items []int  // of the lists around: the next number, or 0
}

func (w *textWriter) full() bool { return len(w.lines) > maxLines }

func (w *textWriter) newline() {
	w.space = false
	if len(w.line) > 0 {
		var line Line
		if len(w.line) == 1 && strings.TrimSpace(w.line[0].Text) == "" { // Outlook's way to leave a line empty
			w.line = nil
		}
		for _, s := range w.line {
			if s.URL != "" {
				line = append(line, s)
				continue
			}
			line = append(line, linkify(s.Text)...)
		}
		w.lines = append(w.lines, textLine{quote: w.quote, line: line})
		w.line = nil
		w.link = 0
	}
}

// gap leaves an empty line.
func (w *textWriter) gap() {
	w.newline()
	if n := len(w.lines); n > 0 && len(w.lines[n-1].line) > 0 {
		w.lines = append(w.lines, textLine{quote: w.quote})
	}
}

func (w *textWriter) text(s string) {
	if w.pre > 0 {
		for i, l := range strings.Split(s, "\n") {
			if i > 0 {
				if len(w.line) == 0 {
					w.lines = append(w.lines, textLine{quote: w.quote})
				}
				w.newline()
			}
			w.add(l)
		}
		return
	}
	fields := strings.FieldsFunc(s, htmlSpace)
	if len(fields) == 0 {
		w.space = w.space || s != ""
		return
	}
	if htmlSpace(rune(s[0])) {
		w.space = true
	}
	joined := strings.ReplaceAll(strings.Join(fields, " "), "\u00a0", " ")
	if n := len(w.line); w.space && n > 0 && !strings.HasSuffix(w.line[n-1].Text, "  ") {
		joined = " " + joined
	}
	w.space = htmlSpace(rune(s[len(s)-1]))
	w.add(joined)
}

func htmlSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\f' || r == '\r' }

func (w *textWriter) add(s string) {
	s = strings.Map(func(r rune) rune {
		if r != '\t' && dropped(r) {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return
	}
	if n := len(w.line); n > 0 && w.line[n-1].URL == w.href && (w.href == "" || w.link < n) {
		w.line[n-1].Text += s
		return
	}
	w.line = append(w.line, Span{Text: s, URL: w.href})
}

func (w *textWriter) walk(n *html.Node) {
	if w.full() {
		return
	}
	switch n.Type {
	case html.TextNode:
		w.text(n.Data)
		return
	case html.ElementNode:
		if skipsText(n) {
			return
		}
	case html.DocumentNode:
	default:
		return
	}
	w.open(n)
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		w.walk(c)
	}
	w.close(n)
}

// skipsText says whether an element holds nothing for people to read, or hides it.
func skipsText(n *html.Node) bool {
	if n.Namespace != "" || silent(n.DataAtom) {
		return true
	}
	for _, a := range n.Attr {
		switch a.Key {
		case "hidden":
			return true
		case "style":
			s := strings.ToLower(strings.Join(strings.Fields(a.Val), ""))
			if strings.Contains(s, "display:none") || strings.Contains(s, "mso-hide:all") || strings.Contains(s, "visibility:hidden") {
				return true
			}
		}
	}
	return false
}

// silent are elements whose content is not text of the page.
func silent(a atom.Atom) bool {
	switch a {
	case atom.Script, atom.Style, atom.Head, atom.Title, atom.Template, atom.Iframe, atom.Object, atom.Embed, atom.Applet,
		atom.Noframes, atom.Noembed, atom.Svg, atom.Math, atom.Select, atom.Datalist, atom.Audio, atom.Video, atom.Canvas, atom.Map, atom.Frameset:
		return true
	}
	return false
}

func (w *textWriter) open(n *html.Node) {
	if n.DataAtom == atom.Td || n.DataAtom == atom.Th {
		if len(w.line) > 0 {
			w.add("  ")
			w.space = false
		}
		if w.flat > 0 || simpleCell(n) {
			w.flat++
		}
		return
	}
	if w.flat > 0 && flattened(n) {
		w.space = true
		return
	}
	switch n.DataAtom {
	case atom.Br:
		if len(w.line) == 0 && w.pre == 0 {
			w.lines = append(w.lines, textLine{quote: w.quote})
		}
		w.newline()
	case atom.P:
		if strings.HasPrefix(attr(n, "class"), "Mso") { // Outlook's paragraphs are lines
			w.newline()
		} else {
			w.gap()
		}
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table, atom.Dl:
		w.gap()
	case atom.Ul, atom.Ol:
		if len(w.items) == 0 {
			w.gap()
		}
		first := 0
		if n.DataAtom == atom.Ol {
			first = 1
		}
		w.items = append(w.items, first)
	case atom.Li:
		w.newline()
		w.bullet()
	case atom.Blockquote:
		w.gap()
		w.quote = min(w.quote+1, maxQuote)
	case atom.Pre:
		w.gap()
		w.pre++
	case atom.Hr:
		w.gap()
		w.add("———")
		w.gap()
	case atom.A:
		if u, ok := safeLink(attr(n, "href")); ok {
			if w.space && len(w.line) > 0 {
				w.add(" ")
			}
			w.space = false
			w.href, w.link = u, len(w.line)
		}
	case atom.Img:
		if alt := strings.TrimSpace(attr(n, "alt")); alt != "" {
			w.text(" " + alt + " ")
		}
	default:
		if blockElement(n.DataAtom) {
			w.newline()
		}
	}
}

// simpleCell says whether a cell of a table is one line: one paragraph at most, and nothing in it that breaks lines.
func simpleCell(n *html.Node) bool {
	paragraphs, left := 0, 50
	var simple func(n *html.Node) bool
	simple = func(n *html.Node) bool {
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			if left--; left < 0 {
				return false
			}
			if c.Type != html.ElementNode {
				continue
			}
			if flattened(c) {
				if paragraphs++; paragraphs > 1 {
					return false
				}
			} else if c.DataAtom == atom.Br || c.DataAtom == atom.Table || c.DataAtom == atom.Pre || c.DataAtom == atom.Blockquote || c.DataAtom == atom.Hr || blockElement(c.DataAtom) || c.DataAtom == atom.Ul || c.DataAtom == atom.Ol {
				return false
			}
			if !simple(c) {
				return false
			}
		}
		return true
	}
	return simple(n)
}

// flattened are the elements that don't break the line of a simple cell.
func flattened(n *html.Node) bool { return n.DataAtom == atom.P || n.DataAtom == atom.Div }

func (w *textWriter) bullet() {
	depth := len(w.items)
	mark := "• "
	if depth > 0 && w.items[depth-1] > 0 {
		mark = strconv.Itoa(w.items[depth-1]) + ". "
		w.items[depth-1]++
	}
	w.add(strings.Repeat("  ", max(min(depth, 10)-1, 0)) + mark)
}

func (w *textWriter) close(n *html.Node) {
	if n.DataAtom == atom.Td || n.DataAtom == atom.Th {
		w.flat = max(w.flat-1, 0)
		return
	}
	if w.flat > 0 && flattened(n) {
		w.space = true
		return
	}
	switch n.DataAtom {
	case atom.P:
		if strings.HasPrefix(attr(n, "class"), "Mso") { // Outlook's paragraphs are lines
			w.newline()
		} else {
			w.gap()
		}
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table, atom.Dl:
		w.gap()
	case atom.Ul, atom.Ol:
		w.items = w.items[:len(w.items)-1]
		if len(w.items) == 0 {
			w.gap()
		}
	case atom.Blockquote:
		w.newline()
		w.quote = max(w.quote-1, 0)
		w.gap()
	case atom.Pre:
		w.pre--
		w.gap()
	case atom.A:
		w.endLink()
	default:
		if blockElement(n.DataAtom) {
			w.newline()
		}
	}
}

// endLink says where the link leads when its text doesn't, and finds links in text that isn't one.
func (w *textWriter) endLink() {
	if w.href == "" {
		return
	}
	for i := w.link; i < len(w.line); i++ {
		s := &w.line[i]
		if s.URL != w.href {
			continue
		}
		if host := linkHost(s.URL); !strings.Contains(strings.ToLower(s.Text), host) || linkHint(s.Text, s.URL) != "" {
			if s.Host = host; !strings.HasPrefix(s.URL, "mailto:") {
				s.Host = displayHost(host)
			}
		}
	}
	w.href, w.link = "", len(w.line)
}

func blockElement(a atom.Atom) bool {
	switch a {
	case atom.Address, atom.Article, atom.Aside, atom.Body, atom.Center, atom.Dd, atom.Details, atom.Dir, atom.Div, atom.Dt, atom.Fieldset,
		atom.Figcaption, atom.Figure, atom.Footer, atom.Form, atom.Header, atom.Hgroup, atom.Html, atom.Legend, atom.Li, atom.Main, atom.Menu,
		atom.Nav, atom.Optgroup, atom.Option, atom.P, atom.Section, atom.Summary, atom.Tbody, atom.Tfoot, atom.Thead, atom.Tr, atom.Caption:
		return true
	}
	return false
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key && a.Namespace == "" {
			return a.Val
		}
	}
	return ""
}

// tokens is for HTML that can't be made a tree of: the text between its tags.
func (w *textWriter) tokens(ctx context.Context, text string) {
	z := html.NewTokenizer(&ctxReader{ctx, strings.NewReader(text)})
	skip := atom.Atom(0)
	for !w.full() {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.TextToken:
			if skip == 0 {
				w.text(string(z.Text()))
			}
		case html.StartTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if skip == 0 && (a == atom.Script || a == atom.Style || a == atom.Title || a == atom.Template) {
				skip = a
			}
			if a == atom.Br || blockElement(a) {
				w.newline()
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if a == skip {
				skip = 0
			}
			if blockElement(a) {
				w.newline()
			}
		}
	}
}
