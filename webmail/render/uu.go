package render

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
)

const (
	maxUU     = 20      // files in one text
	maxUUText = 6 << 20 // octets of a text that is looked through for them
)

// uuReader decodes the lines between "begin" and "end" of uuencoded octets.
type uuReader struct {
	r       *bufio.Reader
	line    []byte
	started bool
	ended   bool
}

func (d *uuReader) Read(b []byte) (int, error) {
	for len(d.line) == 0 {
		raw, err := d.r.ReadSlice('\n')
		if len(raw) == 0 && err != nil && err != bufio.ErrBufferFull {
			return 0, err
		}
		raw = bytes.TrimRight(raw, "\r\n")
		switch {
		case d.ended:
		case !d.started:
			_, d.started = uuBegin(string(raw))
		case string(raw) == "end":
			d.ended = true
		default:
			d.line = uuLine(raw)
		}
	}
	n := copy(b, d.line)
	d.line = d.line[n:]
	return n, nil
}

// uuBegin reads "begin 644 name".
func uuBegin(line string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(line, "begin ")
	if !ok {
		return "", false
	}
	mode, name, ok := strings.Cut(rest, " ")
	if !ok || len(mode) < 3 || len(mode) > 5 || strings.Trim(mode, "01234567") != "" || strings.TrimSpace(name) == "" {
		return "", false
	}
	return strings.TrimSpace(name), true
}

// uuLine decodes one line: its length, then groups of four characters for three octets.
func uuLine(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	want := int(raw[0]-' ') & 0x3f
	raw = raw[1:]
	out := make([]byte, 0, want+3)
	for len(out) < want {
		var v uint32
		for i := range 4 {
			c := byte(' ')
			if i < len(raw) {
				c = raw[i]
			}
			v = v<<6 | uint32((c-' ')&0x3f)
		}
		raw = raw[min(4, len(raw)):]
		out = append(out, byte(v>>16), byte(v>>8), byte(v))
	}
	return out[:want]
}

// uuPlausible tells an encoded line from prose: its length fits what it says.
func uuPlausible(line string) bool {
	if line == "" || line[0] < ' ' || line[0] > '`' {
		return line == ""
	}
	want := int(line[0]-' ') & 0x3f
	need := (want + 2) / 3 * 4
	for i := 1; i < len(line); i++ {
		if line[i] < ' ' || line[i] > '`' {
			return false
		}
	}
	return len(line)-1 >= need-3 && len(line)-1 <= need+2
}

// cutUU takes uuencoded files out of text, as mailers from before MIME put them there, and leaves their names.
func cutUU(text string) (rest string, files []uuFile) {
	if !strings.Contains(text, "begin ") {
		return text, nil
	}
	var out strings.Builder
	for text != "" {
		line, after := cutLine(text)
		name, ok := uuBegin(line)
		if ok && len(files) < maxUU {
			if octets, end, ok := uuBlock(after); ok {
				files = append(files, uuFile{name, octets})
				if text = end; strings.HasSuffix(out.String(), "\n\n") { // one empty line is enough
					text = strings.TrimPrefix(text, "\n")
				}
				continue
			}
		}
		out.WriteString(text[:len(text)-len(after)])
		text = after
	}
	return out.String(), files
}

// uuBlock decodes what follows a "begin" line, up to its "end".
func uuBlock(text string) (octets []byte, rest string, ok bool) {
	for text != "" {
		line, after := cutLine(text)
		if line == "end" {
			return octets, after, len(octets) > 0
		}
		if !uuPlausible(line) {
			break
		}
		octets = append(octets, uuLine([]byte(line))...)
		text = after
	}
	return nil, "", false
}

// cutLine takes a line off the front of text, without its end.
func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// openUU finds uuencoded files in a text part; they become files of it.
func (p *parser) openUU(ctx context.Context, part *Part) error {
	left := p.l.Nested - p.nested
	if part.Size > min(left, maxUUText) || part.encoding == "base64" || part.encoding == "quoted-printable" {
		return nil
	}
	s := newSource(ctx, part.body, part.body.Size())
	if found, err := s.contains([]byte("\nbegin ")); err != nil || !found {
		return err
	}
	octets, err := io.ReadAll(part.Open(ctx))
	if err != nil {
		return err
	}
	_, files := cutUU(string(octets))
	for i, f := range files {
		if p.parts >= p.l.Parts {
			break
		}
		p.parts++
		p.nested += int64(len(f.octets))
		name := SafeName(decodeWords(f.name))
		kind := typeByName(name)
		if kind == "" {
			kind = "application/octet-stream"
		}
		file := &Part{ID: part.ID + "." + strconv.Itoa(i+1), Type: kind, Name: name, Disposition: "attachment", Size: int64(len(f.octets)),
			limits: p.l, decoded: f.octets, parent: part}
		p.index[file.ID] = file
		part.files = append(part.files, file)
	}
	return nil
}

type uuFile struct {
	name   string
	octets []byte
}
