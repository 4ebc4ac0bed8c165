package render

import (
	"html"
	"strconv"
	"strings"

	xhtml "golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const maxOutDepth = 200 // elements within elements that are written; deeper ones lose their tags, not their text

// sanitiser writes a tree anew: elements and attributes that are known to be harmless, each with values of its
// own making, and text escaped. Since nothing is copied but text, and no element is written whose content a
// browser reads differently (script, style, title, textarea, xmp, noscript, svg, math, ...), reading it again
// can't turn it into anything else.
type sanitiser struct {
	b     *builder
	part  *Part
	depth int
	link  bool            // within a link
	text  strings.Builder // of the link that is open
}

// document writes the style sheets and the body of a parsed document.
func (s *sanitiser) document(root *xhtml.Node) {
	s.styles(root)
	if body := find(root, atom.Body); body != nil {
		s.body(body)
		return
	}
	s.children(root) // a frameset, or nothing
}

// body stands for the mail's own body element, with its colours.
func (s *sanitiser) body(n *xhtml.Node) {
	var extra []string
	if c, ok := colour(attr(n, "bgcolor")); ok {
		extra = append(extra, "background-color:"+c)
	}
	if c, ok := colour(attr(n, "text")); ok {
		extra = append(extra, "color:"+c)
	}
	if attr(n, "background") != "" {
		s.b.blocked++
	}
	s.b.out.WriteString("<div")
	if n.Parent != nil {
		for _, key := range []string{"lang", "dir"} { // what html says holds for it too
			if attr(n, key) == "" {
				if v, ok := allowedAttr(n.DataAtom, key, attr(n.Parent, key)); ok {
					s.b.out.WriteString(" " + key + `="` + html.EscapeString(v) + `"`)
				}
			}
		}
	}
	s.attributes(n, strings.Join(extra, ";"), "rbody")
	s.b.out.WriteString(">")
	s.children(n)
	s.b.out.WriteString("</div>")
}

func find(n *xhtml.Node, a atom.Atom) *xhtml.Node {
	if n.Type == xhtml.ElementNode && n.DataAtom == a && n.Namespace == "" {
		return n
	}
	if n.Type == xhtml.ElementNode && n.DataAtom != atom.Html {
		return nil
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if f := find(c, a); f != nil {
			return f
		}
	}
	return nil
}

// styles gathers the style sheets, wherever they are.
func (s *sanitiser) styles(n *xhtml.Node) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type != xhtml.ElementNode || c.Namespace != "" {
			continue
		}
		switch c.DataAtom {
		case atom.Style:
			if t := c.FirstChild; t != nil && t.Type == xhtml.TextNode {
				s.b.sheet.add(t.Data, attr(c, "media"))
			}
		case atom.Link:
			if remote(attr(c, "href")) && strings.Contains(strings.ToLower(attr(c, "rel")), "stylesheet") {
				s.b.blocked++
			}
		default:
			s.styles(c)
		}
	}
}

func (s *sanitiser) children(n *xhtml.Node) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch c.Type {
		case xhtml.TextNode:
			s.write(c.Data)
		case xhtml.ElementNode:
			s.element(c)
		}
	}
}

func (s *sanitiser) write(text string) {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && dropped(r) && !bidiControl(r) {
			return -1
		}
		return r
	}, text)
	if s.link && s.text.Len() < 4<<10 {
		s.text.WriteString(text)
	}
	s.b.height.text(len(strings.TrimSpace(text)))
	s.b.out.WriteString(html.EscapeString(unturned(text)))
}

// unturned takes out embeddings, overrides and isolates: a text may turn no other, nor hide what a link says. For
// direction there is dir.
func unturned(s string) string {
	if !strings.ContainsFunc(s, bidiControl) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
}

func (s *sanitiser) element(n *xhtml.Node) {
	if s.b.elements++; s.b.elements > s.b.l.Elements {
		if s.b.elements == s.b.l.Elements+1 {
			s.b.odd = append(s.b.odd, Oddity{OddCut, s.part.ID, ""})
		}
		return
	}
	if n.Namespace != "" {
		return // SVG and MathML go with all they hold
	}
	switch n.DataAtom {
	case atom.A:
		s.anchor(n)
		return
	case atom.Img, atom.Image:
		s.image(n)
		return
	case atom.Input:
		if strings.EqualFold(attr(n, "type"), "image") {
			s.b.placeholder(attr(n, "alt"), 0, 0)
		}
		return
	case atom.Textarea: // its text is one
		s.children(n)
		return
	case atom.Video, atom.Audio, atom.Object, atom.Embed, atom.Iframe, atom.Frame:
		s.foreign(n)
		return
	case atom.Table, atom.Td, atom.Th, atom.Tr:
		if attr(n, "background") != "" {
			s.b.blocked++
		}
	}
	if silent(n.DataAtom) && n.DataAtom != atom.Map || n.DataAtom == atom.Plaintext {
		if n.DataAtom == atom.Plaintext {
			s.children(n)
		}
		return
	}
	tag, ok := allowedTag(n.DataAtom)
	if !ok || s.depth >= maxOutDepth {
		s.children(n)
		return
	}
	s.b.out.WriteString("<" + tag)
	s.attributes(n, "", "")
	s.b.out.WriteString(">")
	s.layout(n.DataAtom)
	if void(n.DataAtom) {
		return
	}
	s.depth++
	s.children(n)
	s.depth--
	s.b.out.WriteString("</" + tag + ">")
	s.layout(n.DataAtom)
}

// foreign are elements that would load something: their place is shown when it was elsewhere, with what they
// hold for browsers that don't know them.
func (s *sanitiser) foreign(n *xhtml.Node) {
	for _, key := range []string{"src", "data", "poster"} {
		if remote(attr(n, key)) {
			s.b.placeholder(attr(n, "title"), number(attr(n, "width")), number(attr(n, "height")))
			break
		}
	}
	if n.DataAtom == atom.Object || n.DataAtom == atom.Video || n.DataAtom == atom.Audio {
		s.children(n)
	}
}

// layout counts lines.
func (s *sanitiser) layout(a atom.Atom) {
	switch a {
	case atom.Td, atom.Th:
		s.b.height.column = 0 // cells stand side by side
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4:
		s.b.height.newline()
		s.b.height.tall(12)
	case atom.Br, atom.Hr, atom.Li, atom.Tr:
		s.b.height.column = max(s.b.height.column, 1)
		s.b.height.newline()
	default:
		if blockElement(a) || a == atom.Blockquote || a == atom.Pre {
			s.b.height.newline()
		}
	}
}

// anchor writes a link: elsewhere in a new window, or to a place in this mail.
func (s *sanitiser) anchor(n *xhtml.Node) {
	href := strings.TrimSpace(attr(n, "href"))
	target, safe := "", false
	if id, ok := strings.CutPrefix(href, "#"); ok {
		if name, ok := identifier(id); ok {
			s.b.out.WriteString(`<a href="#` + name + `"`)
			s.attributes(n, "", "")
			s.b.out.WriteString(">")
			s.children(n)
			s.b.out.WriteString("</a>")
			return
		}
	} else {
		target, safe = safeLink(href)
	}
	if !safe || s.link || s.depth >= maxOutDepth {
		s.b.out.WriteString("<span")
		s.attributes(n, "", "")
		s.b.out.WriteString(">")
		s.children(n)
		s.b.out.WriteString("</span>")
		return
	}
	s.b.out.WriteString(`<a href="` + html.EscapeString(s.b.href(target)) + `" target="_blank" rel="noopener noreferrer nofollow" title="` +
		html.EscapeString(displayLink(target)) + `"`)
	s.attributes(n, "", "")
	s.b.out.WriteString(">")
	s.link = true
	s.text.Reset()
	s.depth++
	s.children(n)
	s.depth--
	s.link = false
	s.b.out.WriteString("</a>")
	s.b.hint(linkHint(s.text.String(), target))
}

// displayLink is a link in a tooltip: its host in a form that misleads nobody, cut.
func displayLink(link string) string {
	if strings.HasPrefix(link, "mailto:") {
		return cutString(Visible(unpercent(strings.TrimPrefix(link, "mailto:"))), 200)
	}
	scheme, rest, _ := strings.Cut(link, "://")
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	return cutString(scheme+"://"+displayHost(host)+path, 200)
}

// image writes an image that came with the mail, or the place of one that didn't.
func (s *sanitiser) image(n *xhtml.Node) {
	src := strings.TrimSpace(attr(n, "src"))
	width, height := number(attr(n, "width")), number(attr(n, "height"))
	if s.link && s.text.Len() < 4<<10 {
		s.text.WriteString(" " + cutString(attr(n, "alt"), 1000) + " ")
	}
	data, ok := s.b.imageData(src)
	if !ok {
		switch {
		case src == "" && attr(n, "srcset") == "":
		case remote(src) || attr(n, "srcset") != "":
			s.b.placeholder(attr(n, "alt"), width, height)
			return
		}
		if alt := attr(n, "alt"); alt != "" {
			s.write(alt)
		}
		return
	}
	s.b.out.WriteString(`<img src="` + data + `" alt="` + html.EscapeString(oneLine(attr(n, "alt"))) + `"`)
	s.attributes(n, "", "")
	s.b.out.WriteString(">")
	s.b.height.tall(max(height, 20))
}

// attributes writes those attributes of n that are harmless, its style as a class, and more declarations and a
// class of ours.
func (s *sanitiser) attributes(n *xhtml.Node, declarations, class string) {
	classes := class
	style := ""
	for _, a := range n.Attr {
		if a.Namespace != "" {
			continue
		}
		switch a.Key {
		case "style":
			style = a.Val
			continue
		case "class":
			for i, c := range strings.Fields(a.Val) {
				if name, ok := identifier(c); ok && i < 30 {
					classes = strings.TrimSpace(classes + " " + name)
				}
			}
			continue
		}
		if value, ok := allowedAttr(n.DataAtom, a.Key, a.Val); ok {
			key := a.Key
			if key == "name" { // of an anchor that isn't written as one
				if key = "id"; attr(n, "id") != "" {
					continue
				}
			}
			s.b.out.WriteString(" " + key + `="` + html.EscapeString(value) + `"`)
		}
	}
	if style != "" {
		safe, blocked := declarationList(style)
		s.b.blocked += blocked
		declarations = strings.Trim(declarations+";"+safe, ";")
	}
	if declarations != "" {
		classes = strings.TrimSpace(classes + " " + s.b.sheet.class(declarations))
	}
	if classes != "" {
		s.b.out.WriteString(` class="` + classes + `"`)
	}
}

// number reads a width or height in pixels, 0 if it is none.
func number(s string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(s), "px"))
	if err != nil || n < 0 || n > 10_000 {
		return 0
	}
	return n
}

// remote says whether a URL would be fetched from elsewhere.
func remote(u string) bool {
	u = strings.ToLower(strings.TrimSpace(u))
	if u == "" || strings.HasPrefix(u, "data:") || strings.HasPrefix(u, "cid:") || strings.HasPrefix(u, "#") || strings.HasPrefix(u, "about:") {
		return false
	}
	return true
}
