package render

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// Display returns the address for people, "Name <addr>", with characters that hide or turn others made visible.
// A domain is shown in its own alphabet unless that could be mistaken for another.
func (a Address) Display() string {
	addr := a.DisplayAddr()
	name := Visible(a.Name)
	switch {
	case name == "":
		return addr
	case addr == "":
		return name
	}
	return name + " <" + addr + ">"
}

// DisplayAddr returns the bare address as Display shows it.
func (a Address) DisplayAddr() string {
	local, domain, ok := cutAddr(a.Addr)
	if !ok {
		return Visible(a.Addr)
	}
	return Visible(local) + "@" + displayHost(domain)
}

// Visible shows characters that can't be seen, or that turn or cover others, by their number: ‹U+202E›.
func Visible(s string) string {
	odd := func(r rune) bool { return dropped(r) || bidiControl(r) || invisible(r) }
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if odd(r) {
			fmt.Fprintf(&b, "‹U+%04X›", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// invisible are characters without a shape; the joiners, which some scripts need, are among them only where used
// beside Latin letters, which suspicion sees to.
func invisible(r rune) bool {
	switch {
	case r == 0x00ad, r == 0x034f, r == 0x115f, r == 0x1160, r == 0x17b4, r == 0x17b5, r == 0x3164, r == 0xffa0, r == 0x2800:
		return true
	case r == 0x200b, r >= 0x2060 && r <= 0x2064, r >= 0x206a && r <= 0x206f, r == 0x180e:
		return true
	case r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}

// suspicion says why the looks of a sender aren't to be trusted; raw is the name before it was cleaned.
func suspicion(raw, addr string) string {
	local, domain, _ := cutAddr(addr)
	shown := toUnicode(domain)
	for _, s := range []string{raw, local, shown} {
		for _, r := range s {
			if r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				return ReasonBidi
			}
		}
	}
	if all := raw + " " + local + " " + shown; strings.IndexFunc(all, invisible) >= 0 || joinsLatin(all) {
		return ReasonInvisible
	}
	if other := addressIn(raw); other != "" && addr != "" && !related(other, addr) {
		return ReasonName
	}
	if mixed(local) || mixed(shown) || mixed(raw) {
		return ReasonMixed
	}
	if lookalike(shown) {
		return ReasonLookalike
	}
	return ""
}

// joinsLatin finds joiners beside Latin letters, where they do nothing but hide.
func joinsLatin(s string) bool {
	last := ' '
	for _, r := range s {
		joiner := r == 0x200c || r == 0x200d
		if joiner && unicode.Is(unicode.Latin, last) {
			return true
		}
		last = r
	}
	return false
}

func cutAddr(addr string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, "", false
	}
	return addr[:i], addr[i+1:], true
}

// addressIn finds an address in a name, "" if there is none.
func addressIn(name string) string {
	name = strings.Map(func(r rune) rune {
		switch r {
		case '＠', '﹫':
			return '@'
		case '．', '。', '․':
			return '.'
		}
		return r
	}, name)
	for _, word := range strings.FieldsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune(`<>()[]"',;:|/`, r)
	}) {
		local, domain, ok := cutAddr(strings.Trim(word, ".-"))
		if ok && local != "" && strings.Contains(strings.Trim(domain, "."), ".") {
			return strings.ToLower(local + "@" + domain)
		}
	}
	return ""
}

func toUnicode(domain string) string {
	u, err := idna.Punycode.ToUnicode(domain)
	if err != nil {
		return domain
	}
	return u
}

// displayHost shows a host in its own alphabet where that misleads nobody, else in its ASCII form.
func displayHost(host string) string {
	host = strings.ToLower(host)
	u := toUnicode(host)
	if u == host {
		return Visible(host)
	}
	if mixed(u) || lookalike(u) || strings.IndexFunc(u, func(r rune) bool {
		return invisible(r) || dropped(r) || bidiControl(r) || unicode.IsSpace(r) || strings.ContainsRune("/?#@:\\%⁄∕⧸․‥…ꞏ։׃", r) ||
			!unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && r != '.' && r != '-' && r != '・'
	}) >= 0 {
		if ascii, err := idna.Punycode.ToASCII(host); err == nil {
			return Visible(ascii)
		}
	}
	return u
}

// mixed says whether a word of s has letters of alphabets that aren't written together (after UTS 39 5.2, highly
// restrictive): Latin goes with Japanese, Chinese and Korean; Cyrillic, Greek and the like go with nothing.
func mixed(s string) bool {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }) {
		var latin, other string
		for _, r := range word {
			switch sc := scriptOf(r); sc {
			case "", "cjk":
			case "Latin":
				latin = sc
			default:
				if other != "" && other != sc {
					return true
				}
				other = sc
			}
		}
		if latin != "" && other != "" {
			return true
		}
	}
	return false
}

func scriptOf(r rune) string {
	switch {
	case r < 0x80:
		return "Latin"
	case unicode.In(r, unicode.Common, unicode.Inherited):
		return ""
	case unicode.Is(unicode.Latin, r):
		return "Latin"
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo):
		return "cjk"
	case unicode.Is(unicode.Cyrillic, r):
		return "Cyrillic"
	case unicode.Is(unicode.Greek, r):
		return "Greek"
	case unicode.Is(unicode.Armenian, r):
		return "Armenian"
	case unicode.Is(unicode.Cherokee, r):
		return "Cherokee"
	case unicode.Is(unicode.Hebrew, r):
		return "Hebrew"
	case unicode.Is(unicode.Arabic, r):
		return "Arabic"
	}
	return "other"
}

// twins are letters that look like Latin ones in most fonts.
const twins = "асԁеһіјӏорԛѕԝхуүзӡЬвкмнтгьΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοιν" + "օոսցհ" + "ᎪᏴᏟᎬᎳᏃ" + "АВЕКМНОРСТУХІЈЅ"

// lookalike says whether a label of a domain is written wholly in letters that look like Latin ones, under a top
// level that is Latin: аррӏе.com.
func lookalike(domain string) bool {
	labels := strings.Split(domain, ".")
	if len(labels) < 2 {
		return false
	}
	if top := labels[len(labels)-1]; strings.IndexFunc(top, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return false
	}
	for _, label := range labels[:len(labels)-1] {
		odd, other := 0, 0
		for _, r := range label {
			switch {
			case strings.ContainsRune(twins, r):
				odd++
			case r >= 0x80 && unicode.IsLetter(r):
				other++
			}
		}
		if odd > 0 && other == 0 {
			return true
		}
	}
	return false
}
