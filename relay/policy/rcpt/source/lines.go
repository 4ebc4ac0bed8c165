package source

import (
	"strings"

	"restante/relay/mailaddr"
)

// logical calls do for each line that says something, with comments ("#" first) left out. With folded, lines that begin with white
// space go on with the one before (postmap(5)).
func (c *collector) logical(text string, folded bool, do func(line string)) {
	pending, at, n := "", 0, 0
	flush := func() {
		if pending != "" {
			c.line = at
			do(pending)
		}
		pending = ""
	}
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\n")
		t := strings.TrimLeft(line, " \t")
		switch {
		case t == "" || t[0] == '#':
			continue
		case len(t) > MaxLine || len(pending)+len(t) > MaxLine:
			c.line = n
			c.skip(t, "the line is longer than %d octets", MaxLine)
			continue
		case folded && len(t) < len(line) && pending != "":
			pending += " " + t
			continue
		}
		flush()
		pending, at = t, n
	}
	flush()
}

// separators part several addresses on a line.
const separators = " \t,;|"

// plain reads addresses line by line.
func (c *collector) plain(text string) {
	c.logical(text, false, func(line string) {
		if strings.Trim(line, "-= ") == "" { // the rule below a heading
			return
		}
		if strings.HasPrefix(line, `"`) && c.quoted(line) {
			return
		}
		if !strings.ContainsAny(line, separators) {
			switch a, kind, ok := typed(unbracket(line)); {
			case !ok:
			case strings.HasPrefix(a, "@"):
				c.catchAll(a)
			default:
				c.add(a, kind)
			}
			return
		}
		found := false
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
			a, kind, ok := typed(unbracket(strings.Trim(word, `"'`)))
			if ok && strings.Contains(a, "@") {
				c.add(a, kind)
			}
			found = found || strings.Contains(word, "@") || !ok
		}
		if !found {
			c.skip(line, "there is no address in it")
		}
	})
}

// quoted takes a line that is an address with a quoted local part.
func (c *collector) quoted(line string) bool {
	if _, err := mailaddr.Parse(line); err != nil {
		return false
	}
	c.add(line, "")
	return true
}

func unbracket(s string) string {
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") && strings.Contains(s, "@") {
		return s[1 : len(s)-1]
	}
	return s
}

func postfixLine(t string) bool {
	key, value, ok := strings.Cut(strings.ReplaceAll(t, "\t", " "), " ")
	return ok && strings.Contains(key, "@") && !strings.ContainsAny(key, ",;<") && strings.TrimSpace(value) != ""
}

// postfix reads a lookup table: access(5), virtual(5), relay_recipient_maps.
func (c *collector) postfix(text string) {
	type bare struct {
		key  string
		line int
	}
	var dotted []bare // a name with dots in it, or a domain
	domains := map[string]bool{c.domain: true}
	defer func() {
		for _, b := range dotted {
			if c.line = b.line; !domains[b.key] { // else it says that the domain is there (virtual(5))
				c.add(b.key, "")
			}
		}
	}()
	c.logical(text, true, func(line string) {
		end := strings.IndexAny(line, " \t")
		if strings.HasPrefix(line, `"`) { // postmap(5): a key may be quoted when it has white space
			if i := strings.Index(line, `"@`); i > 0 {
				end = i + max(strings.IndexAny(line[i:], " \t"), 0)
			}
		}
		key, value := line, ""
		if end > 0 {
			key, value = line[:end], strings.TrimSpace(line[end:])
		}
		switch {
		case strings.HasPrefix(key, "/") || strings.HasPrefix(key, "if") && strings.HasPrefix(value, "/") || strings.HasPrefix(key, "!/"):
			c.skip(line, "a pattern says nothing about which addresses there are")
			return
		case refuses(value):
			c.skip(line, "this table refuses the address")
			return
		case !strings.Contains(key, "@") && strings.Contains(key, "."):
			dotted = append(dotted, bare{strings.ToLower(key), c.line})
			return
		}
		domains[strings.ToLower(key[strings.LastIndexByte(key, '@')+1:])] = true
		if strings.HasPrefix(key, "@") {
			c.catchAll(key)
			return
		}
		kind := ""
		if strings.Contains(value, "@") {
			kind = "alias"
		}
		c.add(key, kind)
	})
}

// refuses reports that a value of a table refuses mail (access(5), transport(5)).
func refuses(value string) bool {
	v := strings.ToLower(value)
	if strings.HasPrefix(v, "reject") || strings.HasPrefix(v, "error:") || strings.HasPrefix(v, "discard") {
		return true
	}
	return len(v) >= 3 && (v[0] == '4' || v[0] == '5') && digit(v[1]) && digit(v[2]) && (len(v) == 3 || v[3] == ' ')
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

func aliasLine(t string) bool {
	name, _, ok := strings.Cut(t, ":")
	return ok && name != "" && !strings.ContainsAny(name, " \t,;/") && !strings.EqualFold(name, "smtp") || ok && strings.HasPrefix(t, `"`)
}

// aliases reads "name: targets" (aliases(5)).
func (c *collector) aliases(text string) {
	c.logical(text, true, func(line string) {
		name, _, ok := strings.Cut(line, ":")
		if strings.HasPrefix(line, `"`) {
			if i := strings.Index(line[1:], `"`); i >= 0 {
				name = line[1 : i+1]
			}
			if c.domain != "" && strings.ContainsAny(name, " \t") {
				name = mailaddr.Address{Local: name, Domain: c.domain}.String()
			}
		}
		if name = strings.TrimSpace(name); !ok || name == "" {
			c.skip(line, "it is no line like name: target")
			return
		}
		c.add(name, "alias")
	})
}

func passwdLine(t string) bool {
	name, rest, ok := strings.Cut(t, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t,;/") || strings.EqualFold(name, "smtp") {
		return false
	}
	return strings.Count(rest, ":") >= 2 && !strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "$")
}

// passwd reads "name:..." (passwd(5), Dovecot's passwd-file).
func (c *collector) passwd(text string) {
	c.logical(text, false, func(line string) {
		name, _, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			c.skip("", "it is no line like name:...") // there may be a password in it
			return
		}
		c.add(name, "user")
	})
}
