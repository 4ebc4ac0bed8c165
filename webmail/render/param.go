package render

import (
	"sort"
	"strconv"
	"strings"
)

const maxParams = 100 // parameters of one field

// parseParams reads "value; name=text; ..." (RFC 2045 5.1) as far as it can be read: the value in lower case, the
// names of the parameters too. RFC 2231's continuations and charsets are put together and decoded; encoded words,
// which have no place here but are common, too.
func parseParams(field string) (value string, params map[string]string) {
	value, rest, _ := strings.Cut(field, ";")
	if i := strings.IndexByte(value, '('); i >= 0 {
		value = value[:i]
	}
	value = strings.ToLower(strings.Trim(value, " \t\"'"))
	raw := rawParams(rest)
	params = map[string]string{}
	type piece struct {
		n       int
		encoded bool
		text    string
	}
	split := map[string][]piece{}
	for _, p := range raw {
		name, star := strings.CutSuffix(p[0], "*")
		base, number, numbered := strings.Cut(name, "*")
		if n, err := strconv.Atoi(number); numbered && err == nil && n >= 0 && n < maxParams {
			split[base] = append(split[base], piece{n, star, p[1]})
			continue
		}
		if star {
			split[name] = append(split[name], piece{0, true, p[1]})
			continue
		}
		if _, ok := params[name]; !ok {
			params[name] = p[1]
		}
	}
	for name, pieces := range split { // these win over the plain ones (RFC 6266 4.3 has it so too)
		sort.SliceStable(pieces, func(i, j int) bool { return pieces[i].n < pieces[j].n })
		var b strings.Builder
		charset := ""
		for i, p := range pieces {
			if !p.encoded {
				b.WriteString(p.text)
				continue
			}
			text := p.text
			if i == 0 {
				if parts := strings.SplitN(text, "'", 3); len(parts) == 3 {
					charset, text = parts[0], parts[2]
				}
			}
			b.WriteString(unpercent(text))
		}
		text, _ := decodeCharset([]byte(b.String()), charset)
		params[name] = text
	}
	return value, params
}

// rawParams splits "a=b; c="d;e"" into pairs, names in lower case.
func rawParams(s string) [][2]string {
	var all [][2]string
	for len(all) < maxParams {
		s = strings.TrimLeft(s, " \t;,")
		if s == "" {
			break
		}
		i := strings.IndexAny(s, "=;")
		if i < 0 {
			break
		}
		if s[i] == ';' {
			s = s[i+1:]
			continue
		}
		name := strings.ToLower(strings.Trim(s[:i], " \t"))
		s = strings.TrimLeft(s[i+1:], " \t")
		var value string
		if strings.HasPrefix(s, `"`) {
			value, s = unquote(s)
			if i := strings.IndexByte(s, ';'); i >= 0 {
				s = s[i+1:]
			} else {
				s = ""
			}
		} else {
			value, s, _ = strings.Cut(s, ";")
			value = strings.TrimRight(value, " \t")
		}
		all = append(all, [2]string{name, value})
	}
	return all
}

// unquote takes a quoted string off the front of s.
func unquote(s string) (text, rest string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:]
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default: // a lone backslash is one: C:\temp\x.txt
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// unpercent decodes %XX and leaves what isn't.
func unpercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, ok := unhex(s[i+1], s[i+2]); ok {
				b = append(b, v)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func unhex(hi, lo byte) (byte, bool) {
	h, ok1 := nibble(hi)
	l, ok2 := nibble(lo)
	return h<<4 | l, ok1 && ok2
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
