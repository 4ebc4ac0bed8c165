package render

import (
	"bytes"
	"context"
	"io"
	"maps"
)

const (
	scanWindow  = 128 << 10 // octets looked at together
	maxBoundary = 200       // RFC 2046 5.1.1 says 70; some write more
	maxDashes   = 5_000_000 // lines of a message that start with "--" and are compared with the boundaries
)

// source gives windows of a message, so that a line of any length costs no more memory than a window.
type source struct {
	ctx context.Context
	r   io.ReaderAt
	end int64 // nothing is read from here on

	buf    []byte
	off    int64 // of buf in r
	n      int   // octets in buf
	dashes int   // lines compared so far
}

func newSource(ctx context.Context, r io.ReaderAt, end int64) *source {
	return &source{ctx: ctx, r: r, end: end, buf: make([]byte, max(min(scanWindow, end), 1))}
}

// at returns the octets from pos on: at least want of them (want is well under a window), fewer at the end only.
func (s *source) at(pos int64, want int) ([]byte, error) {
	if pos >= s.end {
		return nil, nil
	}
	want = int(min(int64(want), s.end-pos))
	if pos >= s.off && pos+int64(want) <= s.off+int64(s.n) {
		return s.buf[pos-s.off : s.n], nil
	}
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	size := int(min(int64(len(s.buf)), s.end-pos))
	n, err := s.r.ReadAt(s.buf[:size], pos)
	s.off, s.n = pos, n
	if n < size && err != nil && err != io.EOF {
		s.n = 0
		return nil, err
	}
	if n < size { // shorter than we were told: that is the end then
		s.end = pos + int64(n)
	}
	return s.buf[:n], nil
}

// delimiter is a line that separates parts, or the end of everything (level -1).
type delimiter struct {
	level int   // index of its boundary in boundaries
	last  bool  // "--boundary--"
	start int64 // of the line
	next  int64 // of the line after it
}

// boundaries are those of the multiparts that are open.
type boundaries struct {
	levels map[string]int // the innermost where one is used twice
	depth  int
}

// with adds one inside of the others.
func (b boundaries) with(boundary string) boundaries {
	levels := maps.Clone(b.levels)
	if levels == nil {
		levels = map[string]int{}
	}
	levels[boundary] = b.depth
	return boundaries{levels, b.depth + 1}
}

// match says whether the line (without its end) is a delimiter, and of which level.
func (b boundaries) match(line []byte) (level int, last, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("--"))
	if !ok || b.depth == 0 {
		return 0, false, false
	}
	rest = bytes.TrimRight(rest, " \t\r")
	if len(rest) == 0 || len(rest) > maxBoundary+2 {
		return 0, false, false
	}
	if level, ok = b.levels[string(rest)]; ok {
		return level, false, true
	}
	if text, dashes := bytes.CutSuffix(rest, []byte("--")); dashes {
		if level, ok = b.levels[string(text)]; ok {
			return level, true, true
		}
	}
	return 0, false, false
}

// next returns the first delimiter at or after pos, which is the start of a line.
func (s *source) next(pos int64, b boundaries) (delimiter, error) {
	end := delimiter{level: -1, start: s.end, next: s.end}
	if b.depth == 0 {
		return end, nil
	}
	for first := true; ; first = false {
		w, err := s.at(pos, 3)
		if err != nil || len(w) < 3 {
			end.start, end.next = s.end, s.end
			return end, err
		}
		if !first || !bytes.HasPrefix(w, []byte("--")) {
			i := bytes.Index(w, []byte("\n--"))
			if i < 0 { // its beginning may be at the window's end
				pos += int64(len(w) - 2)
				continue
			}
			pos += int64(i) + 1
		}
		line, next, err := s.line(pos, maxBoundary+8)
		if s.dashes++; err != nil || s.dashes > maxDashes {
			return end, err
		}
		if level, last, ok := b.match(line); ok {
			return delimiter{level: level, last: last, start: pos, next: next}, nil
		}
	}
}

// line returns the line at pos without its LF, and where the next one starts. A line longer than most is cut
// there, and next is then where it was cut.
func (s *source) line(pos int64, most int) (line []byte, next int64, err error) {
	w, err := s.at(pos, most+1)
	if err != nil {
		return nil, pos, err
	}
	if i := bytes.IndexByte(w[:min(len(w), most+1)], '\n'); i >= 0 {
		return w[:i], pos + int64(i) + 1, nil
	}
	w = w[:min(len(w), most)]
	return w, pos + int64(len(w)), nil
}

// before returns pos less the line end before it, which belongs to the delimiter line at pos (RFC 2046 5.1.1).
func (s *source) before(start, pos int64) (int64, error) {
	if pos <= start {
		return start, nil
	}
	from := max(start, pos-2)
	w, err := s.at(from, int(pos-from))
	if err != nil || int64(len(w)) < pos-from {
		return pos, err
	}
	w = w[:pos-from]
	switch {
	case bytes.HasSuffix(w, []byte("\r\n")):
		return pos - 2, nil
	case bytes.HasSuffix(w, []byte("\n")):
		return pos - 1, nil
	}
	return pos, nil
}

// paragraph returns where the first empty line at or after pos ends, or the end.
func (s *source) paragraph(pos int64) (int64, error) {
	for {
		w, err := s.at(pos, 4)
		if err != nil || len(w) < 2 {
			return s.end, err
		}
		i := bytes.Index(w, []byte("\n\n"))
		if j := bytes.Index(w, []byte("\n\r\n")); j >= 0 && (i < 0 || j < i) {
			return pos + int64(j) + 3, nil
		}
		if i >= 0 {
			return pos + int64(i) + 2, nil
		}
		if len(w) < 4 {
			return s.end, nil
		}
		pos += int64(len(w) - 2)
	}
}

// contains says whether the octets occur.
func (s *source) contains(what []byte) (bool, error) {
	for pos := int64(0); ; {
		w, err := s.at(pos, len(what))
		if err != nil || len(w) < len(what) {
			return false, err
		}
		if bytes.Contains(w, what) {
			return true, nil
		}
		pos += int64(len(w) - len(what) + 1)
	}
}
