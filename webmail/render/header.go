package render

import (
	"bytes"
	"strings"
)

const (
	maxName = 100 // octets of a field's name; longer ones are no names
	maxJunk = 20  // lines in a header that are no fields, before the header counts as ended
)

// Get returns the value of the first field of that name, raw, "" if there is none.
func (f Fields) Get(name string) string {
	for _, x := range f {
		if strings.EqualFold(x.Name, name) {
			return x.Value
		}
	}
	return ""
}

// Values returns the values of all fields of that name, raw.
func (f Fields) Values(name string) []string {
	var all []string
	for _, x := range f {
		if strings.EqualFold(x.Name, name) {
			all = append(all, x.Value)
		}
	}
	return all
}

// header is what readHeader found.
type header struct {
	fields Fields
	body   int64      // where the body starts
	ended  *delimiter // the header ran into this line: there is no body
	junk   bool       // lines were passed over
	cut    bool       // it was too long
	none   bool       // not one field
}

// readHeader reads the header at pos: up to an empty line, a delimiter of the multiparts around, or something
// that can't be a header any more.
func (s *source) readHeader(pos int64, b boundaries, most int64, fields int) (h header, err error) {
	var value []byte // of the last field, which may go on
	defer func() {
		if n := len(h.fields); n > 0 {
			h.fields[n-1].Value = string(value)
		}
	}()
	h.body = pos
	limit, junk := pos+most, 0
	for {
		line, next, err := s.line(h.body, scanWindow/2)
		if err != nil {
			return h, err
		}
		if next == h.body { // the end of the message
			break
		}
		if level, last, ok := b.match(line); ok {
			h.ended = &delimiter{level: level, last: last, start: h.body, next: next}
			break
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			h.body = next
			break
		}
		if next > limit || len(h.fields) >= fields {
			h.cut = true
			if h.body, err = s.paragraph(max(h.body-1, pos)); err != nil {
				return h, err
			}
			break
		}
		name, text, isField := cutField(line)
		switch {
		case isField:
			if n := len(h.fields); n > 0 {
				h.fields[n-1].Value = string(value)
			}
			h.fields, value = append(h.fields, Field{Name: name}), append(value[:0], text...)
		case (line[0] == ' ' || line[0] == '\t') && len(h.fields) > 0:
			value = append(append(value, ' '), bytes.Trim(line, " \t")...)
		case h.body == pos && bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From ")):
			// the separator of a mailbox file
		case len(h.fields) == 0 && junk == 0:
			h.none = true
			return h, nil // no header: this is the body
		default:
			h.junk = true
			if junk++; junk > maxJunk || !s.headerFollows(next) {
				return h, nil // the body, without an empty line before it
			}
		}
		h.body = next
	}
	h.none = len(h.fields) == 0
	return h, nil
}

// headerFollows says whether the line at pos could be of a header.
func (s *source) headerFollows(pos int64) bool {
	line, next, err := s.line(pos, 1000)
	if err != nil || next == pos {
		return false
	}
	_, _, ok := cutField(bytes.TrimSuffix(line, []byte("\r")))
	return ok
}

// cutField splits a line into name and value. Space before the colon is obsolete, not wrong (RFC 5322 4.5).
func cutField(line []byte) (name string, value []byte, ok bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || i > maxName {
		return "", nil, false
	}
	n := bytes.TrimRight(line[:i], " \t")
	if len(n) == 0 {
		return "", nil, false
	}
	for _, c := range n {
		if c <= ' ' || c > '~' {
			return "", nil, false
		}
	}
	return string(n), bytes.Trim(line[i+1:], " \t"), true
}
