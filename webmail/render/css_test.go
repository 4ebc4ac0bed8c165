package render

import (
	"strings"
	"testing"
)

func TestStyleAttributes(t *testing.T) {
	for in, want := range map[string]string{
		"color:red":                                          "color:red",
		"COLOR : Red ;; margin:0 AUTO":                       "color:red;margin:0 auto",
		"color:#F00!important":                               "color:#F00!important",
		"color: red ! important":                             "color:red!important",
		"color:rgba(0,0,0,.5)":                               "color:rgba(0,0,0,.5)",
		"width:calc(100% - 10px)":                            "", // could come to less than nothing
		"font:bold 12px/1.5 'Segoe UI', Arial":               `font:bold 12px/1.5 "Segoe UI",arial`,
		"font-family:ＭＳ Ｐゴシック":                               "",
		"font-family:'ＭＳ Ｐゴシック',sans-serif":                  `font-family:"ＭＳ Ｐゴシック",sans-serif`,
		"background:#fff url(http://x.test/a.png) no-repeat": "background:#fff no-repeat",
		"background-image:url(x)":                            "",
		"background:linear-gradient(to right,red,#00f)":      "background:linear-gradient(to right,red,#00f)",
		"background:linear-gradient(url(x),red)":             "",
		"background-image:u\\72l(x)":                         "",
		"position:fixed;top:0;color:red":                     "color:red",
		"margin:-5px":                                        "",
		"margin-left:10px":                                   "margin-left:10px",
		"width:99999px":                                      "",
		"width:1e9px":                                        "",
		"display:none":                                       "display:none",
		"display:contents":                                   "",
		"display:10px":                                       "",
		"mso-line-height-rule:exactly;line-height:20px":      "line-height:20px",
		"-webkit-transform:x;transform:scale(9)":             "",
		"--x:1;color:var(--x)":                               "",
		"content:'x';quotes:none":                            "",
		"color:red;}p{color:blue":                            "color:red",
		"color:r/**/ed":                                      "color:r ed",
		"color":                                              "",
		"color:":                                             "",
		":red":                                               "",
		"color:red blue(1)":                                  "",
		"font-family:\"a\\\"b\"":                             "",
		"text-indent:-18.0pt;letter-spacing:-999px":          "text-indent:-18.0pt",
		"float:left;clear:both":                              "float:left;clear:both",
		"vertical-align:-500px":                              "",
		"text-shadow:0 0 9px red;box-shadow:0 0 9px red;outline:1px solid": "",
	} {
		if got, _ := declarationList(in); got != want {
			t.Errorf("%s\n got %q\nwant %q", in, got, want)
		}
	}
	for in, want := range map[string]int{
		"background:url(http://x.test/)": 1, "background:url('//x.test/')": 1, "background:url(data:image/png;base64,x)": 0,
		"background:url(#a)": 0, "cursor:url(x.cur);background:url(y)": 2, "color:red": 0,
	} {
		if _, got := declarationList(in); got != want {
			t.Errorf("%s: %d blocked, want %d", in, got, want)
		}
	}
}

func TestStyleSheets(t *testing.T) {
	for in, want := range map[string]string{
		"p{color:red}":                                                  "p{color:red}",
		"P , .a.b > #c:hover{color:red}":                                "p,.m-a.m-b>#m-c:hover{color:red}",
		"body{margin:0}html,body{color:red}":                            ".rbody{margin:0}.rbody,.rbody{color:red}",
		"p[class],p{color:red}":                                         "p{color:red}",
		"p::before,p:not(.x),u + .body{color:red}":                      "u+.m-body{color:red}",
		"#r,.rhost,.s1,script,style,head{color:red}":                    "#m-r,.m-rhost,.m-s1{color:red}",
		"#a #b #c{color:red}":                                           "",
		"a b c d e f g h i{color:red}":                                  "",
		"p{}q{position:fixed}":                                          "",
		"@media screen and (max-width:600px){p{color:red}}":             "@media screen and (max-width:600px){p{color:red}}",
		"@media (prefers-color-scheme:dark){p{color:red}}q{color:blue}": "q{color:blue}",
		"@media print{p{color:red}}":                                    "",
		"@import url(x);p{color:red}":                                   "p{color:red}",
		"@font-face{font-family:x;src:url(y)}p{color:red}":              "p{color:red}",
		"@supports(x){p{color:red}}q{color:blue}":                       "q{color:blue}",
		"<!-- p{color:red} -->":                                         "p{color:red}",
		"p{color:red":                                                   "p{color:red}",
		"}}p{color:red}":                                                "p{color:red}",
		"p{color:red;q{color:blue}}i{color:green}":                      "p{color:red}i{color:green}",
		"*{color:red}":                                                  "*{color:red}",
		"p\\{color:red}":                                                "",
		"p{color:red}</style><script>":                                  "p{color:red}",
	} {
		s := newSheet()
		s.add(in, "")
		got := strings.NewReplacer("\n", "", scope, "").Replace(string(s.bytes()))
		if got != want {
			t.Errorf("%s\n got %q\nwant %q", in, got, want)
		}
	}
	s := newSheet()
	s.add("p{color:red}", "screen")
	s.add("q{color:red}", "print")
	s.add("@import 'x';@font-face{src:url(y)}p{background:url(z)}", "")
	if got := string(s.bytes()); got != "@media screen{:where(#r) p{color:red}\n}\n" || s.blocked != 3 {
		t.Errorf("%q, %d blocked", got, s.blocked)
	}
}

func TestLinkHints(t *testing.T) {
	for _, x := range []struct{ text, link, want string }{
		{"here", "https://evil.test/", ""},
		{"www.bank.test", "https://evil.test/", "evil.test"},
		{"https://bank.test/login", "https://bank.test/login?x", ""},
		{"bank.test", "https://www.bank.test/", ""},
		{"www.bank.test", "https://bank.test/", ""},
		{"bank.test", "https://bank.test.evil.test/", "bank.test.evil.test"},
		{"login.bank.test", "https://bank.test/", "bank.test"},
		{"https://bank.test@evil.test/", "https://evil.test/", "evil.test"},
		{"https://evil.test/bank.test", "https://evil.test/bank.test", ""},
		{"offer.pdf", "https://x.test/offer.pdf", "x.test"},
		{"www。bank．test", "https://evil.test/", "evil.test"},
		{"www․bank․test", "https://evil.test/", "evil.test"},
		{"b\u0430nk.test", "https://bank.test/", "bank.test"},
		{"bank.test", "https://xn--bnk-5cd.test/", "xn--bnk-5cd.test"},
		{"anna@bank.test", "mailto:eve@evil.test", "eve@evil.test"},
		{"anna@bank.test", "mailto:anna@bank.test?subject=x", ""},
		{"mail us", "mailto:eve@evil.test", ""},
		{"bank.test", "mailto:eve@evil.test", "evil.test"},
	} {
		if got := linkHint(x.text, x.link); got != x.want {
			t.Errorf("%q to %s: got %q, want %q", x.text, x.link, got, x.want)
		}
	}
}

func TestSafeLinks(t *testing.T) {
	for in, want := range map[string]string{
		"https://x.test":                         "https://x.test",
		" HTTP:/\\x.test\\a b ":                  "http://x.test/a%20b",
		"http://user:pw@x.test:8080/a?b#c":       "http://x.test:8080/a?b#c",
		"http://[::1]/":                          "http://[::1]/",
		"http://m\u00fcnchen.test/\u00e4":        "http://xn--mnchen-3ya.test/%C3%A4",
		"http://evil。test/":                      "http://evil.test/",
		"http://\uff45vil.test/":                 "http://evil.test/",
		"ht\ntp://x.test/":                       "http://x.test/",
		"http://x.test/\"'<>\\":                  "http://x.test/%22%27%3C%3E/",
		"mailto:a@b.test?subject=\"x":            "mailto:a@b.test?subject=%22x",
		"http://x.test/\u202e":                   "",
		"http://":                                "",
		"http:///":                               "",
		"http://x y/":                            "",
		"http://x.test:99999999/":                "",
		"http://evil.test\u2100.bank.test/":      "",
		"javascript:alert(1)":                    "",
		"java\tscript:alert(1)":                  "",
		"//x.test/":                              "",
		"/path":                                  "",
		"":                                       "",
		"http://" + strings.Repeat("a", maxLink): "",
	} {
		if got, ok := safeLink(in); got != want || ok != (want != "") {
			t.Errorf("%.80q: got %q, want %q", in, got, want)
		}
	}
}

func TestFrame(t *testing.T) {
	raw := htmlMail(`<html lang=ar dir=rtl><body bgcolor="#fafafa" style="color:#333"><p dir=ltr lang=de>x</p><img src="https://x.test/a" width=300 height=500 alt=cat></body></html>`)
	f, err := message(t, raw).HTML(t.Context(), HTMLOptions{Lang: "ja", ImageBlocked: "画像", Mailto: "/write?mailto="})
	if err != nil {
		t.Fatal(err)
	}
	d := string(f.Document)
	for _, want := range []string{`<html lang="ja">`, `<div lang="ar" dir="rtl" class="rbody s1">`, `.s1{background-color:#fafafa;color:#333}`, `<p dir="ltr" lang="de">`, `aria-label="画像: cat"`} {
		if !strings.Contains(d, want) {
			t.Errorf("no %s in %s", want, d[len(baseCSS):])
		}
	}
	if f.Blocked != 1 || f.Lines < 5 || f.Lines > 8 {
		t.Errorf("%d blocked, %d lines", f.Blocked, f.Lines)
	}
	f, err = message(t, htmlMail(`<a href="mailto:a@b.test?subject=1&body=2">x</a>`)).HTML(t.Context(), HTMLOptions{Mailto: "/write?mailto="})
	if err != nil || !strings.Contains(string(f.Document), `href="/write?mailto=mailto:a@b.test%3Fsubject%3D1%26body%3D2"`) {
		t.Errorf("%s %v", f.Document[len(baseCSS):], err)
	}
	f, err = message(t, samples()["between"]).HTML(t.Context(), HTMLOptions{})
	if err != nil || strings.Count(string(f.Document), `class="rtext"`) != 2 {
		t.Errorf("%s %v", f.Document[len(baseCSS):], err)
	}
	long := strings.Repeat("word ", 2000)
	if f := frame(t, htmlMail("<p>"+long)); f.Lines < 90 || f.Lines > 120 {
		t.Errorf("10,000 octets have %d lines", f.Lines)
	}
}
