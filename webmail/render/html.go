package render

import (
	"bytes"
	"context"
	"html"
	"slices"
	"strconv"
	"strings"
)

const maxSections = 50 // stretches of text and HTML shown one after the other

// HTML returns the document for the sandboxed frame. A message without an HTML part gives its text as a document.
func (m *Message) HTML(ctx context.Context, o HTMLOptions) (Frame, error) {
	if o.ImageBlocked == "" {
		o.ImageBlocked = "Remote image"
	}
	b := &builder{ctx: ctx, m: m, o: o, l: m.limits, sheet: newSheet()}
	for i, s := range shown(m.Root) {
		if i >= maxSections {
			b.odd = append(b.odd, Oddity{OddCut, "", ""})
			break
		}
		if i > 0 {
			b.out.WriteString(`<div class="rpart">`)
		}
		if err := b.section(s); err != nil {
			return Frame{}, err
		}
		if i > 0 {
			b.out.WriteString("</div>")
		}
	}
	f := NewFrame(b.out.Bytes(), b.sheet.bytes(), o)
	f.Blocked = b.blocked + b.sheet.blocked
	f.Lines = max(b.height.lines(), 1)
	f.Odd = slices.Compact(b.odd)
	return f, nil
}

// builder makes one document.
type builder struct {
	ctx    context.Context
	m      *Message
	o      HTMLOptions
	l      Limits
	out    bytes.Buffer
	sheet  *sheet
	height height

	named    map[string]*Part // by Content-ID, by "/" and file name, by "@" and location
	refused  map[*Part]bool   // no images
	images   int64            // octets of images so far
	elements int
	blocked  int
	odd      []Oddity
}

// section writes HTML if there is any that can be read, else text.
func (b *builder) section(s section) error {
	if s.html != nil {
		done, err := b.html(s.html)
		if done || err != nil {
			return err
		}
	}
	p := s.text
	if p == nil {
		p = s.html
	}
	t, err := TextOf(b.ctx, p)
	if err != nil {
		return err
	}
	b.odd = append(b.odd, t.Odd...)
	b.text(t)
	return nil
}

// html writes the sanitised HTML of a part; done is false when there is nothing in it, or it can't be read.
func (b *builder) html(p *Part) (done bool, err error) {
	l, err := load(b.ctx, p, b.l.HTML)
	if err != nil || strings.TrimSpace(l.text) == "" {
		return false, err
	}
	root, err := parseHTML(b.ctx, l.text)
	if err != nil {
		b.odd = append(b.odd, Oddity{OddHTML, p.ID, ""})
		return false, b.ctx.Err()
	}
	b.odd = append(b.odd, l.odd...)
	s := &sanitiser{b: b, part: p}
	s.document(root)
	return true, b.ctx.Err()
}

// text writes plain text as HTML.
func (b *builder) text(t Text) {
	b.out.WriteString(`<div class="rtext">`)
	quote := 0
	to := func(depth int) {
		for ; quote < depth; quote++ {
			b.out.WriteString("<blockquote>")
		}
		for ; quote > depth; quote-- {
			b.out.WriteString("</blockquote>")
		}
	}
	for _, block := range t.Blocks {
		to(block.Quote)
		b.out.WriteString("<p")
		if block.Signature {
			b.out.WriteString(` class="rsig"`)
		}
		if block.Dir != "" {
			b.out.WriteString(` dir="` + block.Dir + `"`)
		}
		b.out.WriteString(">")
		for i, line := range block.Lines {
			if i > 0 {
				b.out.WriteString("\n")
			}
			for _, s := range line {
				b.span(s)
			}
			b.height.newline()
		}
		b.out.WriteString("</p>")
		b.height.gap()
	}
	to(0)
	b.out.WriteString("</div>")
}

func (b *builder) span(s Span) {
	b.height.text(len(s.Text))
	if s.URL == "" {
		b.out.WriteString(html.EscapeString(s.Text))
		return
	}
	b.out.WriteString(`<a href="` + html.EscapeString(b.href(s.URL)) + `" target="_blank" rel="noopener noreferrer nofollow">`)
	b.out.WriteString(html.EscapeString(s.Text) + "</a>")
	b.hint(s.Host)
}

// hint shows where a link leads.
func (b *builder) hint(host string) {
	if host != "" {
		b.out.WriteString(`<span class="rhost" dir="ltr">→ ` + html.EscapeString(host) + "</span>")
	}
}

// href is what a safe link becomes: mail is written here, if that is wished.
func (b *builder) href(link string) string {
	if b.o.Mailto != "" && strings.HasPrefix(link, "mailto:") {
		return b.o.Mailto + strings.NewReplacer("%", "%25", "&", "%26", "#", "%23", "+", "%2B", "?", "%3F", "=", "%3D").Replace(link)
	}
	return link
}

// placeholder stands where an image would have been loaded from elsewhere.
func (b *builder) placeholder(alt string, width, height int) {
	b.blocked++
	alt = cutString(oneLine(alt), 300)
	if width > 0 && width <= 3 || height > 0 && height <= 3 || alt == "" && width > 0 && width < 16 && height > 0 && height < 16 {
		return // it was there to count readers, or to keep others apart
	}
	class := "rblocked"
	if width > 24 {
		class += " " + b.sheet.class("width:"+strconv.Itoa(min(width, 1200))+"px")
	}
	if height > 24 {
		class += " " + b.sheet.class("min-height:"+strconv.Itoa(min(height, 120))+"px")
	}
	words := b.o.ImageBlocked
	if alt != "" {
		words += ": " + alt
	}
	b.out.WriteString(`<span class="` + class + `" role="img" aria-label="` + html.EscapeString(words) + `">`)
	if alt == "" {
		alt = b.o.ImageBlocked
	}
	b.out.WriteString(html.EscapeString(alt) + "</span>")
	b.height.text(len(alt))
	b.height.tall(min(height, 120))
}

// height estimates how high a document is, in lines of text.
type height struct {
	full   int // lines that are ended
	column int // octets on the open line
	pixels int // of the highest thing on the open line
}

const lineOctets = 100 // about as many fit on a line of the reading pane

func (h *height) text(octets int) { h.column += octets }
func (h *height) tall(pixels int) { h.pixels = max(h.pixels, pixels) }

func (h *height) newline() {
	n := (h.column + lineOctets - 1) / lineOctets
	h.full += max(n, (h.pixels+22)/23)
	h.column, h.pixels = 0, 0
}

func (h *height) gap() {
	h.newline()
	h.full++
}

func (h *height) lines() int {
	h.newline()
	return h.full
}
