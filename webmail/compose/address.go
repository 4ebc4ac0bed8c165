package compose

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Why says what is wrong with something typed as an address; the words for it are the caller's.
type Why string

// The ways in which an address can be wrong.
const (
	NoAt       Why = "no-at"      // there is no @ in it
	ManyAts    Why = "many-ats"   // there is more than one
	NoLocal    Why = "no-local"   // nothing before the @
	NoDomain   Why = "no-domain"  // nothing after the @
	NoDot      Why = "no-dot"     // a domain without a dot
	BadLocal   Why = "bad-local"  // a character before the @ that can't be there
	BadDomain  Why = "bad-domain" // a character after the @ that can't be there, or two dots
	UTF8Local  Why = "utf8-local" // letters beyond ASCII before the @, which most servers don't take
	TooLong    Why = "too-long"
	TooMany    Why = "too-many" // more than MaxPeople
	OddNesting Why = "brackets" // < without >, or something behind it
)

// Problem is a piece of an address field that is no address.
type Problem struct {
	Text string // as typed, cleaned of what can't be seen
	Why  Why
}

// ParseList reads an address field as people fill it in: separated by commas, semicolons, line
// breaks, or spaces between bare addresses; with names quoted or not, "Schmidt, Anna <anna@example.com>"
// too; with full-width characters and invisible ones that came along by copying. Each address is
// returned once, in its order. What can't be read is a Problem, never dropped in silence.
func ParseList(s string) ([]Person, []Problem) {
	var people []Person
	var problems []Problem
	if len(s) > maxField {
		cut := strings.ToValidUTF8(s[:maxField], "")
		s = cut[:max(strings.LastIndexAny(cut, ",;\n"), 0)]
		problems = append(problems, Problem{"…", TooMany})
	}
	seen := map[string]bool{}
	for _, piece := range pieces(visible(s)) {
		p, why := parsePerson(piece)
		switch {
		case why != "":
			problems = append(problems, Problem{oneLine(piece), why})
		case seen[Key(p.Addr)]:
		case len(people) == MaxPeople:
			problems = append(problems, Problem{oneLine(piece), TooMany})
		default:
			seen[Key(p.Addr)] = true
			people = append(people, p)
		}
	}
	return people, problems
}

// Key is what two addresses have in common when they mean one mailbox: lower case.
func Key(addr string) string { return strings.ToLower(addr) }

// Base is Key without a +tag: the mailbox that mail for addr reaches.
func Base(addr string) string {
	local, domain, ok := cutLast(Key(addr), '@')
	if tag := strings.IndexByte(local, '+'); ok && tag > 0 {
		local = local[:tag]
	}
	if !ok {
		return Key(addr)
	}
	return local + "@" + domain
}

// Domain returns the domain of an address in lower case, "" when it has none.
func Domain(addr string) string {
	_, domain, ok := cutLast(Key(addr), '@')
	if !ok {
		return ""
	}
	return domain
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// visible removes what can't be seen and can do harm: controls, format characters such as bidi
// overrides and zero-width spaces. Line breaks stay, as separators; tabs become spaces.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r':
			return '\n'
		case r == '\t', r == '\u00a0', r == '\u3000', r == '\u2028', r == '\u2029':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return -1
		}
		return r
	}, s)
}

// pieces splits a field at its separators, outside of quotes, brackets and comments.
func pieces(s string) []string {
	all, balanced := split(s, true)
	if !balanced { // a lone quote or bracket must not swallow the rest
		all, _ = split(s, false)
	}
	var joined []string
	for i := 0; i < len(all); i++ {
		p := all[i]
		// "Schmidt, Anna <anna@example.com>": a comma within a name.
		if p.sep == ',' && i+1 < len(all) && !strings.ContainsAny(p.text, "@<") && strings.Contains(all[i+1].text, "<") {
			all[i+1].text = p.text + ", " + all[i+1].text
			continue
		}
		if words := bareAddresses(p.text); words != nil {
			joined = append(joined, words...)
			continue
		}
		if p.text != "" {
			joined = append(joined, p.text)
		}
	}
	return joined
}

type piece struct {
	text string
	sep  rune // what ended it
}

// split reports with balanced false that a quote, bracket or comment stayed open.
func split(s string, nested bool) (all []piece, balanced bool) {
	var quoted, angle, escaped bool
	depth, start := 0, 0
	add := func(end int, sep rune) {
		all = append(all, piece{strings.TrimSpace(s[start:end]), sep})
		start = end + utf8.RuneLen(sep)
	}
	for i, r := range s {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case nested && r == '"' && !angle && depth == 0:
			quoted = !quoted
		case quoted:
		case nested && r == '(' && !angle:
			depth++
		case nested && r == ')' && depth > 0:
			depth--
		case depth > 0:
		case nested && r == '<':
			angle = true
		case nested && r == '>':
			angle = false
		case angle:
		case r == ',' || r == '，' || r == '、':
			add(i, ',')
			start = i + utf8.RuneLen(r)
		case r == ';' || r == '；' || r == '\n':
			add(i, ';')
			start = i + utf8.RuneLen(r)
		}
	}
	add(len(s), ';')
	return all, !quoted && !angle && depth == 0
}

// bareAddresses returns the words of s when there are several and each looks like an address.
func bareAddresses(s string) []string {
	words := strings.Fields(s)
	if len(words) < 2 {
		return nil
	}
	for _, w := range words {
		if strings.Count(w, "@")+strings.Count(w, "＠") != 1 || strings.ContainsAny(w, `<>"`) {
			return nil
		}
	}
	return words
}

func parsePerson(s string) (Person, Why) {
	name, addr := "", s
	if open := strings.LastIndexByte(s, '<'); open >= 0 {
		inner, behind, closed := strings.Cut(s[open+1:], ">")
		if !closed || strings.TrimSpace(comments(behind)) != "" {
			return Person{}, OddNesting
		}
		name, addr = s[:open], inner
	} else {
		addr = comments(s)
		if words := strings.Fields(addr); len(words) > 1 && !strings.HasPrefix(addr, `"`) { // "Anna anna@example.com"
			at := -1
			for i, w := range words {
				if strings.ContainsAny(w, "@＠") {
					if at >= 0 {
						return Person{}, ManyAts
					}
					at = i
				}
			}
			if at >= 0 && len(words[at]) > 2 {
				addr = words[at]
				name = strings.Join(append(words[:at:at], words[at+1:]...), " ")
			}
		}
	}
	addr, why := cleanAddress(addr)
	if why != "" {
		return Person{}, why
	}
	return Person{CleanName(unquote(name)), addr}, ""
}

// comments takes (comments) away (RFC 5322 3.2.2), nested ones too.
func comments(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var b strings.Builder
	depth := 0
	for _, r := range s {
		switch {
		case r == '(':
			depth++
		case r == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unquote(name string) string {
	name = strings.TrimSpace(name)
	if len(name) < 2 || name[0] != '"' && name[0] != '\'' || name[len(name)-1] != name[0] {
		return name
	}
	var b strings.Builder
	escaped := false
	for _, r := range name[1 : len(name)-1] {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		b.WriteRune(r)
	}
	return b.String()
}

// CleanName returns a display name without what can't be seen, in one line, cut to MaxName.
func CleanName(name string) string { return strings.TrimSpace(cut(oneLine(name), MaxName)) }

// oneLine returns s without what can't be seen, its white space single spaces: fit for a header field.
func oneLine(s string) string { return strings.Join(strings.Fields(visible(s)), " ") }

// cut shortens s to at most n octets at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// CleanAddress reads one bare address and returns it as it is used in envelope and header: the domain
// as lower-case A-labels. Why is "" when it is one.
func CleanAddress(s string) (addr string, why Why) { return cleanAddress(visible(s)) }

func cleanAddress(s string) (string, Why) {
	s = strings.TrimSpace(s)
	if len(s) > 7 && strings.EqualFold(s[:7], "mailto:") {
		s, _, _ = strings.Cut(s[7:], "?")
	}
	if strings.ContainsFunc(s, fullWidth) {
		s = strings.ReplaceAll(norm.NFKC.String(s), "。", ".")
	}
	s = strings.Trim(s, "' ,;:")
	local, domain, ok := cutLast(s, '@')
	domain = strings.TrimSuffix(domain, ".")
	switch {
	case !ok:
		return "", NoAt
	case local == "":
		return "", NoLocal
	case domain == "":
		return "", NoDomain
	case !strings.HasPrefix(local, `"`) && strings.Contains(local, "@"):
		return "", ManyAts
	}
	if why := checkLocal(local); why != "" {
		return "", why
	}
	ascii, why := asciiDomain(domain)
	if why != "" {
		return "", why
	}
	if len(local)+1+len(ascii) > MaxAddress {
		return "", TooLong
	}
	return local + "@" + ascii, ""
}

// fullWidth reports characters that an input method leaves behind: ａ＠ｂ。ｃ
func fullWidth(r rune) bool { return r >= '！' && r <= '～' || r == '。' || r == '｡' }

var (
	dotAtom     = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$") // RFC 5322 3.2.3
	quotedLocal = regexp.MustCompile(`^"([^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])+"$`)                               // RFC 5321 4.1.2
	hostName    = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func checkLocal(local string) Why {
	switch {
	case strings.ContainsFunc(local, func(r rune) bool { return r > unicode.MaxASCII }):
		return UTF8Local
	case !dotAtom.MatchString(local) && !quotedLocal.MatchString(local):
		return BadLocal
	}
	return ""
}

func asciiDomain(domain string) (string, Why) {
	if len(domain) > 4*253 { // characters of 4 octets; to bring it to A-labels takes time that grows with the square of it
		return "", BadDomain
	}
	domain = strings.ToLower(domain)
	if strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) {
		var err error
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", BadDomain
		}
	}
	switch {
	case !strings.Contains(domain, "."):
		if !hostName.MatchString(domain + ".x") {
			return "", BadDomain
		}
		return "", NoDot
	case len(domain) > 253 || !hostName.MatchString(domain):
		return "", BadDomain
	}
	return domain, ""
}

// FormatList writes people as ParseList reads them: for the address fields of the page, in Unicode.
func FormatList(people []Person) string {
	all := make([]string, len(people))
	for i, p := range people {
		all[i] = p.String()
	}
	return strings.Join(all, ", ")
}

// String writes a person as people do: Name <addr>, the name in quotes where it needs them, an IDN in
// its own letters.
func (p Person) String() string {
	addr := p.Addr
	if local, domain, ok := cutLast(addr, '@'); ok && strings.Contains(domain, "xn--") {
		if u, err := idna.Display.ToUnicode(domain); err == nil {
			if back, err := idna.Lookup.ToASCII(u); err == nil && back == domain {
				addr = local + "@" + u
			}
		}
	}
	name := CleanName(p.Name)
	switch {
	case name == "":
		return addr
	case strings.ContainsAny(name, `"\()<>[]:;@,，、；＠`):
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return name + " <" + addr + ">"
}
