package render

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/japanese"
)

func TestDecodeHeader(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                   "plain",
		"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=":             "Grüße",
		"=?UTF-8?b?R3LDvMOfZQ==?=":                "Grüße",
		"=?utf-8?B?R3LDvMOfZQ?=":                  "Grüße", // no padding
		"=?utf-8*de?q?a?=":                        "a",
		"=?utf-8?q?a?= =?utf-8?q?b?=":             "ab",
		"=?utf-8?q?a?= b =?utf-8?q?c?=":           "a b c",
		"x=?utf-8?q?a?=y":                         "xay",
		"=?utf-8?q?a_b c?=":                       "a b c", // a space inside
		"=?utf-8?q?=C3?= =?utf-8?q?=A4?=":         "ä",     // a character in two words
		"=?iso-8859-1?q?=E4?= =?utf-8?q?=C3=A4?=": "ää",
		"=?x-unheard-of?q?=E4pfel?=":              "äpfel",
		"=?iso-8859-1?q?=C3=A4=C3=B6?=":           "äö", // UTF-8 labelled Latin 1
		"=?utf-8?q??=":                            "",
		"=?utf-8?q?broken":                        "=?utf-8?q?broken",
		"=?utf-8?x?a?=":                           "=?utf-8?x?a?=",
		"=?=?=?utf-8?q?a?=":                       "=?=?a",
		"=?utf-8?q?a=00=0D=0AX:_b?=":              "a X: b",
		"=?utf-8?q?=E2=80=AEx=E2=80=AC?=":         "x",
		"=?utf-8?Q?=41?=":                         "A",
		"=?GB2312?B?xOO6ww==?=":                   "你好",
		"=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=":      "日本語",
		"=?shift_jis?B?k/qWe4zq?=":                "日本語",
		"=?ks_c_5601-1987?B?vsiz5w==?=":           "안녕",
		"=?koi8-r?B?8NLJ18XU?=":                   "Привет",
		"=?windows-1256?B?48ux3eU=?=":             "مثـلفه",
		"=?utf-7?Q?A+AOQ-B?=":                     "AäB",
		"Gr\xc3\xbc\xc3\x9fe":                     "Grüße",
		"Gr\xfc\xdfe aus K\xf6ln":                 "Grüße aus Köln",
		"tab\tand\r\n fold":                       "tab and fold",
	} {
		if want == "مثـلفه" { // what the table says, not what a typist meant
			b, _ := charmap.Windows1256.NewDecoder().String("\xe3\xcb\xb1\xdd\xe5")
			want = b
		}
		if got := DecodeHeader(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// What has no label is guessed from how it is written.
func TestGuess(t *testing.T) {
	texts := map[string]string{
		"windows-1252": "Schöne Grüße aus Köln, die Straße ist gesperrt – bitte später kommen. Élève, garçon, naïve café: 5 €.",
		"windows-1251": "Здравствуйте, это письмо написано без указания кодировки, и его всё равно нужно прочитать.",
		"koi8-r":       "Здравствуйте, это письмо написано без указания кодировки, и его всё равно нужно прочитать.",
		"gb18030":      "您好，这封邮件没有注明字符编码，但是我们仍然需要能够阅读它。谢谢您的理解与支持。",
		"big5":         "您好，這封郵件沒有註明字元編碼，但是我們仍然需要能夠閱讀它。謝謝您的理解與支持。",
		"euc-jp":       "こんにちは。このメールには文字コードの指定がありませんが、読めるようにする必要があります。",
		"shift_jis":    "こんにちは。このメールには文字コードの指定がありませんが、読めるようにする必要があります。",
		"euc-kr":       "안녕하세요. 이 메일에는 문자 인코딩이 표시되어 있지 않지만 읽을 수 있어야 합니다.",
		"utf-8":        "Grüße, 您好, こんにちは, Здравствуйте",
	}
	for name, text := range texts {
		e, err := htmlindex.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.NewEncoder().Bytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, label := range []string{"", "us-ascii", "x-unknown"} {
			if got, _ := decodeCharset(b, label); got != text {
				t.Errorf("%s labelled %q: got %q", name, label, got)
			}
		}
		if name != "utf-8" {
			if got, odd := decodeCharset(b, "utf-8"); got != text || !odd {
				t.Errorf("%s labelled utf-8: got %q, %v", name, got, odd)
			}
		}
		if got, odd := decodeCharset(b, name); got != text || odd {
			t.Errorf("%s as labelled: got %q, %v", name, got, odd)
		}
	}
	jis, err := japanese.ISO2022JP.NewEncoder().String("日本語のメール")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := decodeCharset([]byte(jis), ""); got != "日本語のメール" {
		t.Errorf("ISO-2022-JP: got %q", got)
	}
}

func TestDamagedUTF8StaysUTF8(t *testing.T) {
	text := strings.Repeat("Grüße aus Köln. ", 20)
	if got, odd := decodeCharset([]byte(text+"\xc3"), "utf-8"); got != text+"\ufffd" || !odd {
		t.Errorf("got %q, %v", got, odd)
	}
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"offer.pdf":                          "offer.pdf",
		"Angebot März.pdf":                   "Angebot März.pdf",
		"見積書.xlsx":                           "見積書.xlsx",
		"../../etc/passwd":                   "etc_passwd",
		"..\\..\\boot.ini":                   "boot.ini",
		"C:\\Temp\\a.txt":                    "C__Temp_a.txt",
		"/etc/passwd":                        "etc_passwd",
		"a\x00b\r\nc.txt":                    "a_b__c.txt",
		".bashrc":                            "bashrc",
		"...":                                "file",
		" . ":                                "file",
		"-rf":                                "rf",
		"name. . .":                          "name",
		"CON":                                "_CON",
		"con.txt":                            "_con.txt",
		"Lpt9 .doc":                          "_Lpt9 .doc",
		"COM¹":                               "_COM¹",
		"console.txt":                        "console.txt",
		"invoice\u202efdp.exe":               "invoicefdp.exe",
		"a\u200bb.txt":                       "ab.txt",
		"a<b>:\"c\"|?*.txt":                  "a_b___c____.txt",
		"a／b＼c∕d.txt":                        "a_b_c_d.txt",
		"desktop.ini\u2028.exe":              "desktop.ini .exe",
		"x\xff.txt":                          "x_.txt",
		strings.Repeat("é", 100) + ".tar.gz": strings.Repeat("é", 57) + "….gz",
	} {
		got := SafeName(in)
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if len(got) > maxFileName || SafeName(got) != got {
			t.Errorf("%q: %q isn't safe: %q", in, got, SafeName(got))
		}
	}
}

func TestParameters(t *testing.T) {
	for in, want := range map[string]string{
		`a; filename=x.pdf`:                      "x.pdf",
		`a; filename="x y.pdf"`:                  "x y.pdf",
		`a; filename=x y.pdf; size=3`:            "x y.pdf",
		`a; filename="a;b.pdf"`:                  "a;b.pdf",
		`a; filename="a\"b.pdf"`:                 `a"b.pdf`,
		`a; filename="C:\dir\x.pdf"`:             `C:\dir\x.pdf`,
		`a;filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf`: "Grüße.pdf",
		`a;filename*0*=utf-8''Gr%C3%BC;filename*1*=%C3%9Fe;filename*2=".pdf"`: "Grüße.pdf",
		`a;filename*1=".pdf";filename*0="x"`:                                  "x.pdf",
		`a;filename*0*=utf-8''%C3;filename*1*=%BC`:                            "ü",
		`a;filename=plain.pdf;filename*=utf-8''better.pdf`:                    "better.pdf",
		`a; filename="=?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?="`:                       "=?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?=",
		`a; FILENAME = x`:           "x",
		`a; filename`:               "",
		`a;;; filename=x`:           "x",
		`a; filename="unclosed`:     "unclosed",
		`a; filename*99999999999=x`: "",
	} {
		value, params := parseParams(in)
		if value != "a" || params["filename"] != want {
			t.Errorf("%s: got %q %q, want %q", in, value, params["filename"], want)
		}
	}
}

func TestDates(t *testing.T) {
	for in, want := range map[string]string{
		"Sat, 21 Nov 2026 10:41:00 +0100":         "2026-11-21T10:41:00+01:00",
		"21 Nov 2026 10:41 GMT":                   "2026-11-21T10:41:00Z",
		"Sat, 21 Nov 26 10:41:00 EST":             "2026-11-21T10:41:00-05:00",
		"Sat Nov 21 10:41:00 2026":                "2026-11-21T10:41:00Z",
		"Saturday, 21-Nov-2026 10:41:00 UTC":      "2026-11-21T10:41:00Z",
		"Sat, 21 Nov 2026 10:41:00 -0330 (NDT)":   "2026-11-21T10:41:00-03:30",
		"Sat,21 Nov 2026 10:41:00 +0100 (MEZ)":    "2026-11-21T10:41:00+01:00",
		"2026-11-21T10:41:00+01:00":               "2026-11-21T10:41:00+01:00",
		"2026-11-21 10:41:00Z":                    "2026-11-21T10:41:00Z",
		"Nov 21, 2026 10:41:00":                   "2026-11-21T10:41:00Z",
		"Sat, 21 Nov 2026":                        "2026-11-21T00:00:00Z",
		"Sat, 21 Nov 2026 10:41:00 Europe/Berlin": "2026-11-21T10:41:00Z",
		"":                       "",
		"yesterday":              "",
		"Sat, 99 Nov 2026":       "",
		"21 Nov 99999 10:00":     "",
		"Sat, 21 Xyz 2026 10:00": "",
		"21 Nov 2026 99:99:99":   "2026-11-21T00:00:00Z",
	} {
		got, ok := parseDate(in)
		if want == "" {
			if ok {
				t.Errorf("%q: got %v", in, got)
			}
			continue
		}
		if s := got.Format("2006-01-02T15:04:05Z07:00"); !ok || s != want {
			t.Errorf("%q: got %s, want %s", in, s, want)
		}
	}
}
