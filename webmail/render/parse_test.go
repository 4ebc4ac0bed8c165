package render

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree writes the parts of a message as one line.
func tree(p *Part) string {
	s := p.Type
	if p.Name != "" {
		s += "=" + p.Name
	}
	if p.Message != nil {
		s += "{" + tree(p.Message.Root) + "}"
	}
	if len(p.Children) > 0 {
		var all []string
		for _, c := range p.Children {
			all = append(all, tree(c))
		}
		s += "(" + strings.Join(all, " ") + ")"
	}
	return s
}

func codes(m *Message) string {
	var all []string
	for _, o := range m.Odd {
		all = append(all, o.Code)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

func plainText(t testing.TB, m *Message) string {
	t.Helper()
	text, err := m.Text(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func files(m *Message) string {
	var all []string
	for _, p := range m.Attachments {
		all = append(all, p.FileName())
	}
	return strings.Join(all, ", ")
}

func TestEveryMessageShowsSomething(t *testing.T) {
	type want struct{ tree, text, files, odd string }
	wants := map[string]want{
		"plain":          {"text/plain", "Hello,\n\nsee https://example.test/a.\n\n-- \nAnna\n", "", ""},
		"no header":      {"text/plain", "Just text.\n", "", "no-header"},
		"body only":      {"text/plain", "Just text, and no header at all.\nSecond line.\n", "", "no-header"},
		"no body":        {"text/plain", "", "", ""},
		"empty":          {"text/plain", "", "", "no-header"},
		"mbox":           {"text/plain", "body\n", "", ""},
		"junk header":    {"text/plain", "body\n", "", "header"},
		"glued body":     {"text/plain", "Dear all,\nthis is the body: really.\n", "", "header"},
		"folded":         {"text/plain", "body\n", "", ""},
		"no boundary":    {"multipart/mixed(text/plain text/html)", "first\n\nsecond\n", "", "boundary"},
		"wrong boundary": {"multipart/alternative(text/plain text/html)", "plain\n", "", "boundary"},
		"unclosed":       {"multipart/mixed(text/plain application/pdf=a.pdf)", "first\n", "a.pdf", "truncated"},
		"inner unclosed": {"multipart/mixed(multipart/alternative(text/plain text/html) image/png=x.png)", "plain\n", "x.png", "truncated"},
		"report":         {"multipart/report(text/plain message/delivery-status text/rfc822-headers)", "It could not be delivered.\n", "report.txt, header.txt", ""},
		"forwarded":      {"multipart/mixed(text/plain message/rfc822{multipart/mixed(text/plain text/csv=t.csv)})", "See below.\n", "Inner.eml", ""},
		"digest":         {"multipart/digest(message/rfc822{text/plain} message/rfc822{text/plain})", "", "one.eml, two.eml", ""},
		"related":        {"multipart/related(text/html image/gif)", "See logo\n", "", ""},
		"between":        {"multipart/mixed(text/plain image/jpeg=x.jpg text/plain)", "Before the picture.\n\nAfter the picture.\n", "x.jpg", ""},
		"uuencode":       {"text/plain", "Here it is:\n\nBye\n", "cat.txt", ""},
		"flowed":         {"text/plain", ">> deep quote goes on\n>\n> less deep\n\nA paragraph that flows.\nFrom stuffed\n\n-- \nsig\n", "", ""},
		"8 bit":          {"text/plain", "Schöne Grüße aus Köln\n", "", ""},
		"outlook":        {"text/html", "Grüße\n", "", ""},
		"japanese":       {"text/plain", "こんにちは\n", "", ""},
	}
	for name, raw := range samples() {
		w, ok := wants[name]
		if !ok {
			t.Errorf("%s: nothing is known of it", name)
		}
		m := message(t, raw)
		if got := (want{tree(m.Root), plainText(t, m), files(m), codes(m)}); got != w {
			t.Errorf("%s:\n got %q\nwant %q", name, got, w)
		}
	}
}

func TestHeaderOfAMessage(t *testing.T) {
	m := message(t, samples()["plain"])
	if m.Subject != "Hello" || m.MessageID != "1@kunde.example" || len(m.From) != 1 || m.From[0].Display() != "Anna Schmidt <anna@kunde.example>" {
		t.Errorf("%+v", m)
	}
	if want := time.Date(2026, 11, 21, 9, 41, 0, 0, time.UTC); !m.Date.Equal(want) {
		t.Errorf("date %v", m.Date)
	}
	m = message(t, samples()["folded"])
	if m.Subject != "a long subject" {
		t.Errorf("subject %q", m.Subject)
	}
	m = message(t, samples()["8 bit"])
	if m.Subject != "Grüße" || m.From[0].Name != "Jörg" {
		t.Errorf("%q from %q", m.Subject, m.From[0].Name)
	}
	m = message(t, samples()["outlook"])
	if m.Subject != "AW: Angebot für Donnerstag" || len(m.From) != 1 || m.From[0].Name != "Müller, Jörg" {
		t.Errorf("%q from %q", m.Subject, m.From)
	}
	m = message(t, "Subject: first\r\nSubject: second\r\nTo: a@b.test\r\nTo: c@d.test\r\nReferences: <1@x>\r\n <2@x> junk\r\nIn-Reply-To: 2@x\r\nContent-Language: de-CH, en\r\n"+
		"List-Unsubscribe: <mailto:leave@x.test?subject=a b>,\r\n <https://x.test/leave>, <javascript:x>\r\nAuto-Submitted: auto-replied\r\n\r\n")
	if m.Subject != "first" || len(m.To) != 2 || codes(m) != "duplicate" || m.Language != "de-CH" || !m.AutoReply {
		t.Errorf("%+v", m)
	}
	if !slices.Equal(m.References, []string{"1@x", "2@x"}) || !slices.Equal(m.InReplyTo, []string{"2@x"}) {
		t.Errorf("references %q, in reply to %q", m.References, m.InReplyTo)
	}
	if !slices.Equal(m.Unsubscribe, []string{"mailto:leave@x.test?subject=ab", "https://x.test/leave"}) {
		t.Errorf("unsubscribe %q", m.Unsubscribe)
	}
}

func TestPartsAreFoundByID(t *testing.T) {
	m := message(t, samples()["forwarded"])
	for id, kind := range map[string]string{"1": "multipart/mixed", "1.1": "text/plain", "1.2": "message/rfc822", "1.2.1": "multipart/mixed", "1.2.1.2": "text/csv"} {
		p, ok := m.Part(id)
		if !ok || p.Type != kind || p.ID != id {
			t.Errorf("part %s: %+v", id, p)
		}
	}
	if _, ok := m.Part("1.3"); ok {
		t.Error("there is a part 1.3")
	}
	inner, _ := m.Part("1.2")
	if inner.Message == nil || inner.Message.Subject != "Inner" || files(inner.Message) != "t.csv" {
		t.Errorf("nested: %+v", inner.Message)
	}
	csv, _ := m.Part("1.2.1.2")
	if got := octets(t, csv); got != "1,2" {
		t.Errorf("t.csv holds %q", got)
	}
	if got := octets(t, inner); !strings.HasPrefix(got, "Subject: Inner\r\n") || !strings.HasSuffix(got, "--c--\r\n") {
		t.Errorf("the nested message holds %q", got)
	}
}

func octets(t testing.TB, p *Part) string {
	t.Helper()
	b, err := io.ReadAll(p.Open(context.Background()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOpenDecodes(t *testing.T) {
	for _, x := range []struct{ encoding, in, want string }{
		{"7bit", "a\r\nb", "a\r\nb"},
		{"base64", "QUJD\r\nREVG\r\n", "ABCDEF"},
		{"base64", "QU*JD" + strings.Repeat("QUJD", 5) + "\r\n!REV G=\r\n", strings.Repeat("ABC", 6) + "DEF"},
		{"base64", "QQ==\r\nQg==\r\n", "AB"},
		{"base64", "QUI", "AB"},
		{"base64", "This is no base64 at all, is it?\r\n", "This is no base64 at all, is it?\r\n"},
		{"BASE64 (really)", "QUJD", "ABC"},
		{"quoted-printable", "a=3Db=\r\nc \t\r\nd=2", "a=bc\r\nd=2"},
		{"quoted-printable", "=E4=e4=XY= =\r\nx=", "\xe4\xe4=XY= x="},
		{"x-uuencode", "begin 644 x\r\n#0V%T\r\n`\r\nend\r\n", "Cat"},
		{"unheard-of", "a=3D", "a=3D"},
	} {
		m := message(t, "Content-Type: application/x-test; name=x\r\nContent-Transfer-Encoding: "+x.encoding+"\r\n\r\n"+x.in)
		if got := octets(t, m.Root); got != x.want {
			t.Errorf("%s %q: got %q, want %q", x.encoding, x.in, got, x.want)
		}
	}
}

func TestLongQuotedPrintableLinesStayWhole(t *testing.T) {
	for _, pad := range []int{8189, 8190, 8191, 8192, 8193} {
		in := strings.Repeat("x", pad) + "=C3=A4" + strings.Repeat("y", 9000)
		m := message(t, "Content-Type: application/x-test\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"+in)
		if got, want := octets(t, m.Root), strings.Repeat("x", pad)+"ä"+strings.Repeat("y", 9000); got != want {
			t.Errorf("after %d octets: %q", pad, got[pad-2:min(pad+8, len(got))])
		}
	}
}

func TestEncodedNestedMessage(t *testing.T) {
	m := message(t, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogaW5uZXINCg0KaGVsbG8NCg==\r\n")
	if m.Root.Message == nil || m.Root.Message.Subject != "inner" || plainText(t, m.Root.Message) != "hello\n" {
		t.Errorf("%+v", m.Root.Message)
	}
	if p, ok := m.Part("1.1"); !ok || p.Type != "text/plain" {
		t.Error("its part isn't found")
	}
}

func TestDelimitersAreFoundAcrossWindows(t *testing.T) {
	// Wherever a delimiter falls in the windows that the message is read by, it is found.
	head := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
	for n := scanWindow - 80; n < scanWindow+20; n++ {
		raw := head + strings.Repeat("x", n-len(head)) + "\r\n--b\r\nContent-Type: text/html\r\n\r\nsecond\r\n--b--\r\n"
		m := message(t, raw)
		if got := tree(m.Root); got != "multipart/mixed(text/plain text/html)" {
			t.Fatalf("at %d: %s", n, got)
		}
		if got := m.Root.Children[0].Size; got != int64(n-len(head)) {
			t.Fatalf("at %d: the first part has %d octets", n, got)
		}
	}
}

func TestLimits(t *testing.T) {
	ctx := context.Background()
	parse := func(raw string, l Limits) *Message {
		m, err := Parse(ctx, strings.NewReader(raw), int64(len(raw)), l)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 20)
	if m := parse(many, Limits{Parts: 5}); len(m.parts) != 5 || codes(m) != "parts" {
		t.Errorf("%d parts, %s", len(m.parts), codes(m))
	}
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 20) + "Subject: deepest\r\n\r\n"
	if m := parse(deep, Limits{Depth: 3}); len(m.parts) != 4 || codes(m) != "depth" {
		t.Errorf("%d parts, %s", len(m.parts), codes(m))
	}
	long := "Subject: " + strings.Repeat("x ", 500) + "\r\nFrom: a@b.test\r\n\r\nbody\r\n"
	if m := parse(long, Limits{Header: 100}); codes(m) != "header-size no-header" || plainText(t, m) != "body\n" {
		t.Errorf("%s, %q", codes(m), plainText(t, m))
	}
	if m := parse("A: 1\r\nB: 2\r\nC: 3\r\n\r\nbody\r\n", Limits{Fields: 2}); len(m.Header) != 2 || plainText(t, m) != "body\n" {
		t.Errorf("%+v", m.Header)
	}
	if m := parse("To: a@b.test, c@d.test, e@f.test\r\n\r\n", Limits{Addresses: 2}); len(m.To) != 2 || codes(m) != "address" {
		t.Errorf("%+v %s", m.To, codes(m))
	}
	body := "Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 100)
	m := parse(body, Limits{Scan: 100, Decoded: 20, Text: 10})
	if codes(m) != "size" || octets(t, m.Root) != "0123456789\r\n01234567" {
		t.Errorf("%s %q", codes(m), octets(t, m.Root))
	}
	text, err := m.Text(ctx)
	if err != nil || !text.Cut || text.String() != "0123456789\n" || len(text.Odd) != 1 || text.Odd[0].Code != OddCut {
		t.Errorf("%+v %v", text, err)
	}
	f, err := parse(htmlMail(strings.Repeat("<i>x</i>", 10)), Limits{Elements: 3}).HTML(ctx, HTMLOptions{})
	if err != nil || strings.Count(string(f.Document), "<i>") != 3 || len(f.Odd) != 1 {
		t.Errorf("%s %v %v", f.Document, f.Odd, err)
	}
	if m := parse(strings.Repeat("x", 100), Limits{}); m.Root.limits != DefaultLimits() {
		t.Errorf("limits %+v", m.Root.limits)
	}
}

// broken fails to read from some place on.
type broken struct {
	io.ReaderAt
	from int64
}

var errBroken = errors.New("broken")

func (b broken) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > b.from {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, at)
}

func TestOnlyReadingFails(t *testing.T) {
	raw := samples()["forwarded"]
	if _, err := Parse(context.Background(), broken{strings.NewReader(raw), 10}, int64(len(raw)), Limits{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Parse(ctx, strings.NewReader(raw), int64(len(raw)), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	m := message(t, htmlMail("<p>x"))
	if _, err := m.HTML(ctx, HTMLOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := m.Text(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := io.ReadAll(m.Root.Open(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// A message that is shorter than was said is read as far as it goes.
	if m, err := Parse(context.Background(), strings.NewReader(raw), int64(len(raw))+1000, Limits{}); err != nil || len(m.Root.Children) != 2 {
		t.Errorf("%v %v", m, err)
	}
}

func TestHalfAMessageIsAMessage(t *testing.T) {
	for name, raw := range samples() {
		for n := range len(raw) {
			m := message(t, raw[:n])
			if _, err := m.HTML(context.Background(), HTMLOptions{}); err != nil {
				t.Fatal(fmt.Errorf("%s, %d octets: %w", name, n, err))
			}
		}
	}
}
