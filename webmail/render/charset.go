package render

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// decodeCharset makes UTF-8 of octets that are labelled with a charset. The label is believed where the octets
// allow it: octets that are UTF-8 beyond doubt are UTF-8 whatever they are called, and what has no usable label
// is guessed. odd says that it wasn't as labelled.
func decodeCharset(b []byte, label string) (text string, odd bool) {
	label = strings.ToLower(strings.Trim(label, " \t\"'"))
	if text, ok := byMark(b); ok {
		return text, false
	}
	switch label {
	case "utf-7", "utf7", "unicode-1-1-utf-7", "x-unicode-1-1-utf-7":
		return decodeUTF7(b), false
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us", "unknown", "unknown-8bit", "x-unknown", "8bit", "7bit", "default", "binary":
		if isASCII(b) && !bytes.Contains(b, []byte("\x1b")) {
			return string(b), false
		}
		return guess(b), !utf8.Valid(b)
	case "utf-8", "utf8", "unicode-1-1-utf-8", "utf8mb4", "cp65001":
		if bytes.Contains(b, []byte("\x1b$B")) && isASCII(b) { // Japanese of before UTF-8
			return guess(b), true
		}
		if utf8.Valid(b) {
			return string(b), false
		}
		if bad := invalidUTF8(b); bad*20 <= nonASCII(b) || bad < 3 && len(b) > 100 {
			return strings.ToValidUTF8(string(b), "\ufffd"), true // cut or damaged, but UTF-8
		}
		return guess(b), true
	}
	e := charsetOf(label)
	if e == nil {
		return guess(b), true
	}
	if singleByte(label) && !isASCII(b) && utf8.Valid(b) && nonASCII(b) >= 2 {
		return string(b), true // hardly anything else is valid UTF-8 by chance
	}
	out, err := e.NewDecoder().Bytes(b)
	if err != nil {
		return guess(b), true
	}
	text = strings.ToValidUTF8(string(out), "\ufffd")
	bad := strings.Count(text, "\ufffd")
	if bad > 3 && bad*10 > utf8.RuneCountInString(text) {
		return guess(b), true
	}
	return text, bad > 0
}

// charsetOf finds the charset of a name, also of those that mail uses and the web doesn't; nil if there is none.
func charsetOf(label string) encoding.Encoding {
	switch label {
	case "gb2312", "gbk", "cp936", "ms936", "windows-936", "x-gbk", "hz-gb-2312", "gb_2312-80", "euc-cn", "gb18030":
		if label == "hz-gb-2312" {
			return simplifiedchinese.HZGB2312
		}
		return simplifiedchinese.GB18030 // the others are parts of it
	case "cp932", "ms932", "windows-932", "windows-31j", "x-sjis", "sjis", "shift-jis", "shift_jis-2004", "x-ms-cp932":
		label = "shift_jis"
	case "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-jp-2004", "iso-2022-jp-ms", "cp50220", "cp50221", "cp50222", "x-iso-2022-jp":
		label = "iso-2022-jp"
	case "eucjp", "x-euc-jp", "ujis", "eucjp-ms", "cp51932":
		label = "euc-jp"
	case "ks_c_5601", "ks_c_5601-1987", "ksc5601", "cp949", "ms949", "uhc", "windows-949", "euckr", "x-windows-949":
		label = "euc-kr"
	case "cp950", "ms950", "windows-950", "x-x-big5", "big5hkscs", "big-5":
		label = "big5"
	case "utf-16":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-32":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	}
	for _, prefix := range []string{"cp125", "win-125", "win125", "windows125", "ansi-125", "x-cp125"} {
		if rest, ok := strings.CutPrefix(label, prefix); ok {
			label = "windows-125" + rest
		}
	}
	if rest, ok := strings.CutPrefix(label, "iso8859-"); ok {
		label = "iso-8859-" + rest
	}
	if rest, ok := strings.CutPrefix(label, "iso_8859-"); ok {
		label = "iso-8859-" + rest
	}
	label = strings.ReplaceAll(label, "_iso", "")
	if e, err := htmlindex.Get(label); err == nil {
		if name, err := htmlindex.Name(e); err == nil && name != "replacement" {
			return e
		}
	}
	if e, err := ianaindex.MIME.Encoding(label); err == nil && e != nil {
		return e
	}
	return nil
}

// byMark decodes what starts with a byte order mark.
func byMark(b []byte) (string, bool) {
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return strings.ToValidUTF8(string(b[3:]), "\ufffd"), true
	case bytes.HasPrefix(b, []byte("\xff\xfe\x00\x00")) || bytes.HasPrefix(b, []byte("\x00\x00\xfe\xff")):
		out, err := utf32.UTF32(utf32.BigEndian, utf32.UseBOM).NewDecoder().Bytes(b)
		return string(out), err == nil
	case bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")):
		out, err := unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder().Bytes(b)
		return string(out), err == nil
	}
	return "", false
}

func singleByte(label string) bool {
	return strings.HasPrefix(label, "iso-8859") || strings.HasPrefix(label, "windows-12") || strings.HasPrefix(label, "latin") ||
		strings.HasPrefix(label, "cp125") || strings.HasPrefix(label, "koi8")
}

func isASCII(b []byte) bool { return nonASCII(b) == 0 }

func nonASCII(b []byte) int {
	n := 0
	for _, c := range b {
		if c >= 0x80 {
			n++
		}
	}
	return n
}

// invalidUTF8 counts the octets that fit nowhere.
func invalidUTF8(b []byte) int {
	n := 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			n++
		}
		b = b[size:]
	}
	return n
}

// decodeUTF7 decodes RFC 2152. What is no base64 stays as it is.
func decodeUTF7(b []byte) string {
	var out strings.Builder
	enc := base64.RawStdEncoding
	for len(b) > 0 {
		i := bytes.IndexByte(b, '+')
		if i < 0 {
			break
		}
		out.Write(b[:i])
		b = b[i+1:]
		n := 0
		for n < len(b) && base64Value(b[n]) >= 0 && b[n] != '-' && b[n] != '_' {
			n++
		}
		if n == 0 {
			out.WriteByte('+')
			b = bytes.TrimPrefix(b, []byte("-"))
			continue
		}
		units := make([]byte, enc.DecodedLen(n))
		got, _ := enc.Decode(units, b[:n])
		text, err := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewDecoder().Bytes(units[:got&^1])
		if err == nil {
			out.Write(text)
		}
		b = bytes.TrimPrefix(b[n:], []byte("-"))
	}
	out.Write(b)
	return strings.ToValidUTF8(out.String(), "\ufffd")
}
