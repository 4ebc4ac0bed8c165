package compose

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"path"
	"regexp"
	"strings"
	"time"
)

// Message is what Build makes a message of. Those who get a blind copy are no part of it.
type Message struct {
	ID          string    // message-id; see NewMessageID
	Date        time.Time // in the zone of its writer
	From        Person
	ReplyTo     []Person
	To, Cc      []Person
	Subject     string
	Text        string // UTF-8, one line a paragraph
	InReplyTo   string
	References  []string
	Attachments []Attachment
	Auto        bool // written by a program: nobody's vacation answers it (RFC 3834 5)

	// Unsent is a draft to be gone on with in another mail program: marked as such ("X-Unsent: 1", which Outlook
	// and others know), with Bcc, and without whoever it lacks.
	Unsent bool
	Bcc    []Person
}

// Attachment is a file that goes with a message.
type Attachment struct {
	Name string
	Type string // as the browser said; only a sane one is used
	Size int64  // octets, for estimates
	Open func() (io.ReadCloser, error)
}

// Errors of Build, which say what the caller must change.
var (
	ErrFrom = errors.New("no usable From address")
	ErrText = errors.New("the text is too long")
	ErrMany = errors.New("too many attachments")
	ErrSize = errors.New("the message is too large")
)

// NewMessageID returns a fresh message-id, without brackets, in the domain of the sender (RFC 5322 3.6.4).
func NewMessageID(from string) string {
	domain := Domain(from)
	if domain == "" {
		domain = "localhost.invalid"
	}
	return random(16) + "@" + domain
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// EncodedSize is how many octets an attachment of n octets takes in a message: base64 in lines of 76.
func EncodedSize(n int64) int64 {
	e := (n + 2) / 3 * 4
	return e + (e+75)/76*2
}

// Build returns the message: RFC 5322, CRLF, 7-bit, lines of at most 998 octets; ErrSize when it is over max octets.
func (m Message) Build(max int64) ([]byte, error) {
	if _, why := CleanAddress(m.From.Addr); why != "" && !m.Unsent {
		return nil, ErrFrom
	}
	if len(m.Text) > MaxText {
		return nil, ErrText
	}
	if len(m.Attachments) > MaxAttachments {
		return nil, ErrMany
	}
	var h header
	h.field("Date", m.Date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	h.people("From", []Person{m.From})
	h.people("Reply-To", m.ReplyTo)
	h.people("To", m.To)
	h.people("Cc", m.Cc)
	if m.Unsent {
		h.people("Bcc", m.Bcc)
		h.field("X-Unsent", "1")
	} else if len(m.To)+len(m.Cc) == 0 {
		h.field("To", "undisclosed-recipients:;") // RFC 5322 3.6.3: some servers want one of them
	}
	h.ids("Message-ID", m.ID)
	h.ids("In-Reply-To", m.InReplyTo)
	h.ids("References", m.References...)
	h.text("Subject", cut(oneLine(m.Subject), MaxSubject))
	if m.Auto {
		h.field("Auto-Submitted", "auto-generated")
	}
	h.field("MIME-Version", "1.0")
	out := &capped{max: max}
	io.WriteString(out, h.String())
	if err := m.body(out); err != nil {
		return nil, err
	}
	if out.over {
		return nil, ErrSize
	}
	return out.Bytes(), nil
}

func (m Message) body(out *capped) error {
	if len(m.Attachments) == 0 {
		writeText(out, m.Text)
		return nil
	}
	boundary := "=_" + random(20) // "=_" can't occur in quoted-printable or base64
	fmt.Fprintf(out, "Content-Type: multipart/mixed;\r\n boundary=\"%s\"\r\n\r\n", boundary)
	fmt.Fprintf(out, "--%s\r\n", boundary)
	writeText(out, m.Text)
	for _, a := range m.Attachments {
		fmt.Fprintf(out, "\r\n--%s\r\n", boundary)
		if err := a.write(out); err != nil {
			return fmt.Errorf("attachment %q: %w", a.Name, err)
		}
	}
	fmt.Fprintf(out, "\r\n--%s--\r\n", boundary)
	return nil
}

// writeText writes the fields of a text part and the text.
func writeText(out io.Writer, text string) {
	flowed, delSp := flow(text)
	kind := `text/plain; charset=utf-8; format=flowed`
	if delSp {
		kind += "; delsp=yes"
	}
	var h header
	h.field("Content-Type", kind)
	encoding, write := textEncoding(flowed)
	h.field("Content-Transfer-Encoding", encoding)
	io.WriteString(out, h.String()+"\r\n")
	write(out, flowed)
}

// textEncoding picks what keeps most readable: 7bit, quoted-printable, or base64 where little is ASCII.
func textEncoding(text string) (name string, write func(io.Writer, string)) {
	high, long := 0, false
	for line := range strings.Lines(text) {
		long = long || len(line) > lineLimit
		for i := range len(line) {
			if line[i] >= 0x80 {
				high++
			}
		}
	}
	switch {
	case high == 0 && !long:
		return "7bit", func(w io.Writer, s string) { io.WriteString(w, s) }
	case high*3 > len(text):
		return "base64", func(w io.Writer, s string) { writeBase64(w, strings.NewReader(s)) }
	}
	return "quoted-printable", func(w io.Writer, s string) {
		q := quotedprintable.NewWriter(w)
		io.WriteString(q, s)
		q.Close()
	}
}

func (a Attachment) write(out *capped) error {
	r, err := a.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	kind, encoding, write := contentType(a.Type), "base64", writeBase64
	if a.Type == "message/rfc822" {
		// Whole messages must not be encoded (RFC 2046 5.2.1): those that can stand as they are do, so that mail programs
		// open them; the others are files.
		raw, err := io.ReadAll(io.LimitReader(r, out.max+1))
		if err != nil {
			return err
		}
		if sevenBit(raw) {
			kind, encoding, write = a.Type, "7bit", func(w io.Writer, r io.Reader) error { _, err := io.Copy(w, r); return err }
		}
		r = io.NopCloser(bytes.NewReader(raw))
	}
	name := FileName(a.Name)
	var h header
	h.field("Content-Type", kind+parameter("name", name))
	h.field("Content-Disposition", "attachment"+parameter("filename", name))
	h.field("Content-Transfer-Encoding", encoding)
	io.WriteString(out, h.String()+"\r\n")
	return write(out, r)
}

// sevenBit reports octets that can stand in a message as they are: ASCII in lines of at most 998, ended by CRLF.
func sevenBit(raw []byte) bool {
	for line := range bytes.Lines(raw) {
		text, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if !ended && bytes.HasSuffix(line, []byte("\n")) || len(text) > lineLimit || bytes.ContainsFunc(text, func(r rune) bool { return r == 0 || r == '\r' || r > 0x7e }) {
			return false
		}
	}
	return true
}

// contentType returns a media type that may be written with an encoding: no composite one (RFC 2045 6.4).
func contentType(s string) string {
	t, params, err := mime.ParseMediaType(s)
	top, sub, ok := strings.Cut(t, "/")
	if err != nil || !ok || sub == "" || top == "multipart" || top == "message" || len(t) > 100 {
		return "application/octet-stream"
	}
	if charset := params["charset"]; top == "text" && charsetName.MatchString(charset) {
		return t + "; charset=" + charset
	}
	return t
}

var charsetName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,40}$`)

// FileName returns the name of an attachment as it is written: one that is safe in every file system
// and hides nothing, its ending kept when it must be cut.
func FileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, oneLine(name))
	name = strings.Trim(name, ". ")
	if name == "" {
		return "attachment"
	}
	if len(name) > MaxFileName {
		ext := path.Ext(name)
		if len(ext) > 20 {
			ext = ""
		}
		name = cut(name, MaxFileName-len(ext)) + ext
	}
	return name
}

// writeBase64 writes all of r in lines of 76 (RFC 2045 6.8).
func writeBase64(w io.Writer, r io.Reader) error {
	lines := &lineWriter{w: w}
	e := base64.NewEncoder(base64.StdEncoding, lines)
	if _, err := io.Copy(e, r); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	return lines.end()
}

type lineWriter struct {
	w      io.Writer
	column int
}

func (l *lineWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(76-l.column, len(p))
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, err
		}
		p = p[n:]
		if l.column += n; l.column == 76 {
			if err := l.end(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

func (l *lineWriter) end() error {
	if l.column == 0 {
		return nil
	}
	l.column = 0
	_, err := io.WriteString(l.w, "\r\n")
	return err
}

// capped is a buffer with a limit; what is over it is an error for those who copy.
type capped struct {
	bytes.Buffer
	max  int64
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.over || int64(c.Len()+len(p)) > c.max {
		c.over = true
		return 0, ErrSize
	}
	return c.Buffer.Write(p)
}

func (c *capped) WriteString(s string) (int, error) { return c.Write([]byte(s)) }
