package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const huge = 1 << 30

func file(name, ctype, content string) Attachment {
	return Attachment{Name: name, Type: ctype, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func sample() Message {
	return Message{
		ID: "abc@example.com", Date: time.Date(2026, 11, 21, 9, 12, 4, 0, time.FixedZone("", 3600)),
		From: Person{"Anna Schmidt", "anna@example.com"}, To: []Person{{"", "max@kunde.example"}, {"Jörg, der Große", "j@kunde.example"}},
		Subject: "Offer for Thursday", Text: "Hello\n", InReplyTo: "p1@kunde.example", References: []string{"<p0@kunde.example>", "p1@kunde.example"},
	}
}

func TestBuildPlain(t *testing.T) {
	got, err := sample().Build(huge)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`Date: Sat, 21 Nov 2026 09:12:04 +0100
From: Anna Schmidt <anna@example.com>
To: max@kunde.example, =?utf-8?B?SsO2cmcsIGRlciBHcm/Dn2U=?=
 <j@kunde.example>
Message-ID: <abc@example.com>
In-Reply-To: <p1@kunde.example>
References: <p0@kunde.example> <p1@kunde.example>
Subject: Offer for Thursday
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8; format=flowed
Content-Transfer-Encoding: 7bit

Hello
`, "\n", "\r\n")
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
}

// leaf is one part as a reader decodes it.
type leaf struct{ Type, Name, Content string }

// read takes a built message apart with the standard library, checking what every message must keep to.
func read(t interface {
	Fatalf(string, ...any)
	Fatal(...any)
}, raw []byte) (*mail.Message, []leaf) {
	for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
		if len(line) > lineLimit || bytes.ContainsAny(line, "\r\n\x00") || bytes.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Fatalf("a bad line: %q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	decode := func(get func(string) string, r io.Reader) leaf {
		switch get("Content-Transfer-Encoding") {
		case "quoted-printable":
			r = quotedprintable.NewReader(r)
		case "base64":
			r = mimeBase64(r)
		}
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		kind, params, err := mime.ParseMediaType(get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		_, disposition, _ := mime.ParseMediaType(get("Content-Disposition"))
		if disposition["filename"] != params["name"] {
			t.Fatalf("two names: %q, %q", disposition["filename"], params["name"])
		}
		return leaf{kind, params["name"], string(all)}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "multipart/mixed" {
		return m, []leaf{decode(m.Header.Get, m.Body)}
	}
	var all []leaf
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, decode(p.Header.Get, p))
	}
}

func TestBuildWithAttachments(t *testing.T) {
	m := sample()
	binary := strings.Repeat("\x00\xff\r\n.\r\n", 5000)
	m.Text = "Voilà, 添付します"
	m.Attachments = []Attachment{
		file("offer.pdf", "application/pdf", binary),
		file("Übersicht für Donnerstag, endgültige Fassung mit einem sehr langen Namen (2).xlsx", "application/vnd.ms-excel; x=y", "x"),
		file("../../etc/pass\r\nwd\u202e", "multipart/mixed", ""),
		file("mail.eml", "message/rfc822", "From: a@b.example\r\n\r\nhello"),
		file("8bit.eml", "message/rfc822", "From: a@b.example\r\n\r\nh\xc3\xa9"),
		file("lf.eml", "message/rfc822", "From: a@b.example\n\nhello"),
	}
	raw, err := m.Build(huge)
	if err != nil {
		t.Fatal(err)
	}
	_, got := read(t, raw)
	want := []leaf{
		{"text/plain", "", "Voilà, 添付します"},
		{"application/pdf", "offer.pdf", binary},
		{"application/vnd.ms-excel", "Übersicht für Donnerstag, endgültige Fassung mit einem sehr langen Namen (2).xlsx", "x"},
		{"application/octet-stream", "_.._etc_pass wd", ""},
		{"message/rfc822", "mail.eml", "From: a@b.example\r\n\r\nhello"},
		{"application/octet-stream", "8bit.eml", "From: a@b.example\r\n\r\nh\xc3\xa9"},
		{"application/octet-stream", "lf.eml", "From: a@b.example\n\nhello"},
	}
	for i := range got {
		got[i].Content = strings.TrimSuffix(got[i].Content, "\r\n")
	}
	want[1].Content = strings.TrimSuffix(binary, "\r\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBuildRefuses(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, c := range []struct {
		change func(*Message)
		max    int64
		want   error
	}{
		{func(m *Message) { m.From.Addr = "anna" }, huge, ErrFrom},
		{func(m *Message) { m.From.Addr = "anna@example.com\r\nBcc: x@y.example" }, huge, ErrFrom},
		{func(m *Message) { m.Text = strings.Repeat("x", MaxText+1) }, huge, ErrText},
		{func(m *Message) { m.Attachments = make([]Attachment, MaxAttachments+1) }, huge, ErrMany},
		{func(m *Message) { m.Attachments = []Attachment{file("a", "b/c", strings.Repeat("x", 8000))} }, 10000, ErrSize},
		{func(m *Message) { m.Text = strings.Repeat("x\n", 8000) }, 10000, ErrSize},
		{func(m *Message) {
			m.Attachments = []Attachment{{Name: "a", Open: func() (io.ReadCloser, error) { return nil, broken }}}
		}, huge, broken},
	} {
		m := sample()
		c.change(&m)
		if _, err := m.Build(c.max); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
}

func TestBuildHidesWhoGetsBlindCopies(t *testing.T) {
	m := sample()
	m.To = nil
	raw, err := m.Build(huge)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := read(t, raw); got.Header.Get("To") != "undisclosed-recipients:;" {
		t.Errorf("To: %q", got.Header.Get("To"))
	}
}

func TestDraftsForOtherPrograms(t *testing.T) {
	d := sampleDraft()
	raw, err := d.Message("Anna").Build(huge)
	if err != nil {
		t.Fatal(err)
	}
	m, leaves := read(t, raw)
	if m.Header.Get("X-Unsent") != "1" || m.Header.Get("Bcc") != "b@example.com" || m.Header.Get("Cc") != "" || m.Header.Get("From") != "Anna <anna@example.com>" || len(leaves) != 1 {
		t.Errorf("%s", raw)
	}
	if raw, err = (Message{Unsent: true}).Build(huge); err != nil || strings.Contains(string(raw), "\nTo:") {
		t.Errorf("%s %v", raw, err)
	}
}

func TestEncodedSize(t *testing.T) {
	for _, n := range []int{0, 1, 56, 57, 58, 100000} {
		var b bytes.Buffer
		if err := writeBase64(&b, strings.NewReader(strings.Repeat("x", n))); err != nil {
			t.Fatal(err)
		}
		if got := EncodedSize(int64(n)); got != int64(b.Len()) {
			t.Errorf("%d octets: %d, want %d", n, got, b.Len())
		}
	}
}

// mayStand are the fields that Build writes, and no others, whatever is typed.
var mayStand = strings.Fields("Date From Reply-To To Cc Message-Id In-Reply-To References Subject Auto-Submitted Mime-Version Content-Type Content-Transfer-Encoding")

func checkInjection(t *testing.T, hostile string) {
	t.Helper()
	m := Message{
		ID: hostile, Date: time.Unix(0, 0).UTC(), From: Person{hostile, "anna@example.com"}, ReplyTo: []Person{{hostile, hostile}},
		To: []Person{{hostile, "max@example.com"}, {"x", hostile}}, Cc: []Person{{hostile, "you@example.com"}}, Subject: hostile, Text: hostile,
		InReplyTo: hostile, References: []string{hostile, hostile}, Attachments: []Attachment{file(hostile, hostile, hostile)},
	}
	raw, err := m.Build(huge)
	if errors.Is(err, ErrText) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got, leaves := read(t, raw)
	for name := range got.Header {
		if !slices.Contains(mayStand, name) {
			t.Errorf("%q made a field %s", hostile, name)
		}
	}
	for _, name := range []string{"From", "To", "Cc"} {
		if _, err := got.Header.AddressList(name); err != nil {
			t.Errorf("%q: %s: %q: %v", hostile, name, got.Header.Get(name), err)
		}
	}
	if from, err := got.Header.AddressList("From"); err == nil && (len(from) != 1 || from[0].Address != "anna@example.com" || from[0].Name != CleanName(hostile)) {
		t.Errorf("%q: from %v", hostile, from)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if want := cut(oneLine(hostile), MaxSubject); err != nil || strings.TrimSpace(subject) != strings.TrimSpace(want) {
		t.Errorf("subject %q of %q: %v", subject, want, err)
	}
	if len(leaves) != 2 || leaves[1].Name != FileName(hostile) {
		t.Errorf("%q made the parts %q", hostile, leaves)
	}
	d, err := ReadDraft(Draft{Box: hostile, From: "anna@example.com", To: hostile, Cc: hostile, Bcc: hostile, Subject: hostile, Text: hostile,
		InReplyTo: hostile, References: []string{hostile}, Answers: hostile, Forwards: hostile,
		Attachments: []string{"01J"}}.Bytes())
	if err != nil || d.Text != Newlines(hostile) || len(d.Attachments) != 1 {
		t.Errorf("a draft of %q: %+v %v", hostile, d, err)
	}
}

func TestNothingTypedBecomesAField(t *testing.T) {
	for _, s := range []string{
		"x\r\nBcc: victim@example.net", "x\nX-Evil: 1", "\r\n\r\nbody", "x\rY: z", "=?utf-8?Q?=0D=0ABcc:_a@b.example?=", "=?utf-8?B?DQpCY2M6IHg=?=",
		"<a@b.example>\r\nX: y", "\u2028X: y\u0085Z: w", strings.Repeat("x", 2000), strings.Repeat("é", 2000), strings.Repeat("x y ", 600), `"`, `\`, `"\`, "a, b <c@d.example>", "\x00\x7f\xff", "(", ")",
		"; filename=evil.exe", "\"; x=\"", "''%0d%0a", ".", "..", " ", "",
	} {
		checkInjection(t, s)
	}
}

func FuzzBuild(f *testing.F) {
	f.Add("x\r\nBcc: a@b.example")
	f.Add("=?utf-8?Q?=0D=0A?= \"é\\")
	f.Fuzz(checkInjection)
}

func TestParameterReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := FileName(rapid.String().Draw(t, "name"))
		_, params, err := mime.ParseMediaType("attachment" + parameter("filename", name))
		if err != nil || params["filename"] != name {
			t.Fatalf("%q: %q %v", name, params, err)
		}
	})
}

func TestFileName(t *testing.T) {
	long := FileName(strings.Repeat("ü", 300) + ".pdf")
	for name, want := range map[string]string{
		"offer.pdf": "offer.pdf", "": "attachment", "...": "attachment", `C:\temp\x.txt`: "C__temp_x.txt",
		"invoice\u202efdp.exe": "invoicefdp.exe", long: long,
	} {
		if got := FileName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if len(long) > MaxFileName || !strings.HasSuffix(long, "ü.pdf") {
		t.Errorf("cut to %q", long)
	}
}

func TestNewMessageID(t *testing.T) {
	a, b := NewMessageID("anna@Example.com"), NewMessageID("anna@Example.com")
	if a == b || !strings.HasSuffix(a, "@example.com") || cleanMessageID(a) == "" {
		t.Errorf("%q, %q", a, b)
	}
}

func mimeBase64(r io.Reader) io.Reader {
	all, err := io.ReadAll(r)
	if err != nil {
		return strings.NewReader(fmt.Sprint(err))
	}
	return base64Reader(all)
}
