package config

import (
	"fmt"
	"strings"
)

// place is a line of a file.
type place struct {
	file string
	line int
}

// positions knows where each key was set: "smtp.listen", "domain[1].name".
type positions map[string]place

// of returns the place of the key or of its nearest parent that has one.
func (p positions) of(key string) place {
	for key != "" {
		if at, ok := p[key]; ok {
			return at
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return place{}
}

// scanner finds keys in TOML text that the TOML decoder has already accepted, so it may be simple: it
// only has to know where strings, comments and brackets begin and end.
type scanner struct {
	text   string
	i      int
	line   int
	table  string
	arrays map[string]int
	found  map[string]int
}

// findKeys returns the line of each key and table of the TOML text.
func findKeys(text string) map[string]int {
	s := &scanner{text: text, line: 1, arrays: map[string]int{}, found: map[string]int{}}
	for s.i < len(s.text) {
		switch c := s.text[s.i]; {
		case c == '\n':
			s.line++
			s.i++
		case c == ' ' || c == '\t' || c == '\r':
			s.i++
		case c == '#':
			s.comment()
		case c == '[':
			s.header()
		default:
			s.keyValue(s.table)
		}
	}
	return s.found
}

func (s *scanner) comment() {
	for s.i < len(s.text) && s.text[s.i] != '\n' {
		s.i++
	}
}

// header reads [a.b] or [[a]].
func (s *scanner) header() {
	s.i++
	array := s.i < len(s.text) && s.text[s.i] == '['
	if array {
		s.i++
	}
	name := s.key()
	for s.i < len(s.text) && s.text[s.i] != '\n' {
		s.i++
	}
	resolved := s.resolve(name, array)
	s.table = resolved + "."
	s.set(resolved)
}

// resolve puts the current index behind each array table of the path, and counts a new one at its end.
func (s *scanner) resolve(name []string, array bool) string {
	path := ""
	for i, part := range name {
		if path != "" {
			path += "."
		}
		path += part
		if array && i == len(name)-1 {
			n := s.arrays[path]
			s.arrays[path] = n + 1
			return fmt.Sprintf("%s[%d]", path, n)
		}
		if n := s.arrays[path]; n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
	}
	return path
}

func (s *scanner) set(key string) {
	if _, ok := s.found[key]; !ok {
		s.found[key] = s.line
	}
}

// key reads a possibly dotted, possibly quoted key.
func (s *scanner) key() []string {
	var parts []string
	var b strings.Builder
	for s.i < len(s.text) {
		switch c := s.text[s.i]; c {
		case '=', ']', '\n', '#', ',', '}':
			return append(parts, b.String())
		case '.':
			parts = append(parts, b.String())
			b.Reset()
			s.i++
		case '"', '\'':
			start := s.i
			s.str()
			b.WriteString(strings.Trim(s.text[start:s.i], string(c)))
		case ' ', '\t', '\r':
			s.i++
		default:
			b.WriteByte(c)
			s.i++
		}
	}
	return append(parts, b.String())
}

func (s *scanner) keyValue(prefix string) {
	name := prefix + strings.Join(s.key(), ".")
	s.set(name)
	if s.i < len(s.text) && s.text[s.i] == '=' {
		s.i++
		s.value(name)
		return
	}
	if s.i < len(s.text) && s.text[s.i] != '\n' {
		s.i++ // not TOML; never stand still
	}
}

// value skips a value to the end of its line, through strings, arrays and inline tables.
func (s *scanner) value(name string) {
	depth := 0
	for s.i < len(s.text) {
		switch c := s.text[s.i]; c {
		case '\n':
			if depth == 0 {
				return
			}
			s.line++
			s.i++
		case '#':
			s.comment()
		case '"', '\'':
			s.str()
		case '[':
			depth++
			s.i++
		case '{':
			depth++
			s.i++
			s.inline(name)
		case ']', '}':
			depth--
			s.i++
		case ',':
			s.i++
		default:
			s.i++
		}
	}
}

// inline notes the first key of an inline table; its others share the line in all but odd layouts.
func (s *scanner) inline(name string) {
	for s.i < len(s.text) && (s.text[s.i] == ' ' || s.text[s.i] == '\t') {
		s.i++
	}
	if s.i < len(s.text) && s.text[s.i] != '}' && s.text[s.i] != '"' && s.text[s.i] != '\'' {
		s.set(name + "." + strings.Join(s.key(), "."))
	}
}

// str skips a string of any of the four kinds.
func (s *scanner) str() {
	q := s.text[s.i : s.i+1]
	if strings.HasPrefix(s.text[s.i:], q+q+q) {
		q = q + q + q
	}
	s.i += len(q)
	for s.i < len(s.text) {
		switch {
		case strings.HasPrefix(s.text[s.i:], q):
			s.i += len(q)
			return
		case s.text[s.i] == '\\' && q[0] == '"':
			s.i += 2
		case s.text[s.i] == '\n':
			if len(q) == 1 {
				return
			}
			s.line++
			s.i++
		default:
			s.i++
		}
	}
	s.i = min(s.i, len(s.text))
}
