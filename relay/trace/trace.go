// Package trace handles what a relay adds to and takes from a message on its way: forged
// Authentication-Results fields go (RFC 8601 5), all other octets stay as they came. The Received field
// itself is made by smtpd.Received, beside the session that it speaks of.
package trace

import (
	"bytes"
	"io"
	"sort"
	"strings"

	"restante/relay/mailaddr"
)

// maxHeader is how much of a message is looked at, in octets. smtpd takes no message with a larger header.
const maxHeader = 1 << 20

// field is the name of the field that Strip looks for, in lower case.
const field = "authentication-results"

// span is a run of octets: from Start up to, not including, End.
type span struct{ Start, End int }

// Strip returns the octets of r, which has size of them, without the Authentication-Results fields that
// claim to be ours, and how many octets that gives. The first skip octets are our own trace fields and are
// left alone. Nothing is read of r but the header; the reader returned reads the rest.
func Strip(r io.ReaderAt, skip, size int64, authservID string) (io.Reader, int64, error) {
	out, n, err := StripAt(r, skip, size, authservID)
	if err != nil {
		return nil, 0, err
	}
	return io.NewSectionReader(out, 0, n), n, nil
}

// StripAt is Strip for who reads more than once: what is judged of a message has to be what is delivered. It
// returns r itself when nothing goes.
func StripAt(r io.ReaderAt, skip, size int64, authservID string) (io.ReaderAt, int64, error) {
	header, _, err := Header(r, skip, size)
	if err != nil {
		return nil, 0, err
	}
	spans := forged(header, authservID)
	if len(spans) == 0 {
		return r, size, nil
	}
	p := &pieces{r: r}
	at := int64(0)
	for _, s := range spans {
		p.add(at, skip+int64(s.Start))
		at = skip + int64(s.End)
	}
	p.add(at, size)
	return p, p.size, nil
}

// pieces are runs of r's octets, one behind the other.
type pieces struct {
	r    io.ReaderAt
	runs []piece
	size int64
}

// piece is a run of octets that begins at from in the source and at at in the whole.
type piece struct{ at, from, n int64 }

func (p *pieces) add(from, to int64) {
	if to > from {
		p.runs = append(p.runs, piece{p.size, from, to - from})
		p.size += to - from
	}
}

// ReadAt implements io.ReaderAt.
func (p *pieces) ReadAt(b []byte, off int64) (int, error) {
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].at+p.runs[i].n > off })
	done := 0
	for ; i < len(p.runs) && done < len(b); i++ {
		run := p.runs[i]
		skip := off + int64(done) - run.at
		part := b[done:min(int64(len(b)), int64(done)+run.n-skip)]
		n, err := p.r.ReadAt(part, run.from+skip)
		done += n
		if n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}

// Header reads the header of a message from skip on: up to its empty line, without that. whole is false when it
// has none within 1 MiB. A message that is in memory isn't copied.
func Header(r io.ReaderAt, skip, size int64) (header []byte, whole bool, err error) {
	if m, ok := r.(interface{ Bytes() ([]byte, bool) }); ok {
		if b, ok := m.Bytes(); ok && skip <= size && size <= int64(len(b)) {
			b = b[skip:min(size, skip+maxHeader)]
			if end := headerEnd(b); end >= 0 {
				return b[:end], true, nil
			}
			return b, false, nil
		}
	}
	for chunk := int64(8 << 10); ; chunk *= 2 {
		n := min(chunk, size-skip, maxHeader)
		if n <= 0 {
			return nil, false, nil
		}
		header = make([]byte, n)
		if got, err := r.ReadAt(header, skip); int64(got) < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, false, err
		}
		if end := headerEnd(header); end >= 0 {
			return header[:end], true, nil
		}
		if n < chunk || n == maxHeader {
			return header, false, nil
		}
	}
}

// headerEnd returns where the header ends, its last CRLF included, or -1 when b holds no empty line.
func headerEnd(b []byte) int {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return 0
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 2
	}
	return -1
}

// forged returns where in a header fields stand that claim the results of authservID, each with its
// continuation lines and last CRLF, in order and not touching anything else. Lines that are no fields are
// stepped over: a lenient reader may do so too. An empty authservID means none.
func forged(header []byte, authservID string) []span {
	if authservID == "" || !hasField(header) {
		return nil
	}
	var spans []span
	for at := 0; at < len(header); {
		end := FieldEnd(header, at)
		if value, ok := results(header[at:end]); ok && sameID(serverID(value), authservID) {
			if n := len(spans); n > 0 && spans[n-1].End == at {
				spans[n-1].End = end
			} else {
				spans = append(spans, span{at, end})
			}
		}
		at = end
	}
	return spans
}

// hasField says quickly that most messages have nothing to look at.
func hasField(header []byte) bool {
	for b := header; len(b) >= len(field); {
		i := bytes.IndexAny(b, "aA")
		if i < 0 || len(b)-i < len(field) {
			return false
		}
		if bytes.EqualFold(b[i:i+len(field)], []byte(field)) {
			return true
		}
		b = b[i+1:]
	}
	return false
}

// FieldEnd returns where the field that begins at ends: behind its last continuation line.
func FieldEnd(b []byte, at int) int {
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return len(b)
		}
		at += i + 1
		if at >= len(b) || b[at] != ' ' && b[at] != '\t' {
			return at
		}
	}
}

// results returns the value of an Authentication-Results field. White space before the colon is
// obsolete (RFC 5322 4.5) but read by many.
func results(f []byte) (string, bool) {
	name, value, ok := bytes.Cut(f, []byte(":"))
	if !ok || !strings.EqualFold(strings.TrimRight(string(name), " \t\r\n"), field) {
		return "", false
	}
	return string(value), true
}

// serverID returns the authserv-id of the value of an Authentication-Results field (RFC 8601 2.2), ""
// if none can be read. It reads more than the grammar allows, since what it misses may be believed by
// somebody: comments anywhere, quoted strings, any octets up to white space, ";" or "(".
func serverID(value string) string {
	s := skipCFWS(value)
	var id strings.Builder
	if strings.HasPrefix(s, `"`) {
		for i := 1; i < len(s) && s[i] != '"'; i++ {
			if s[i] == '\\' && i+1 < len(s) {
				i++
			}
			if s[i] != '\r' && s[i] != '\n' {
				id.WriteByte(s[i])
			}
		}
		return strings.TrimSpace(id.String())
	}
	if i := strings.IndexAny(s, " \t\r\n;("); i >= 0 {
		s = s[:i]
	}
	return s
}

// skipCFWS skips white space and comments, nested ones too (RFC 5322 3.2.2).
func skipCFWS(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0 || c == ' ' || c == '\t' || c == '\r' || c == '\n':
		default:
			return s[i:]
		}
	}
	return ""
}

// sameID compares an authserv-id with ours as domains, in whatever spelling: letters of other widths have 3 octets each. What is
// longer still isn't brought to A-labels, which takes time that grows with the square of it.
func sameID(id, ours string) bool {
	return len(id) <= 4*len(ours) && canonical(id) == canonical(ours)
}

func canonical(id string) string {
	id = strings.TrimSuffix(strings.ToLower(id), ".")
	if d, err := mailaddr.ParseDomain(id); err == nil {
		return d
	}
	return id
}
