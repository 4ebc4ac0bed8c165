package render

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
)

// Open returns the decoded octets of p, at most Limits.Decoded of them. Damage is passed over, never an error;
// reading fails only when the message can't be read or ctx ends.
func (p *Part) Open(ctx context.Context) io.Reader {
	return p.open(ctx, p.limits.Scan)
}

// open reads at most so many encoded octets: some decode to nothing.
func (p *Part) open(ctx context.Context, raw int64) io.Reader {
	if p.decoded != nil {
		return io.LimitReader(&ctxReader{ctx, bytes.NewReader(p.decoded)}, p.limits.Decoded)
	}
	if p.body == nil {
		return bytes.NewReader(nil)
	}
	encoded := &ctxReader{ctx, io.NewSectionReader(p.body, 0, min(p.body.Size(), raw))}
	return io.LimitReader(decoder(encoded, p.encoding), p.limits.Decoded)
}

// ctxReader ends when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// decoder undoes a transfer encoding (RFC 2045 6). What it doesn't know it leaves as it is.
func decoder(r io.Reader, encoding string) io.Reader {
	switch encoding {
	case "base64":
		b := bufio.NewReaderSize(r, 8<<10)
		if head, _ := b.Peek(4 << 10); !looksBase64(head) {
			return b
		}
		return bufio.NewReaderSize(&base64Reader{r: b}, 4<<10) // which never asks for less than a group
	case "quoted-printable":
		return &qpReader{r: bufio.NewReaderSize(r, 8<<10)}
	case "x-uuencode", "x-uue", "uuencode", "uue":
		return &uuReader{r: bufio.NewReaderSize(r, 8<<10)}
	}
	return r
}

// transferEncoding normalises what the field says; known tells whether it means anything to us.
func transferEncoding(value string) (encoding string, known bool) {
	encoding, _, _ = strings.Cut(strings.ToLower(value), ";")
	if i := strings.IndexByte(encoding, '('); i >= 0 {
		encoding = encoding[:i]
	}
	encoding = strings.Trim(encoding, " \t\"'")
	switch encoding {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "x-uue", "uuencode", "uue":
		return encoding, true
	case "7-bit", "8-bit", "none", "7 bit", "8 bit":
		return "", true
	case "quoted_printable", "quotedprintable", "q":
		return "quoted-printable", true
	case "base-64", "b":
		return "base64", true
	}
	return encoding, false
}

// base64Value returns the value of a digit of either alphabet (RFC 4648 4 and 5), -1 for anything else.
func base64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return -1
}

// looksBase64 tells base64 from text that is only called so: words have spaces and punctuation between them.
func looksBase64(head []byte) bool {
	bad := 0
	for _, c := range head {
		if base64Value(c) < 0 && c != '=' && c != '\r' && c != '\n' {
			bad++
		}
	}
	return bad*10 <= len(head)
}

// base64Reader decodes and passes over what is no digit. A "=" ends a group and what follows starts anew: some
// senders join files that were encoded one by one. It wants room for three octets.
type base64Reader struct {
	r    *bufio.Reader
	bits uint32
	n    int // digits in bits
}

func (d *base64Reader) Read(b []byte) (int, error) {
	n := 0
	for n+3 <= len(b) {
		c, err := d.r.ReadByte()
		if err != nil {
			n += d.flush(b[n:])
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if c == '=' {
			n += d.flush(b[n:])
			continue
		}
		v := base64Value(c)
		if v < 0 {
			continue
		}
		d.bits = d.bits<<6 | uint32(v)
		if d.n++; d.n == 4 {
			b[n], b[n+1], b[n+2] = byte(d.bits>>16), byte(d.bits>>8), byte(d.bits)
			n += 3
			d.bits, d.n = 0, 0
		}
	}
	return n, nil
}

// flush writes the octets of an unfinished group.
func (d *base64Reader) flush(b []byte) (n int) {
	switch d.n {
	case 2:
		b[0], n = byte(d.bits>>4), 1
	case 3:
		b[0], b[1], n = byte(d.bits>>10), byte(d.bits>>2), 2
	}
	d.bits, d.n = 0, 0
	return n
}

// qpReader decodes quoted-printable (RFC 2045 6.7). What is no code stays as it is.
type qpReader struct {
	r    *bufio.Reader
	line []byte // decoded, not yet given
	buf  []byte
}

func (d *qpReader) Read(b []byte) (int, error) {
	for len(d.line) == 0 {
		raw, err := d.r.Peek(max(d.r.Buffered(), 1))
		if bytes.IndexByte(raw, '\n') < 0 {
			raw, err = d.r.Peek(d.r.Size())
		}
		if len(raw) == 0 {
			return 0, err
		}
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			raw = raw[:i+1]
		} else if i := bytes.LastIndexByte(raw, '='); err == nil && i >= len(raw)-2 && i > 0 {
			raw = raw[:i] // a code that is cut: for the next turn
		}
		d.buf = qpLine(d.buf[:0], raw)
		d.line = d.buf
		if _, err := d.r.Discard(len(raw)); err != nil {
			return 0, err
		}
	}
	n := copy(b, d.line)
	d.line = d.line[n:]
	return n, nil
}

// qpLine appends a decoded line to out.
func qpLine(out, raw []byte) []byte {
	text := bytes.TrimRight(raw, "\r\n")
	end := raw[len(text):]
	if len(end) > 0 {
		text = bytes.TrimRight(text, " \t") // put there on the way
		if bytes.HasSuffix(text, []byte("=")) {
			text, end = text[:len(text)-1], nil
		}
	}
	for i := 0; i < len(text); i++ {
		if text[i] == '=' && i+2 < len(text) {
			if v, ok := unhex(text[i+1], text[i+2]); ok {
				out = append(out, v)
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return append(out, end...)
}
