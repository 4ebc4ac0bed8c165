package render

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
)

const (
	maxOdd      = 100 // oddities that are kept
	maxGuesses  = 3   // multiparts of a message whose boundary is looked for a second time
	maxDecoding = 5   // levels of messages within encoded messages
)

// Parse reads the structure of the message of size octets in r. It fails only when r does or ctx ends: every
// input is a message, and what was wrong with it is in Odd. r must stay readable as long as the parts are used.
func Parse(ctx context.Context, r io.ReaderAt, size int64, l Limits) (*Message, error) {
	l = l.orDefault()
	p := &parser{l: l, index: partIndex{}}
	s := newSource(ctx, r, min(max(size, 0), l.Scan))
	m, _, err := p.message(s, place{id: "1"})
	if err != nil {
		return nil, err
	}
	if size > l.Scan {
		p.note(OddSize, "", "")
	}
	m.Odd = p.odd
	m.parts = p.index
	return m, nil
}

// parser holds what one call of Parse has used up.
type parser struct {
	l       Limits
	parts   int
	headers int64
	nested  int64
	guesses int
	full    bool // no more parts
	odd     []Oddity
	index   partIndex
}

// place says where in the tree something is read.
type place struct {
	pos      int64
	id       string
	depth    int
	decoding int // levels of decoded messages around it
	around   boundaries
	parent   *Part
	digest   bool // parts are messages unless they say otherwise (RFC 2046 5.1.5)
}

func (p *parser) note(code, part, detail string) {
	o := Oddity{code, part, cutString(oneLine(strings.ToValidUTF8(detail, "?")), 100)}
	if len(p.odd) < maxOdd && !slices.Contains(p.odd, o) {
		p.odd = append(p.odd, o)
	}
}

// header reads one header within what is left for all.
func (p *parser) header(s *source, at place) (header, error) {
	most := min(p.l.Header, p.l.HeaderTotal-p.headers)
	h, err := s.readHeader(at.pos, at.around, most, p.l.Fields)
	p.headers += min(h.body-at.pos, most)
	if h.cut {
		p.note(OddHeaderSize, at.id, "")
	}
	if h.junk {
		p.note(OddHeader, at.id, "")
	}
	return h, err
}

// message reads a message: its fields, then its root part, up to the delimiter that it returns.
func (p *parser) message(s *source, at place) (*Message, delimiter, error) {
	h, err := p.header(s, at)
	if err != nil {
		return nil, delimiter{}, err
	}
	m := &Message{Header: h.fields, HeaderSize: h.body - at.pos, limits: p.l}
	if h.none && h.ended == nil {
		p.note(OddNoHeader, at.id, "")
	}
	p.fields(m, at.id)
	root, d, err := p.part(s, at, h)
	if err != nil {
		return nil, delimiter{}, err
	}
	m.Root = root
	m.parts = p.index
	m.Attachments = attachments(root)
	return m, d, nil
}

// part reads one part whose header has been read.
func (p *parser) part(s *source, at place, h header) (*Part, delimiter, error) {
	p.parts++
	part := &Part{ID: at.id, limits: p.l, parent: at.parent}
	p.index[part.ID] = part
	p.describe(part, h.fields, at.digest)
	if h.ended != nil {
		part.body = io.NewSectionReader(s.r, h.body, 0)
		return part, *h.ended, nil
	}
	at.pos = h.body
	multi := strings.HasPrefix(part.Type, "multipart/")
	inner := part.Type == "message/rfc822" || part.Type == "message/global" || part.Type == "message/news"
	if (multi || inner) && at.depth >= p.l.Depth {
		p.note(OddDepth, at.id, "")
		multi, inner = false, false
	}
	switch {
	case multi:
		d, ok, err := p.multipart(s, at, part)
		if ok || err != nil {
			return part, d, err
		}
	case inner && (part.encoding != "base64" && part.encoding != "quoted-printable"):
		at.depth++
		at.parent, at.digest = part, false
		start := at.pos
		at.id += ".1"
		m, d, err := p.message(s, at)
		if err != nil {
			return nil, d, err
		}
		part.Message = m
		part.encoding = ""
		return part, d, p.region(s, part, start, d)
	}
	d, err := s.next(at.pos, at.around)
	if err != nil {
		return nil, d, err
	}
	if err := p.region(s, part, at.pos, d); err != nil {
		return nil, d, err
	}
	switch {
	case inner:
		err = p.decodeNested(s.ctx, at, part)
	case part.Type == "application/ms-tnef" || part.Type == "application/vnd.ms-tnef" || strings.EqualFold(part.Name, "winmail.dat"):
		err = p.openTNEF(s.ctx, part)
	case part.Type == "text/plain" && part.Name == "":
		err = p.openUU(s.ctx, part)
	}
	return part, d, err
}

// region sets the octets of a part: from start up to the delimiter d.
func (p *parser) region(s *source, part *Part, start int64, d delimiter) error {
	end := d.start
	if d.level >= 0 {
		var err error
		if end, err = s.before(start, end); err != nil {
			return err
		}
	}
	part.body = io.NewSectionReader(s.r, start, max(end-start, 0))
	part.Size = decodedSize(part.body.Size(), part.encoding)
	return nil
}

// decodedSize estimates: lines of 76 characters of base64 hold 57 octets.
func decodedSize(n int64, encoding string) int64 {
	if encoding == "base64" {
		return n * 57 / 78
	}
	return n
}

// multipart reads the children of part. ok is false when there are none and part is to be shown as it is.
func (p *parser) multipart(s *source, at place, part *Part) (d delimiter, ok bool, err error) {
	boundary := part.params["boundary"]
	if len(boundary) > maxBoundary {
		boundary = ""
	}
	if boundary = strings.TrimRight(boundary, " \t"); boundary == "" {
		if boundary = p.guessBoundary(s, at); boundary == "" {
			p.note(OddBoundary, at.id, "")
			return d, false, nil
		}
		p.note(OddBoundary, at.id, "")
	}
	at.parent = part
	at.depth++
	at.digest = part.Type == "multipart/digest"
	outer := at.around
	at.around = outer.with(boundary)
	d, err = s.next(at.pos, at.around)
	if err != nil {
		return d, false, err
	}
	if d.level != outer.depth || d.last {
		return p.wrongBoundary(s, at, part, d, boundary, outer)
	}
	d, err = p.children(s, at, part, d, outer)
	return d, true, err
}

// wrongBoundary is for a multipart in which its boundary doesn't occur: another one is looked for, a few times.
func (p *parser) wrongBoundary(s *source, at place, part *Part, d delimiter, boundary string, outer boundaries) (delimiter, bool, error) {
	p.note(OddBoundary, part.ID, "")
	if d.last && d.level == outer.depth { // "--x--" at once: an empty multipart
		var err error
		if d, err = s.next(d.next, outer); err != nil {
			return d, false, err
		}
		return d, false, nil
	}
	if p.guesses++; p.guesses > maxGuesses {
		return d, false, nil
	}
	other := p.guessBoundary(s, place{pos: at.pos, around: outer})
	if other == "" || other == boundary {
		return d, false, nil
	}
	at.around = outer.with(other)
	d, err := s.next(at.pos, at.around)
	if err != nil || d.level != outer.depth || d.last {
		return d, false, err
	}
	d, err = p.children(s, at, part, d, outer)
	return d, true, err
}

// children reads parts from the delimiter d on, to the one that ends the multipart's surroundings.
func (p *parser) children(s *source, at place, part *Part, d delimiter, outer boundaries) (delimiter, error) {
	own := at.around.depth - 1
	for n := 1; d.level == own && !d.last; n++ {
		if p.parts >= p.l.Parts {
			if !p.full {
				p.note(OddParts, "", strconv.Itoa(p.l.Parts))
			}
			p.full = true
			return delimiter{level: -1, start: d.start, next: s.end}, nil
		}
		child := at
		child.pos, child.id = d.next, at.id+"."+strconv.Itoa(n)
		h, err := p.header(s, child)
		if err != nil {
			return d, err
		}
		c, next, err := p.part(s, child, h)
		if err != nil {
			return d, err
		}
		part.Children = append(part.Children, c)
		d = next
	}
	if d.level == own { // what follows the last delimiter is for nobody (RFC 2046 5.1.1)
		return s.next(d.next, outer)
	}
	if !p.full {
		p.note(OddTruncated, "", "")
	}
	return d, nil
}

// guessBoundary finds a boundary by its looks: the first line "--x" that a header follows.
func (p *parser) guessBoundary(s *source, at place) string {
	pos := at.pos
	for range 2000 {
		line, next, err := s.line(pos, 1000)
		if err != nil || next == pos {
			return ""
		}
		line = bytes.TrimRight(line, " \t\r")
		if _, _, outer := at.around.match(line); outer {
			return ""
		}
		if rest, ok := bytes.CutPrefix(line, []byte("--")); ok && len(rest) > 2 && len(rest) <= maxBoundary && !bytes.ContainsAny(rest, " \t") {
			head, _, err := s.line(next, 1000)
			if err != nil {
				return ""
			}
			if len(head) >= 8 && strings.EqualFold(string(head[:8]), "content-") {
				return string(rest)
			}
		}
		pos = next
	}
	return ""
}

// decodeNested reads a message that was encoded, which RFC 2046 5.2.1 forbids and some do, into memory.
func (p *parser) decodeNested(ctx context.Context, at place, part *Part) error {
	left := p.l.Nested - p.nested
	if left <= 0 || at.decoding >= maxDecoding || p.full {
		p.note(OddDepth, part.ID, "")
		return nil
	}
	octets, err := io.ReadAll(io.LimitReader(part.Open(ctx), left))
	if err != nil {
		return err
	}
	p.nested += int64(len(octets))
	part.decoded = octets
	part.Size = int64(len(octets))
	inner := place{id: part.ID + ".1", depth: at.depth + 1, decoding: at.decoding + 1, parent: part}
	m, _, err := p.message(newSource(ctx, bytes.NewReader(octets), int64(len(octets))), inner)
	part.Message = m
	return err
}
