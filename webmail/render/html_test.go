package render

import (
	"context"
	"strings"
	"testing"
)

func message(t testing.TB, raw string) *Message {
	t.Helper()
	m, err := Parse(context.Background(), strings.NewReader(raw), int64(len(raw)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func htmlMail(body string) string {
	return "From: Anna <anna@example.test>\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
}

func frame(t testing.TB, raw string) Frame {
	t.Helper()
	f, err := message(t, raw).HTML(context.Background(), HTMLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// inside returns the body of the document of an HTML mail.
func inside(t testing.TB, body string) string {
	t.Helper()
	d := string(frame(t, htmlMail(body)).Document)
	_, d, _ = strings.Cut(d, `<div id="r" tabindex="0">`)
	d, _, _ = strings.Cut(d, "</div></body></html>")
	return strings.TrimSuffix(strings.TrimPrefix(d, `<div class="rbody">`), "</div>")
}

func TestWhatSanitisingLeaves(t *testing.T) {
	for in, want := range map[string]string{
		`<b>bold</b> & <i>x`:                                       `<b>bold</b> &amp; <i>x</i>`,
		`a<script>alert(1)</script>b`:                              `ab`,
		`<p onclick=x style="color:red">hi`:                        `<p class="s1">hi</p>`,
		`<svg><a href=x>t</a></svg>after`:                          `after`,
		`<form action=x><button>go</button></form>`:                `<div><span>go</span></div>`,
		`<img src="http://x.test/a.png" alt="A cat">`:              `<span class="rblocked" role="img" aria-label="Remote image: A cat">A cat</span>`,
		`<img src="http://x.test/a.png" width=1 height=1>`:         ``,
		`<a href="javascript:alert(1)">x</a>`:                      `<span>x</span>`,
		`<a href="HTTPS://Example.test/a b?c=<d>">x</a>`:           `<a href="https://Example.test/a%20b?c=%3Cd%3E" target="_blank" rel="noopener noreferrer nofollow" title="https://example.test/a%20b?c=%3Cd%3E">x</a>`,
		`<a href="http://evil.test/">www.bank.test</a>`:            `<a href="http://evil.test/" target="_blank" rel="noopener noreferrer nofollow" title="http://evil.test/">www.bank.test</a><span class="rhost" dir="ltr">→ evil.test</span>`,
		`<a href="#top">x</a><a name=top>y</a>`:                    `<a href="#m-top">x</a><span id="m-top">y</span>`,
		`<table width="100%"><tr><td bgcolor=red nowrap>c</table>`: `<table width="100%"><tbody><tr><td bgcolor="red" nowrap="nowrap">c</td></tr></tbody></table>`,
		`<textarea><script>alert(1)</script></textarea>`:           `&lt;script&gt;alert(1)&lt;/script&gt;`,
	} {
		if got := inside(t, in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}
