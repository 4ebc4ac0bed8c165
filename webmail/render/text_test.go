package render

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// written writes text with its structure: quotes as numbers, signatures as ~, direction, links as [text](url→host).
func written(t testing.TB, m *Message) string {
	t.Helper()
	text, err := m.Text(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, b := range text.Blocks {
		mark := ""
		if b.Quote > 0 {
			mark = fmt.Sprint(b.Quote)
		}
		if b.Signature {
			mark += "~"
		}
		if b.Dir == "rtl" {
			mark += "R"
		}
		if mark != "" {
			out.WriteString(mark + ":")
		}
		for i, l := range b.Lines {
			if i > 0 {
				out.WriteString("/")
			}
			for _, s := range l {
				switch {
				case s.URL == "":
					out.WriteString(s.Text)
				case s.Host != "":
					fmt.Fprintf(&out, "[%s](%s→%s)", s.Text, s.URL, s.Host)
				default:
					fmt.Fprintf(&out, "[%s](%s)", s.Text, s.URL)
				}
			}
		}
		out.WriteString("|")
	}
	return strings.TrimSuffix(out.String(), "|")
}

func TestTextBlocks(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\n\nc":                              "a/b|c",
		"a\n\n\n\nb":                             "a//|b",
		"a\n> b\n> c\n>> d\ne":                   "a|1:b/c|2:d|e",
		"> > a\n> >> b":                          "2:a|3:b",
		"a\n\n-- \nAnna\nKunde":                  "a|~:Anna/Kunde",
		"a\n\n--\nAnna":                          "a|~:Anna",
		"> -- \n> Anna\n\nreply":                 "1:Anna|reply",
		"שלום\nhello\n\nhello\n\nمرحبا":          "R:שלום/hello|hello|R:مرحبا",
		"123 שלום":                               "R:123 שלום",
		"\tindented\n  code":                     "\tindented/  code",
		"see https://x.test/a.":                  "see [https://x.test/a](https://x.test/a).",
		"(https://x.test/a_(b)) <http://y.test>": "([https://x.test/a_(b)](https://x.test/a_(b))) <[http://y.test](http://y.test)>",
		"www.x.test, a.b@c.test!":                "[www.x.test](http://www.x.test), [a.b@c.test](mailto:a.b@c.test)!",
		"詳細はhttps://x.test/aです。":                 "詳細は[https://x.test/a](https://x.test/a)です。",
		"javascript:alert(1) ftp://x.test":       "javascript:alert(1) ftp://x.test",
		"https://www.bank.test@evil.test/":       "[https://www.bank.test@evil.test/](https://evil.test/→evil.test)",
		"https://evil.test/www.bank.test":        "[https://evil.test/www.bank.test](https://evil.test/www.bank.test)",
		"http://" + strings.Repeat("a", 300):     "http://" + strings.Repeat("a", 300),
		"a\x1b[2J\x07b\u202ec":                   "a[2Jbc",
		"a\rb\r\nc\fd\u2028e":                    "a/b/c/d/e",
	} {
		if got := written(t, message(t, "Content-Type: text/plain; charset=utf-8\r\n\r\n"+in)); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestFlowedText(t *testing.T) {
	for in, want := range map[string]string{
		"a \nb \nc\nd":        "a b c/d",
		"> a \n> b\n>> c \nd": "1:a b|2:c |d",
		" > not quoted \nx":   "> not quoted x",
		"a \n-- \nsig \nmore": "a |~:sig more",
		">> a \n> b":          "2:a |1:b",
		"a\n\n \n\nb":         "a//|b",
	} {
		if got := written(t, message(t, "Content-Type: text/plain; format=flowed\r\n\r\n"+in)); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	if got := written(t, message(t, "Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\nab \ncd")); got != "abcd" {
		t.Errorf("delsp: got %q", got)
	}
}

func TestTextOfHTML(t *testing.T) {
	for in, want := range map[string]string{
		`<p>a<p>b`: "a|b",
		`<div>a</div><div>b</div>c<br>d<br><br>e`:                                                          "a/b/c/d|e",
		`a  b` + "\n\t" + `<b>c</b>d <i> e </i>f`:                                                          "a b cd e f",
		`<ul><li>a<li>b<ul><li>c</ul></ul><ol><li>x<li>y</ol>`:                                             "• a/• b/  • c|1. x/2. y",
		`<blockquote>a<blockquote>b</blockquote></blockquote>c`:                                            "1:a|2:b|c",
		`<table><tr><td>a<td>b<tr><td>c<td>d</table>e`:                                                     "a  b/c  d|e",
		`<table><tr><td><p>a</p><td><div>b</div><tr><td><p>c</p><p>d</p><td>e</table>`:                     "a  b|c|d|e",
		`<p class=MsoNormal>a<p class=MsoNormal>b<p class=MsoNormal><o:p>&nbsp;</o:p><p class=MsoNormal>c`: "a/b|c",
		`<pre>a
  b</pre>`: "a/  b",
		`<a href="https://x.test/">here</a> and <a href="https://x.test/">x.test</a>`: "[here](https://x.test/→x.test) and [x.test](https://x.test/)",
		`<a href="https://evil.test/">www.bank.test</a>`:                              "[www.bank.test](https://evil.test/→evil.test)",
		`<a href="javascript:alert(1)">x</a>`:                                         "x",
		`<a href="mailto:a@b.test">a@b.test</a>`:                                      "[a@b.test](mailto:a@b.test)",
		`see https://x.test/ now`:                                                     "see [https://x.test/](https://x.test/) now",
		`<img src=x alt="A cat"><img src=y>`:                                          "A cat",
		`<style>p{}</style><script>x</script><title>t</title>a`:                       "a",
		`<p style="display: none">hidden</p><p hidden>too</p>a`:                       "a",
		`<p dir=rtl>שלום</p>`:                                                         "R:שלום",
		`&lt;b&gt; &amp; &nbsp;x`:                                                     "<b> &  x",
		`a<hr>b`:                                                                      "a|———|b",
		strings.Repeat("<div>", 2000) + "deep":                                        "deep",
		``:                                                                            "",
	} {
		if got := written(t, message(t, htmlMail(in))); got != want {
			t.Errorf("%.200q\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestEmptyTextGivesWayToHTML(t *testing.T) {
	m := message(t, "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n \r\n--b\r\nContent-Type: text/html\r\n\r\n<p>rich\r\n--b--\r\n")
	text, html := m.Body()
	if text == nil || html == nil || text.ID != "1.1" || html.ID != "1.2" {
		t.Fatalf("%v %v", text, html)
	}
	if got := written(t, m); got != "rich" {
		t.Errorf("got %q", got)
	}
	shown, err := m.Text(context.Background())
	if err != nil || !shown.FromHTML || shown.Part != "1.2" {
		t.Errorf("%+v %v", shown, err)
	}
}

func TestRichFormInSeveralStretches(t *testing.T) {
	html := "Content-Type: text/html\r\n\r\n"
	m := message(t, "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nall of it\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"+html+
		"<p>all\r\n--c\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n--c\r\n"+html+"<p>of it\r\n--c--\r\n--b--\r\n")
	if got := written(t, m); got != "all of it" {
		t.Errorf("text %q", got)
	}
	f, err := m.HTML(context.Background(), HTMLOptions{})
	if err != nil || !strings.Contains(string(f.Document), `<p>all</p></div><div class="rpart"><div class="rbody"><p>of it`) || files(m) != "a.pdf" {
		t.Errorf("%s %v %s", f.Document[len(baseCSS):], err, files(m))
	}
}

func TestPlainForTheIndex(t *testing.T) {
	m := message(t, samples()["forwarded"])
	text, names, err := Plain(context.Background(), m, 1000)
	if err != nil || text != "See below.\nInner\ninner text\n" || strings.Join(names, " ") != "Inner.eml t.csv" {
		t.Errorf("%q %q %v", text, names, err)
	}
	if text, _, _ := Plain(context.Background(), m, 7); text != "See bel" {
		t.Errorf("got %q", text)
	}
	if text, _, _ := Plain(context.Background(), message(t, "Content-Type: text/plain; charset=utf-8\r\n\r\naäb"), 2); text != "a" {
		t.Errorf("cut in a character: %q", text)
	}
}
