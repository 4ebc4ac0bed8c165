package render

import "strings"

// Part returns the part with that ID, also from nested messages.
func (m *Message) Part(id string) (*Part, bool) {
	p, ok := m.parts[id]
	return p, ok
}

// Body returns the part to show as text and the one to show as HTML; either may be nil. More of either, as when
// pictures stand between paragraphs, is in what Text and HTML return.
func (m *Message) Body() (text, html *Part) {
	for _, s := range shown(m.Root) {
		if text == nil {
			text = s.text
		}
		if html == nil {
			html = s.html
		}
	}
	return text, html
}

// section is one stretch of what a message shows: text, HTML, or both saying the same.
type section struct {
	text, html *Part
	said       bool // as text, a section before it says this too
}

// shown finds what is to be read among the parts, in order.
func shown(p *Part) []section {
	if p == nil {
		return nil
	}
	switch {
	case p.Type == "multipart/alternative" && len(p.Children) > 0:
		return alternative(p)
	case p.Type == "multipart/related" && len(p.Children) > 0:
		return shown(relatedRoot(p))
	case len(p.Children) > 0:
		var all []section
		for _, c := range p.Children {
			all = append(all, shown(c)...)
		}
		return all
	case !isBody(p):
		return nil
	case p.Type == "text/html":
		return []section{{html: p}}
	}
	return []section{{text: p}}
}

// alternative puts together the plain and the rich form of one text (RFC 2046 5.1.4): the last of each.
func alternative(p *Part) []section {
	var both section
	var rest []section
	for _, c := range p.Children {
		for i, s := range shown(c) {
			if i > 0 {
				if c.Type != "text/plain" { // the rich form has several stretches
					rest = append(rest, s)
				}
				continue
			}
			if s.html != nil {
				both.html = s.html
				if s.text != nil && both.text == nil {
					both.text = s.text
				}
			} else if s.text != nil && (both.text == nil || both.text.Size == 0) {
				both.text = s.text
			}
		}
	}
	if both.text == nil && both.html == nil {
		return rest
	}
	for i := range rest {
		rest[i].said = both.text != nil
	}
	return append([]section{both}, rest...)
}

// relatedRoot is the child that the others belong to (RFC 2387 3.2).
func relatedRoot(p *Part) *Part {
	if start := strings.Trim(p.params["start"], "<> "); start != "" {
		for _, c := range p.Children {
			if c.ContentID == start {
				return c
			}
		}
	}
	for _, c := range p.Children {
		if len(shown(c)) > 0 {
			return c
		}
	}
	return p.Children[0]
}

// isBody says whether a leaf is to be read rather than saved.
func isBody(p *Part) bool {
	if p.Disposition == "attachment" || p.Message != nil {
		return false
	}
	switch p.Type {
	case "text/plain", "text/html", "text/enriched", "text/richtext", "text/markdown", "text/x-markdown":
		return p.Name == "" || p.Disposition == "inline" || p.parent == nil || p.parent.Children != nil && p.parent.Children[0] == p
	}
	return strings.HasPrefix(p.Type, "multipart/") && p.parent == nil && p.Children == nil // damaged: shown as it is
}

// attachments lists the files of a message, and marks the parts that are shown within its text as inline.
func attachments(root *Part) []*Part {
	body := map[*Part]bool{}
	for _, s := range shown(root) {
		body[s.text], body[s.html] = true, true
	}
	var list []*Part
	var walk func(p *Part, related, alternative bool)
	walk = func(p *Part, related, alternative bool) {
		if len(p.Children) > 0 {
			for _, c := range p.Children {
				walk(c, related || p.Type == "multipart/related", p.Type == "multipart/alternative")
			}
			return
		}
		defer func() { list = append(list, p.files...) }()
		switch {
		case body[p]:
			p.Inline = true
		case related && p.ContentID != "" && p.Disposition != "attachment" && strings.HasPrefix(p.Type, "image/"):
			p.Inline = true
		case alternative && len(body) > 0 && p.Type != "text/calendar" && p.Message == nil && strings.HasPrefix(p.Type, "text/"):
			p.Inline = true // another form of what is shown
		default:
			list = append(list, p)
		}
	}
	walk(root, false, false)
	return list
}
