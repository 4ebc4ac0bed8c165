// Package hostile holds mails that try to run script, to load something from elsewhere, or to look like what they
// aren't, in every place that HTML, SVG, MathML, CSS, URLs, headers, file names, calendars and nested mails allow.
// Tests show them to whatever shows mail. A mail that gets through opens a dialog or asks [Host] for something.
package hostile

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Host is where the mails would load from. No such host exists (RFC 6761 6.4); whoever asks for it has been taken in.
const Host = "hostile.invalid"

// Mail is one hostile mail.
type Mail struct {
	Name string // unique, of letters, digits and hyphens
	Raw  []byte // with CRLF
}

// Mails returns all of them, freshly made.
func Mails() []Mail {
	var all []Mail
	group := func(prefix string, bodies []string) {
		for i, body := range bodies {
			name := fmt.Sprintf("%s-%02d", prefix, i+1)
			all = append(all, Mail{name, htmlMail(name, body)})
		}
	}
	group("script", scripts())
	group("event", events())
	group("url", urls())
	group("svg", svg())
	group("mathml", mathml())
	group("css", styles())
	group("load", loads())
	group("mutation", mutations())
	group("frame", frames())
	group("form", forms())
	for i, raw := range messages() {
		all = append(all, Mail{fmt.Sprintf("message-%02d", i+1), crlf(raw)})
	}
	all = append(all, encodings()...)
	return all
}

// htmlMail is a plain HTML mail. "URL" in the body becomes an address at Host that names the case.
func htmlMail(name, body string) []byte {
	body = strings.ReplaceAll(body, "URL", "http://"+Host+"/"+name)
	return crlf("From: Mallory <mallory@" + Host + ">\nTo: you@example.test\nSubject: " + name +
		"\nDate: Sat, 21 Nov 2026 10:00:00 +0000\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n<p>" + name + "</p>\n" + body + "\n")
}

func crlf(s string) []byte {
	return []byte(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n"))
}

// encodings are mails whose octets mean something else in another charset or transfer encoding.
func encodings() []Mail {
	const script = `<script>alert("charset")</script><img src=x onerror=alert(1)>`
	head := func(name, ctype, encoding string) string {
		return "From: m@" + Host + "\r\nSubject: " + name + "\r\nMIME-Version: 1.0\r\nContent-Type: " + ctype + "\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n"
	}
	utf16le := func(s string) []byte {
		b := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(s)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return b
	}
	wrap := func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }
	list := []struct {
		ctype, encoding string
		body            []byte
	}{
		{"text/html; charset=utf-7", "7bit", []byte("+ADw-script+AD4-alert(1)+ADw-/script+AD4-")},
		{"text/html", "7bit", []byte("<meta charset=utf-7>+ADw-script+AD4-alert(1)+ADw-/script+AD4-")},
		{"text/plain; charset=utf-7", "7bit", []byte("+ADw-script+AD4-alert(1)+ADw-/script+AD4-")},
		{"text/html; charset=utf-16", "base64", wrap(utf16le(script))},
		{"text/html; charset=utf-8", "base64", wrap(utf16le(script))},
		{"text/html; charset=iso-2022-jp", "7bit", []byte("\x1b$B<script>alert(1)</script>\x1b(B<script>alert(2)</script>")},
		{"text/html; charset=iso-2022-jp", "7bit", []byte("<a title=\"\x1b(J\" href=\"x\x1b(B\" onclick=alert(1)>x\x5c\"onmouseover=alert(1)//</a>")},
		{"text/html; charset=shift_jis", "8bit", []byte("<img alt=\"\x83\" src=\"x\" onerror=\"alert(1)//\x83\">")},
		{"text/html; charset=gbk", "8bit", []byte("<img alt=\"\x81\" title=\" onerror=alert(1) src=x \x81\">")},
		{"text/html; charset=hz-gb-2312", "7bit", []byte("<img alt=\"~{\" src=x onerror=alert(1) title=\"~}\">")},
		{"text/html; charset=x-user-defined", "8bit", []byte("\x00<\x00script\x00>alert(1)<\x00/script>")},
		{"text/html; charset=\"utf-8\\\"><script>alert(1)</script>\"", "8bit", []byte(script)},
		{"text/html; charset=ebcdic-cp-us", "8bit", []byte(script)},
		{"text/html; charset=utf-8", "quoted-printable", []byte("=3Cscript=3Ealert(1)=3C/script=3E=3Cimg src=3Dx onerror=3D\r\nalert(1)=3E")},
		{"text/html; charset=utf-8", "base64", wrap([]byte(script))},
		{"text/html; charset=utf-8", "x-uuencode", []byte("begin 644 <img src=x onerror=alert(1)>\r\n" + "#0V%T\r\n`\r\nend\r\n")},
		{"text/html; charset=utf-8", "8bit", []byte("<scr\x00ipt>alert(1)</scr\x00ipt><\x00img src=x onerror=alert(1)>")},
		{"text/html; charset=utf-8", "8bit", []byte("\xc0\xbcscript\xc0\xbealert(1)\xc0\xbc/script\xc0\xbe")},
		{"text/html; charset=utf-8", "8bit", []byte("<img src=x\xffonerror=alert(1)><a href=\"java\xffscript:alert(1)\">x</a>")},
	}
	var all []Mail
	for i, x := range list {
		name := fmt.Sprintf("encoding-%02d", i+1)
		all = append(all, Mail{name, bytes.Join([][]byte{[]byte(head(name, x.ctype, x.encoding)), x.body, []byte("\r\n")}, nil)})
	}
	return all
}
