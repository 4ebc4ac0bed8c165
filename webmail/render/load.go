package render

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
)

// loaded is a part's text in UTF-8.
type loaded struct {
	text string
	cut  bool
	odd  []Oddity
}

// load decodes at most that many octets of p and makes UTF-8 with \n of them.
func load(ctx context.Context, p *Part, most int64) (loaded, error) {
	var l loaded
	b, err := io.ReadAll(io.LimitReader(p.open(ctx, 4*most+64<<10), most+1))
	if err != nil {
		return l, err
	}
	if l.cut = int64(len(b)) > most; l.cut {
		b = b[:most]
		l.odd = append(l.odd, Oddity{OddCut, p.ID, ""})
	}
	charset := p.Charset
	if charset == "" && p.Type == "text/html" {
		charset = metaCharset(b)
	}
	text, odd := decodeCharset(b, charset)
	if odd {
		l.odd = append(l.odd, Oddity{OddCharset, p.ID, charset})
	}
	l.text = cleanText(text)
	return l, nil
}

// metaCharset finds what HTML says of its own charset in its first octets.
func metaCharset(b []byte) string {
	m := regexp.MustCompile(`(?i)<meta[^>]{0,200}charset\s*=\s*["']?\s*([a-z0-9_:.-]{1,40})`).FindSubmatch(b[:min(len(b), 2<<10)])
	if m == nil {
		return ""
	}
	if name := bytes.ToLower(m[1]); !bytes.HasPrefix(name, []byte("utf-16")) { // it couldn't be read here if it were
		return string(name)
	}
	return ""
}

// cleanText makes all line ends \n and takes out what controls terminals and fonts rather than says something.
func cleanText(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && (dropped(r) || r == 0x2028) }) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i, r := range s {
		switch {
		case r == '\r':
			if !strings.HasPrefix(s[i+1:], "\n") {
				b.WriteByte('\n')
			}
		case r == '\u0085' || r == '\u2028' || r == '\u2029':
			b.WriteByte('\n')
		case r == '\f':
			b.WriteByte('\n')
		case r == '\n' || r == '\t' || !dropped(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}
