package render

import (
	"strconv"
	"strings"

	"golang.org/x/net/html/atom"
)

// allowedTag returns the element to write for one of a mail. Others lose their tags and keep their text.
func allowedTag(a atom.Atom) (string, bool) {
	switch a {
	case atom.Abbr, atom.Acronym, atom.Address, atom.Article, atom.Aside, atom.B, atom.Bdi, atom.Big, atom.Blockquote, atom.Br,
		atom.Caption, atom.Center, atom.Cite, atom.Code, atom.Col, atom.Colgroup, atom.Dd, atom.Del, atom.Dfn, atom.Div, atom.Dl,
		atom.Dt, atom.Em, atom.Figcaption, atom.Figure, atom.Font, atom.Footer, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6,
		atom.Header, atom.Hr, atom.I, atom.Ins, atom.Kbd, atom.Li, atom.Main, atom.Mark, atom.Nav, atom.Ol, atom.P, atom.Pre, atom.Q,
		atom.Rp, atom.Rt, atom.Ruby, atom.S, atom.Samp, atom.Section, atom.Small, atom.Span, atom.Strike, atom.Strong, atom.Sub,
		atom.Sup, atom.Table, atom.Tbody, atom.Td, atom.Tfoot, atom.Th, atom.Thead, atom.Time, atom.Tr, atom.Tt, atom.U, atom.Ul,
		atom.Var, atom.Wbr:
		return a.String(), true
	case atom.Form, atom.Fieldset, atom.Details, atom.Summary, atom.Hgroup, atom.Legend, atom.Menu, atom.Dir: // blocks without what they do
		return "div", true
	case atom.Label, atom.Button, atom.Output, atom.Nobr:
		return "span", true
	case atom.Xmp, atom.Listing:
		return "pre", true
	}
	return "", false
}

func void(a atom.Atom) bool {
	return a == atom.Br || a == atom.Hr || a == atom.Col || a == atom.Wbr
}

// allowedAttr returns the value to write for an attribute, in a form of our own.
func allowedAttr(tag atom.Atom, key, value string) (string, bool) {
	v := strings.TrimSpace(value)
	lower := strings.ToLower(v)
	oneOf := func(words ...string) (string, bool) {
		for _, w := range words {
			if lower == w {
				return w, true
			}
		}
		return "", false
	}
	switch key {
	case "dir":
		return oneOf("ltr", "rtl", "auto")
	case "lang":
		tag := langTag(v)
		return tag, tag != ""
	case "title", "abbr", "summary":
		if tag == atom.A && key == "title" {
			return "", false // ours says where the link leads
		}
		return cutString(oneLine(v), 500), v != ""
	case "id", "name":
		if key == "name" && tag != atom.A {
			return "", false
		}
		return identifier(v)
	case "align":
		return oneOf("left", "right", "center", "justify", "middle", "top", "bottom")
	case "valign":
		return oneOf("top", "middle", "bottom", "baseline")
	case "bgcolor", "color", "bordercolor":
		if tag == atom.Body { // a class says it
			return "", false
		}
		return colour(v)
	case "width", "height":
		return length(v)
	case "border", "cellpadding", "cellspacing", "hspace", "vspace":
		return integer(v, 0, 200)
	case "colspan", "span", "rowspan":
		return integer(v, 1, 1000)
	case "start", "value":
		if tag != atom.Ol && tag != atom.Li {
			return "", false
		}
		return integer(v, -100_000, 100_000)
	case "reversed", "nowrap", "noshade":
		return key, true
	case "size":
		return fontSize(v)
	case "face":
		return fontNames(v)
	case "type":
		if v == "1" || v == "a" || v == "A" || v == "i" || v == "I" {
			return v, tag == atom.Ol || tag == atom.Li
		}
		return oneOf("disc", "circle", "square")
	case "rules":
		return oneOf("none", "groups", "rows", "cols", "all")
	case "frame":
		return oneOf("void", "above", "below", "hsides", "lhs", "rhs", "vsides", "box", "border")
	case "scope":
		return oneOf("row", "col", "rowgroup", "colgroup")
	case "role":
		return oneOf("presentation", "none")
	}
	return "", false
}

// identifier makes a name of a mail's own into one that can't be one of ours.
func identifier(s string) (string, bool) {
	if s == "" || len(s) > 100 {
		return "", false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return "", false
		}
	}
	return "m-" + s, true
}

func integer(s string, low, high int) (string, bool) {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "px"))
	if err != nil || n < low {
		return "", false
	}
	return strconv.Itoa(min(n, high)), true
}

// length is an HTML length: pixels or per cent.
func length(s string) (string, bool) {
	number, percent := strings.CutSuffix(s, "%")
	number, _, _ = strings.Cut(strings.TrimSuffix(strings.TrimSpace(number), "px"), ".")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return "", false
	}
	if percent {
		return strconv.Itoa(min(n, 100)) + "%", true
	}
	return strconv.Itoa(min(n, 5000)), true
}

func fontSize(s string) (string, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -7 || n > 7 {
		return "", false
	}
	if s[0] == '+' {
		return "+" + strconv.Itoa(n), true
	}
	return strconv.Itoa(n), true
}

// fontNames keeps letters, digits, spaces, commas and hyphens.
func fontNames(s string) (string, bool) {
	s = cutValid(s, 200)
	s = strings.Map(func(r rune) rune {
		if fontRune(r) || r == ',' {
			return r
		}
		return -1
	}, s)
	return s, s != ""
}

// colour is a name or #hex; what can't be read as either isn't guessed as browsers do.
func colour(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if hex, ok := strings.CutPrefix(s, "#"); ok || len(s) == 6 && isHex(s) {
		if !ok {
			hex = s
		}
		switch len(hex) {
		case 3, 4, 6, 8:
			return "#" + hex, isHex(hex)
		}
		return "", false
	}
	if s == "" || len(s) > 24 {
		return "", false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 'a' || s[i] > 'z' {
			return "", false
		}
	}
	return s, true
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if _, ok := nibble(s[i]); !ok {
			return false
		}
	}
	return s != ""
}
