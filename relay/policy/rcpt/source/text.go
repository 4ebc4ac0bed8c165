package source

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// read makes UTF-8 with plain line ends of a file.
func read(r io.Reader) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return "", err
	}
	if len(raw) > MaxFile {
		return "", fmt.Errorf("%w: it is longer than %d MiB; is it the right file?", ErrFormat, MaxFile>>20)
	}
	if enc := charset(raw); enc != nil {
		if raw, err = enc.NewDecoder().Bytes(raw); err != nil {
			return "", fmt.Errorf("%w: it can't be read as text: %w", ErrFormat, err)
		}
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if bytes.IndexByte(raw, 0) >= 0 {
		return "", fmt.Errorf("%w: it isn't text; export the list, don't copy the database", ErrFormat)
	}
	text := string(raw)
	if strings.IndexByte(text, '\r') >= 0 {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	return text, nil
}

// charset is what a file is encoded in, nil for UTF-8. UTF-16 without its mark shows by the zeros of ASCII.
func charset(raw []byte) encoding.Encoding {
	head := raw[:min(len(raw), 256)]
	var zeros [2]int
	for i, b := range head {
		if b == 0 {
			zeros[i%2]++
		}
	}
	switch {
	case bytes.HasPrefix(raw, []byte{0xff, 0xfe}), bytes.HasPrefix(raw, []byte{0xfe, 0xff}):
		return unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM)
	case zeros[1] > len(head)/3 && zeros[0] == 0:
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case zeros[0] > len(head)/3 && zeros[1] == 0:
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case !utf8.Valid(raw):
		return charmap.Windows1252
	}
	return nil
}

// lookAt is how many lines that say something are looked at to tell the format.
const lookAt = 200

// look tells the format of a text.
func look(text string) string {
	var lines []string
	tables := 0 // lines that are no comment
	var counts struct{ dn, ldif, passwd, aliases, postfix int }
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		t := strings.TrimSpace(line)
		if len(lines) == lookAt {
			break
		}
		if tables == 0 && (strings.HasPrefix(t, "#TYPE ") || strings.HasPrefix(t, "sep=")) {
			return CSV
		}
		if t == "" || strings.HasPrefix(t, "#") || line != strings.TrimLeft(line, " \t") && len(lines) > 0 {
			continue // nothing, a comment, or a continuation
		}
		tables++
		lines = append(lines, t)
		switch {
		case ldifLine(t):
			counts.ldif++
			if strings.EqualFold(t[:3], "dn:") {
				counts.dn++
			}
		case passwdLine(t):
			counts.passwd++
		case aliasLine(t):
			counts.aliases++
		case postfixLine(t):
			counts.postfix++
		}
	}
	if len(lines) == 0 {
		return Plain
	}
	half := (len(lines) + 1) / 2
	switch {
	case headLine(lines):
		return CSV
	case counts.dn > 0 || counts.ldif*5 >= len(lines):
		return LDIF
	case counts.passwd >= half:
		return Passwd
	case counts.aliases >= half:
		return Aliases
	case counts.postfix >= half:
		return Postfix
	}
	return Plain
}

// headLine reports that the lines begin with the head of a table. A single word may be a name, too: what follows tells.
func headLine(lines []string) bool {
	cells := split(lines[0])
	if _, ok := columnsOf(cells); !ok {
		return false
	}
	if len(cells) > 1 || strings.HasPrefix(lines[0], `"`) {
		return true
	}
	return len(lines) > 1 && (strings.Contains(lines[1], "@") || strings.Trim(lines[1], "- ") == "")
}
