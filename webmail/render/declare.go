package render

import (
	"strconv"
	"strings"
	"unicode"

	"github.com/tdewolff/parse/v2/css"
)

// declarationList writes those declarations of a style attribute that are harmless; blocked counts those that
// would have loaded something.
func declarationList(style string) (safe string, blocked int) {
	return declarations(tokens(style))
}

func declarations(ts []token) (safe string, blocked int) {
	var all []string
	level, start := 0, 0
	for i := 0; i <= len(ts) && len(all) < maxDeclared; i++ {
		if i < len(ts) {
			switch ts[i].kind {
			case css.LeftParenthesisToken, css.LeftBraceToken, css.LeftBracketToken, css.FunctionToken:
				level++
				continue
			case css.RightParenthesisToken, css.RightBraceToken, css.RightBracketToken:
				level = max(level-1, 0)
				continue
			case css.SemicolonToken:
				if level > 0 {
					continue
				}
			default:
				continue
			}
		}
		d, loads := declaration(ts[start:i])
		start = i + 1
		if loads {
			blocked++
		}
		if d != "" {
			all = append(all, d)
		}
	}
	return strings.Join(all, ";"), blocked
}

// declaration writes one declaration, "" if it isn't known to be harmless.
func declaration(ts []token) (safe string, loads bool) {
	ts = trimSpace(ts)
	if len(ts) < 3 || ts[0].kind != css.IdentToken {
		return "", loadsAnything(ts)
	}
	name := strings.ToLower(ts[0].text)
	rest := trimSpace(ts[1:])
	if len(rest) == 0 || rest[0].kind != css.ColonToken {
		return "", loadsAnything(ts)
	}
	value, loads := trimSpace(rest[1:]), loadsAnything(rest)
	rule, ok := properties(name)
	if !ok {
		return "", loads
	}
	value, important := cutImportant(value)
	text, ok := writeValue(value, rule)
	if !ok || text == "" {
		return "", loads
	}
	if important {
		text += "!important"
	}
	return name + ":" + text, loads
}

func trimSpace(ts []token) []token {
	for len(ts) > 0 && ts[0].kind == css.WhitespaceToken {
		ts = ts[1:]
	}
	for len(ts) > 0 && ts[len(ts)-1].kind == css.WhitespaceToken {
		ts = ts[:len(ts)-1]
	}
	return ts
}

// loadsAnything finds url() of what isn't in the mail.
func loadsAnything(ts []token) bool {
	for _, t := range ts {
		if t.kind == css.URLToken || t.kind == css.BadURLToken {
			inside := strings.Trim(t.text[min(4, len(t.text)):], " \t\n'\")")
			if remote(inside) {
				return true
			}
		}
	}
	return false
}

func cutImportant(ts []token) ([]token, bool) {
	n := len(ts)
	if n < 2 || ts[n-1].kind != css.IdentToken || !strings.EqualFold(ts[n-1].text, "important") {
		return ts, false
	}
	rest := trimSpace(ts[:n-1])
	if len(rest) == 0 || rest[len(rest)-1].text != "!" {
		return ts, false
	}
	return trimSpace(rest[:len(rest)-1]), true
}

// valueRule says what a property's value may hold.
type valueRule struct {
	words    string // the only words, between spaces; "" for any
	positive bool   // no numbers below 0
	small    bool   // numbers from -100 to 100 only
	strings  bool   // quoted names
	gradient bool
}

// properties knows the properties that lay out and colour text. Those that take things out of their place
// (position, transform, z-index), or paint beside it (outline, shadows), load (content, cursor), move (animation) or
// catch the pointer aren't among them.
func properties(name string) (valueRule, bool) {
	switch name {
	case "color", "background-color", "background-position", "background-repeat", "background-size", "background-clip", "background-origin",
		"border", "border-top", "border-right", "border-bottom", "border-left", "border-color", "border-style", "border-width",
		"border-top-color", "border-right-color", "border-bottom-color", "border-left-color",
		"border-top-style", "border-right-style", "border-bottom-style", "border-left-style",
		"border-top-width", "border-right-width", "border-bottom-width", "border-left-width",
		"border-radius", "border-top-left-radius", "border-top-right-radius", "border-bottom-left-radius", "border-bottom-right-radius",
		"border-collapse", "border-spacing", "caption-side", "clear", "direction", "empty-cells",
		"font-size", "font-style", "font-variant", "font-weight", "font-stretch", "line-height", "list-style-position", "list-style-type",
		"opacity", "overflow-wrap", "hyphens", "table-layout", "tab-size",
		"text-align", "text-align-last", "text-decoration", "text-decoration-line", "text-decoration-color", "text-decoration-style",
		"text-transform", "text-overflow", "visibility", "white-space", "word-break", "word-wrap",
		"align-items", "align-content", "align-self", "justify-content", "flex", "flex-direction", "flex-wrap", "flex-grow", "flex-shrink", "flex-basis", "order",
		"writing-mode", "text-orientation", "orphans", "widows", "page-break-before", "page-break-after", "page-break-inside",
		"box-sizing", "object-fit", "line-break":
		return valueRule{}, true
	case "width", "height", "min-width", "min-height", "max-width", "max-height",
		"padding", "padding-top", "padding-right", "padding-bottom", "padding-left",
		"padding-inline", "padding-inline-start", "padding-inline-end", "padding-block", "padding-block-start", "padding-block-end",
		"margin", "margin-top", "margin-right", "margin-bottom", "margin-left",
		"margin-inline", "margin-inline-start", "margin-inline-end", "margin-block", "margin-block-start", "margin-block-end",
		"gap", "row-gap", "column-gap":
		return valueRule{positive: true}, true
	case "text-indent", "letter-spacing", "word-spacing":
		return valueRule{small: true}, true
	case "font-family", "font":
		return valueRule{strings: true}, true
	case "background", "background-image", "list-style":
		return valueRule{gradient: true}, true
	case "display":
		return valueRule{words: " none block inline inline-block table inline-table table-row table-cell table-row-group table-header-group " +
			"table-footer-group table-column table-column-group table-caption list-item flex inline-flex "}, true
	case "vertical-align":
		return valueRule{words: " baseline top middle bottom sub super text-top text-bottom "}, true
	case "float":
		return valueRule{words: " left right none inline-start inline-end "}, true
	case "overflow", "overflow-x", "overflow-y":
		return valueRule{words: " visible hidden auto "}, true
	}
	return valueRule{}, false
}

// writeValue writes a value from tokens of known kinds. A url() is left out, so that a colour beside it stays.
func writeValue(ts []token, rule valueRule) (string, bool) {
	var b strings.Builder
	level := 0
	for _, t := range ts {
		if b.Len() > 1000 {
			return "", false
		}
		switch t.kind {
		case css.WhitespaceToken:
			if s := b.String(); !strings.HasSuffix(s, " ") && !strings.HasSuffix(s, ",") {
				b.WriteByte(' ')
			}
		case css.IdentToken:
			word := strings.ToLower(t.text)
			if !safeWord(word) || rule.words != "" && !strings.Contains(rule.words, " "+word+" ") {
				return "", false
			}
			b.WriteString(word)
		case css.HashToken:
			if hex := t.text[1:]; !isHex(hex) || len(hex) > 8 {
				return "", false
			}
			b.WriteString(t.text)
		case css.NumberToken, css.PercentageToken, css.DimensionToken:
			if rule.words != "" || !safeNumber(strings.ToLower(t.text), rule.positive) || rule.small && !smallNumber(t.text) {
				return "", false
			}
			b.WriteString(strings.ToLower(t.text))
		case css.CommaToken:
			b.WriteByte(',')
		case css.DelimToken:
			if t.text != "/" && (level == 0 || t.text != "+" && t.text != "-" && t.text != "*") {
				return "", false
			}
			b.WriteString(t.text)
		case css.StringToken:
			name, ok := fontString(t.text)
			if !ok || !rule.strings {
				return "", false
			}
			b.WriteString(name)
		case css.URLToken, css.BadURLToken:
			if !rule.gradient || level > 0 {
				return "", false
			}
		case css.FunctionToken:
			if !safeFunction(strings.ToLower(t.text), rule) {
				return "", false
			}
			level++
			b.WriteString(strings.ToLower(t.text))
		case css.RightParenthesisToken:
			if level--; level < 0 {
				return "", false
			}
			b.WriteByte(')')
		default:
			return "", false
		}
	}
	return strings.Trim(b.String(), " ,"), level == 0
}

func safeWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

func safeFunction(name string, rule valueRule) bool {
	switch name {
	case "rgb(", "rgba(", "hsl(", "hsla(":
		return true
	case "calc(", "min(", "max(":
		return !rule.positive && !rule.small
	case "linear-gradient(", "radial-gradient(":
		return rule.gradient
	}
	return false
}

// safeNumber is a number of a size that a page can have, with a unit of length or angle.
func safeNumber(s string, positive bool) bool {
	n := len(s)
	for n > 0 && (s[n-1] >= 'a' && s[n-1] <= 'z' || s[n-1] == '%') {
		n--
	}
	switch s[n:] {
	case "", "%", "px", "pt", "pc", "em", "rem", "ex", "ch", "cm", "mm", "in", "vw", "deg":
	default:
		return false
	}
	if n > 20 {
		return false
	}
	v, err := strconv.ParseFloat(s[:n], 64)
	return err == nil && v <= 5000 && v >= -5000 && (!positive || v >= 0)
}

func smallNumber(s string) bool {
	v, err := strconv.ParseFloat(strings.TrimRight(strings.ToLower(s), "%abcdefghijklmnopqrstuvwxyz"), 64)
	return err == nil && v >= -100 && v <= 100
}

// fontString writes the name of a font in our own quotes.
func fontString(s string) (string, bool) {
	if len(s) < 2 || len(s) > 100 {
		return "", false
	}
	s = s[1 : len(s)-1]
	for _, r := range s {
		if !fontRune(r) {
			return "", false
		}
	}
	return `"` + s + `"`, true
}

func fontRune(r rune) bool {
	return r == ' ' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' ||
		r >= 0x80 && (unicode.IsLetter(r) || r == '・')
}
