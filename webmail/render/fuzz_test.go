package render

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"restante/webmail/render/hostile"
)

// FuzzParse shows any octets and checks what would reach a page.
func FuzzParse(f *testing.F) {
	for _, m := range hostile.Mails() {
		f.Add(m.Raw)
	}
	for _, m := range samples() {
		f.Add([]byte(m))
	}
	dat := tnef(tnefAttribute(tnefRend, make([]byte, 14)), tnefAttribute(tnefTitle, []byte("a.txt\x00")), tnefAttribute(tnefData, []byte("x")),
		tnefAttribute(tnefAttachment, tnefName(propLongName, "b.txt")), tnefAttribute(tnefBody, []byte("text")))
	f.Add([]byte("Content-Type: application/ms-tnef\r\n\r\n" + dat))
	f.Add([]byte("Content-Type: text/calendar\r\n\r\n" + strings.Join(calendarLines(), "\r\n")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		m, err := Parse(ctx, strings.NewReader(string(raw)), int64(len(raw)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		checkMessage(t, "fuzz", m)
		checkStrings(t, m)
	})
}

// FuzzHTML goes straight for the sanitiser.
func FuzzHTML(f *testing.F) {
	for _, m := range hostile.Mails() {
		if _, body, ok := strings.Cut(string(m.Raw), "\r\n\r\n"); ok {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		first := frame(t, htmlMail(body))
		check(t, "fuzz", first)
	})
}

// FuzzCSS goes straight for the style sheets.
func FuzzCSS(f *testing.F) {
	for _, s := range []string{"p{color:red}", "@media screen{p{x:url(y)}}", "a>b{font:'x y';}", `\75 rl(x)`, "p{background:url(x) red!important}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := newSheet()
		s.add(text, "")
		safe, _ := declarationList(text)
		s.class(safe)
		frame := NewFrame(nil, s.bytes(), HTMLOptions{})
		check(t, "fuzz", frame)
	})
}

// checkStrings: whatever came in, text is what goes out.
func checkStrings(t *testing.T, m *Message) {
	t.Helper()
	good := func(what, s string) {
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n\u202e") {
			t.Errorf("%s: %q", what, s)
		}
	}
	good("subject", m.Subject)
	good("id", m.MessageID)
	for _, list := range [][]Address{m.From, m.Sender, m.ReplyTo, m.To, m.Cc, m.Bcc} {
		for _, a := range list {
			good("name", a.Name)
			good("address", a.Addr)
			good("display", a.Display())
		}
	}
	for _, o := range m.Odd {
		good("oddity", o.Detail)
	}
	for _, p := range m.parts {
		good("type", p.Type)
		good("charset", p.Charset)
		good("file name", p.FileName())
		good("description", p.Description)
		good("content id", p.ContentID)
	}
}
