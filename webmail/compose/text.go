package compose

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Newlines brings the line breaks of a text to \n and takes out what no text needs: controls but tabs,
// and octets that are no UTF-8.
func Newlines(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r', r == '\u2028', r == '\u2029', r == '\v', r == '\f':
			return '\n'
		case r == '\n', r == '\t':
			return r
		case r == utf8.RuneError, unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
}

// signatureLine parts the text from the signature (RFC 3676 4.3).
const signatureLine = "-- "

// flow lays a text out as format=flowed (RFC 3676): each line of it is a paragraph, wrapped at 72
// columns by soft breaks, quotes by their depth. It returns lines ended by CRLF. delSp says that the
// trailing space of a soft break is to be deleted by the reader; needed only where a line without
// spaces, such as Japanese, had to be broken.
func flow(text string) (flowed string, delSp bool) {
	lines := strings.Split(strings.TrimRight(Newlines(text), "\n \t"), "\n")
	for _, l := range lines {
		_, rest := unquoteLine(l)
		delSp = delSp || needsDelSp(rest)
	}
	var b strings.Builder
	for _, l := range lines {
		if l == signatureLine || l == "--" {
			b.WriteString(signatureLine + "\r\n")
			continue
		}
		depth, rest := unquoteLine(l)
		flowLine(&b, depth, strings.TrimRight(rest, " "), delSp)
	}
	return b.String(), delSp
}

// unquoteLine parts a line from its quote marks, written ">> text" or "> > text".
func unquoteLine(l string) (depth int, rest string) {
	rest = l
	for strings.HasPrefix(rest, ">") {
		depth++
		rest = rest[1:]
		if strings.HasPrefix(rest, " >") {
			rest = rest[1:]
		}
	}
	if depth > 0 {
		rest = strings.TrimPrefix(rest, " ")
	}
	return depth, rest
}

func flowLine(b *strings.Builder, depth int, text string, delSp bool) {
	prefix := strings.Repeat(">", depth)
	limit := max(flowAt-depth-1, 20)
	for {
		head, rest := breakLine(text, limit, delSp)
		b.WriteString(prefix)
		// RFC 3676 4.4: space-stuffing.
		if depth > 0 && head != "" || strings.HasPrefix(head, " ") || strings.HasPrefix(head, ">") || strings.HasPrefix(head, "From ") {
			b.WriteByte(' ')
		}
		b.WriteString(head)
		if rest == "" {
			b.WriteString("\r\n")
			return
		}
		if delSp {
			b.WriteByte(' ')
		}
		b.WriteString("\r\n")
		text = rest
	}
}

// breakLine cuts text where a soft break may stand: behind a space, or, when that space would be
// deleted, between two wide characters. Without such a place within limit columns it takes the first behind it.
func breakLine(text string, limit int, delSp bool) (head, rest string) {
	column, last := 0, 0
	var before rune
	for i, r := range text {
		if i > 0 && canBreak(before, r, delSp) {
			if column > limit && last > 0 {
				break
			}
			last = i
			if column > limit {
				break
			}
		}
		column += columns(r)
		before = r
	}
	if column <= limit || last == 0 {
		return text, ""
	}
	return text[:last], text[last:]
}

func canBreak(before, r rune, delSp bool) bool {
	if before == ' ' {
		return r != ' '
	}
	return delSp && r != ' ' && wide(before) && wide(r)
}

// needsDelSp reports a run without spaces that is longer than a line and could be broken within.
func needsDelSp(s string) bool {
	run, wides := 0, 0
	for _, r := range s {
		if r == ' ' {
			run, wides = 0, 0
			continue
		}
		if wide(r) {
			wides++
		}
		if run += columns(r); run > flowAt && wides > 1 {
			return true
		}
	}
	return false
}

func wide(r rune) bool {
	if r < 0x1100 {
		return false
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return true
	}
	return false
}

func columns(r rune) int {
	if wide(r) {
		return 2
	}
	return 1
}
