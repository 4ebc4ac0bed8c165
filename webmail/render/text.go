package render

import (
	"context"
	"strings"

	"golang.org/x/text/unicode/bidi"
)

const (
	maxQuote = 30     // depth of quotation that is told apart
	maxLines = 20_000 // of one text
)

// Text returns what the message says as plain text: of its text part, or of its HTML when it has no other.
func (m *Message) Text(ctx context.Context) (Text, error) {
	var all Text
	for i, s := range shown(m.Root) {
		if s.said && !all.empty() {
			continue
		}
		p := s.text
		t := Text{}
		if p != nil {
			var err error
			if t, err = TextOf(ctx, p); err != nil {
				return all, err
			}
		}
		if t.empty() && s.html != nil {
			p = s.html
			var err error
			if t, err = TextOf(ctx, p); err != nil {
				return all, err
			}
		}
		if i == 0 {
			all = t
			continue
		}
		all.Blocks = append(all.Blocks, t.Blocks...)
		all.Cut = all.Cut || t.Cut
		all.Odd = append(all.Odd, t.Odd...)
		if len(all.Blocks) > maxLines {
			all.Cut = true
			break
		}
	}
	return all, nil
}

func (t Text) empty() bool { return len(t.Blocks) == 0 }

// TextOf returns one part's text (text/plain or text/html; others as plain text) in blocks.
func TextOf(ctx context.Context, p *Part) (Text, error) {
	t := Text{Part: p.ID}
	if p.Type == "text/html" {
		l, err := load(ctx, p, p.limits.HTML)
		if err != nil {
			return t, err
		}
		lines, odd, err := htmlLines(ctx, l.text, p.limits)
		if err != nil {
			return t, err
		}
		t.FromHTML, t.Cut, t.Odd = true, l.cut, append(l.odd, odd.at(p.ID)...)
		t.Blocks = blocks(lines, &t.Cut)
		return t, nil
	}
	l, err := load(ctx, p, p.limits.Text)
	if err != nil {
		return t, err
	}
	t.Cut, t.Odd = l.cut, l.odd
	text, _ := cutUU(l.text)
	t.Blocks = blocks(textLines(text, p.params), &t.Cut)
	return t, nil
}

// textLine is one line as it is meant, its quotation marks counted and taken off.
type textLine struct {
	quote int
	line  Line
	sig   bool // the line before a signature
}

// textLines takes plain text apart (RFC 3676 when it says that it is flowed).
func textLines(text string, params map[string]string) []textLine {
	flowed := strings.EqualFold(params["format"], "flowed")
	delsp := strings.EqualFold(params["delsp"], "yes")
	var all []textLine
	var open strings.Builder // a paragraph that goes on
	openQuote := -1
	finish := func() {
		if openQuote >= 0 {
			all = append(all, textLine{quote: openQuote, line: linkify(open.String())})
			open.Reset()
			openQuote = -1
		}
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n\t "), "\n") {
		if len(all) > maxLines {
			break
		}
		quote, rest := unquoteLine(line, flowed)
		if rest == "-- " || !flowed && rest == "--" {
			finish()
			all = append(all, textLine{quote: quote, sig: true})
			continue
		}
		if !flowed {
			all = append(all, textLine{quote: quote, line: linkify(strings.TrimRight(rest, " \t"))})
			continue
		}
		if quote != openQuote {
			finish()
		}
		openQuote = quote
		soft := strings.HasSuffix(rest, " ")
		if soft && delsp {
			rest = rest[:len(rest)-1]
		}
		open.WriteString(rest)
		if !soft {
			finish()
		}
	}
	finish()
	return all
}

// unquoteLine counts and removes the marks of quotation, and the space that flowed lines are stuffed with.
func unquoteLine(line string, flowed bool) (quote int, rest string) {
	rest = line
	for strings.HasPrefix(rest, ">") {
		quote++
		rest = rest[1:]
		if !flowed && strings.HasPrefix(rest, " >") { // "> > >"
			rest = rest[1:]
		}
	}
	if flowed || quote > 0 {
		rest = strings.TrimPrefix(rest, " ")
	}
	return min(quote, maxQuote), rest
}

// blocks puts lines together: what is between empty lines, of one depth of quotation.
func blocks(lines []textLine, cut *bool) []Block {
	if len(lines) > maxLines {
		lines, *cut = lines[:maxLines], true
	}
	var all []Block
	var b *Block
	empty := 0
	signature := false
	for _, l := range lines {
		if l.sig {
			signature = l.quote == 0
			b, empty = nil, 0
			continue
		}
		if l.quote > 0 {
			signature = false
		}
		if len(l.line) == 0 {
			empty++
			continue
		}
		if b == nil || empty > 0 || b.Quote != l.quote || b.Signature != signature {
			for ; b != nil && empty > 1 && empty < 10; empty-- { // room that was meant
				b.Lines = append(b.Lines, nil)
			}
			all = append(all, Block{Quote: l.quote, Signature: signature})
			b = &all[len(all)-1]
		}
		empty = 0
		b.Lines = append(b.Lines, l.line)
		if b.Dir == "" {
			b.Dir = direction(l.line)
		}
	}
	return all
}

// direction is that of the first strong character (UAX 9 P2, P3).
func direction(line Line) string {
	for _, s := range line {
		for _, r := range s.Text {
			p, _ := bidi.LookupRune(r)
			switch p.Class() {
			case bidi.L:
				return "ltr"
			case bidi.R, bidi.AL:
				return "rtl"
			}
		}
	}
	return ""
}

// String returns the text as plain lines, quotations marked by ">" (RFC 3676 4.5), blocks apart by empty lines.
func (t Text) String() string {
	var out strings.Builder
	for i, b := range t.Blocks {
		mark := strings.Repeat(">", b.Quote)
		if i > 0 {
			out.WriteString(strings.Repeat(">", min(b.Quote, t.Blocks[i-1].Quote)))
			out.WriteByte('\n')
		}
		if b.Signature && (i == 0 || !t.Blocks[i-1].Signature) {
			out.WriteString("-- \n")
		}
		for _, l := range b.Lines {
			out.WriteString(mark)
			if mark != "" && len(l) > 0 {
				out.WriteByte(' ')
			}
			out.WriteString(l.String())
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// String returns the line as plain text; a link that its text doesn't name follows in <>.
func (l Line) String() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.Text)
		if s.URL != "" && s.Host != "" && s.URL != s.Text {
			b.WriteString(" <" + s.URL + ">")
		}
	}
	return b.String()
}
