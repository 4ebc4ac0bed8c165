package render

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tdewolff/parse/v2"
	"github.com/tdewolff/parse/v2/css"
	"golang.org/x/net/html/atom"
)

const (
	maxTokens    = 200_000 // of one style sheet
	maxSheet     = 512 << 10
	maxRules     = 5000
	maxClasses   = 10_000 // different style attributes
	maxSelectors = 50     // of one rule
	maxCompounds = 8      // of one selector
	maxIDs       = 2      // of one selector; see baseCSS
	maxMedia     = 3      // @media within @media
	maxDeclared  = 100    // declarations of one block
)

// sheet is the one style sheet of a document: what the mail's own sheets and style attributes come to.
// Nothing of them is copied: each rule is written anew from tokens of known kinds, none of which can hold a quote,
// a backslash, a brace or a "<".
type sheet struct {
	rules   bytes.Buffer
	inline  bytes.Buffer
	n       int
	blocked int
	classes map[string]string
}

func newSheet() *sheet { return &sheet{classes: map[string]string{}} }

func (s *sheet) bytes() []byte {
	return append(s.rules.Bytes(), s.inline.Bytes()...)
}

// class returns the name of a class with these declarations, which must be safe. It wins over the rules of style
// sheets, as a style attribute would, but for !important.
func (s *sheet) class(declarations string) string {
	if name, ok := s.classes[declarations]; ok {
		return name
	}
	if len(s.classes) >= maxClasses || s.inline.Len() > maxSheet {
		return ""
	}
	name := "s" + strconv.Itoa(len(s.classes)+1)
	s.classes[declarations] = name
	s.inline.WriteString("#r#r#r ." + name + "{" + declarations + "}\n")
	return name
}

// token is a token of CSS.
type token struct {
	kind css.TokenType
	text string
}

func tokens(text string) []token {
	if len(text) > 2*maxSheet {
		text = text[:2*maxSheet]
	}
	text = strings.ReplaceAll(text, "\x00", "")
	l := css.NewLexer(parse.NewInputString(text))
	var all []token
	for len(all) < maxTokens {
		kind, data := l.Next()
		switch kind {
		case css.ErrorToken:
			return all
		case css.CommentToken, css.CDOToken, css.CDCToken: // what they kept apart stays apart
			kind, data = css.WhitespaceToken, []byte(" ")
		}
		all = append(all, token{kind, string(data)})
	}
	return all
}

// add takes over what is harmless of a style sheet.
func (s *sheet) add(text, media string) {
	if media != "" {
		query, ok := mediaQuery(tokens(media))
		if !ok {
			return
		}
		s.rules.WriteString("@media " + query + "{")
		s.list(tokens(text), 1)
		s.rules.WriteString("}\n")
		return
	}
	s.list(tokens(text), 0)
}

// list reads rules.
func (s *sheet) list(ts []token, depth int) {
	for len(ts) > 0 && s.n < maxRules && s.rules.Len() < maxSheet {
		t := ts[0]
		if t.kind == css.WhitespaceToken || t.kind == css.SemicolonToken || t.kind == css.RightBraceToken {
			ts = ts[1:]
			continue
		}
		prelude, block, rest, hasBlock := cutRule(ts, t.kind == css.AtKeywordToken)
		ts = rest
		s.n++
		switch {
		case t.kind == css.AtKeywordToken:
			s.at(strings.ToLower(t.text), prelude[1:], block, hasBlock, depth)
		case hasBlock:
			s.rule(prelude, block)
		}
	}
}

// cutRule takes a rule off the front of ts: what is before its block, and what is in it. An at-rule may end with
// a semicolon instead.
func cutRule(ts []token, at bool) (prelude, block, rest []token, hasBlock bool) {
	for i, t := range ts {
		if at && t.kind == css.SemicolonToken {
			return ts[:i], nil, ts[i+1:], false
		}
		if t.kind != css.LeftBraceToken {
			continue
		}
		level := 0
		for j := i; j < len(ts); j++ {
			switch ts[j].kind {
			case css.LeftBraceToken:
				level++
			case css.RightBraceToken:
				if level--; level == 0 {
					return ts[:i], ts[i+1 : j], ts[j+1:], true
				}
			}
		}
		return ts[:i], ts[i+1:], nil, true
	}
	return ts, nil, nil, false
}

func (s *sheet) at(name string, prelude, block []token, hasBlock bool, depth int) {
	switch name {
	case "@import":
		s.blocked++
	case "@font-face":
		for _, t := range block {
			if t.kind == css.URLToken {
				s.blocked++
				break
			}
		}
	case "@media":
		query, ok := mediaQuery(prelude)
		if !hasBlock || !ok || depth >= maxMedia {
			return
		}
		s.rules.WriteString("@media " + query + "{")
		s.list(block, depth+1)
		s.rules.WriteString("}\n")
	}
}

// mediaQuery writes a query about the width of the screen. Others, as for dark paper, which there is none of here,
// and for print, take their rules with them.
func mediaQuery(ts []token) (string, bool) {
	var b strings.Builder
	level := 0
	for _, t := range ts {
		text := strings.ToLower(t.text)
		switch t.kind {
		case css.WhitespaceToken:
			b.WriteByte(' ')
			continue
		case css.LeftParenthesisToken:
			level++
		case css.RightParenthesisToken:
			if level--; level < 0 {
				return "", false
			}
		case css.CommaToken, css.ColonToken:
		case css.IdentToken:
			switch text {
			case "screen", "all", "only", "and", "max-width", "min-width", "max-device-width", "min-device-width", "orientation", "landscape", "portrait":
			default:
				return "", false
			}
		case css.DimensionToken, css.NumberToken:
			if !safeNumber(text, true) {
				return "", false
			}
		case css.FunctionToken: // "and(" without a space is no query
			return "", false
		default:
			return "", false
		}
		b.WriteString(text)
		if b.Len() > 300 {
			return "", false
		}
	}
	q := strings.TrimSpace(b.String())
	return q, q != "" && level == 0
}

// rule writes a rule with those of its selectors and declarations that are known.
func (s *sheet) rule(prelude, block []token) {
	declarations, blocked := declarations(block)
	s.blocked += blocked
	if declarations == "" {
		return
	}
	var selectors []string
	start := 0
	for i := 0; i <= len(prelude); i++ {
		if i < len(prelude) && prelude[i].kind != css.CommaToken {
			continue
		}
		if sel, ok := selector(prelude[start:i]); ok && len(selectors) < maxSelectors {
			selectors = append(selectors, sel)
		}
		start = i + 1
	}
	if len(selectors) > 0 {
		s.rules.WriteString(strings.Join(selectors, ",") + "{" + declarations + "}\n")
	}
}

// scope keeps selectors to what is shown, with no weight of its own.
const scope = ":where(#r) "

// selector writes a selector of elements, classes, ids, and those pseudo-classes that need no argument.
func selector(ts []token) (string, bool) {
	for len(ts) > 0 && ts[0].kind == css.WhitespaceToken {
		ts = ts[1:]
	}
	for len(ts) > 0 && ts[len(ts)-1].kind == css.WhitespaceToken {
		ts = ts[:len(ts)-1]
	}
	var b strings.Builder
	b.WriteString(scope)
	compounds, ids := 1, 0
	for i := 0; i < len(ts); i++ {
		t := ts[i]
		next := token{}
		if i+1 < len(ts) {
			next = ts[i+1]
		}
		switch {
		case t.kind == css.WhitespaceToken:
			if !combinator(next) && !combinator(ts[i-1]) && next.kind != css.WhitespaceToken {
				compounds++
				b.WriteByte(' ')
			}
		case combinator(t):
			compounds++
			b.WriteString(t.text)
		case t.kind == css.DelimToken && t.text == "*":
			b.WriteString(t.text)
		case t.kind == css.DelimToken && t.text == "." && next.kind == css.IdentToken:
			name, ok := identifier(next.text)
			if !ok {
				return "", false
			}
			b.WriteString("." + name)
			i++
		case t.kind == css.ColonToken && next.kind == css.IdentToken:
			pseudo := strings.ToLower(next.text)
			switch pseudo {
			case "link", "visited", "hover", "active", "focus", "first-child", "last-child", "only-child", "first-of-type", "last-of-type":
			default:
				return "", false
			}
			b.WriteString(":" + pseudo)
			i++
		case t.kind == css.HashToken:
			name, ok := identifier(strings.TrimPrefix(t.text, "#"))
			if ids++; !ok || ids > maxIDs {
				return "", false
			}
			b.WriteString("#" + name)
		case t.kind == css.IdentToken:
			name, ok := element(t.text)
			if !ok {
				return "", false
			}
			b.WriteString(name)
		default:
			return "", false
		}
	}
	if compounds > maxCompounds || b.Len() == len(scope) {
		return "", false
	}
	return b.String(), true
}

func combinator(t token) bool {
	return t.kind == css.DelimToken && (t.text == ">" || t.text == "+" || t.text == "~")
}

// element is the selector of a type of element. The mail's body is a division here, and html is around it.
func element(name string) (string, bool) {
	switch name = strings.ToLower(name); name {
	case "body", "html":
		return ".rbody", true
	}
	a := atom.Lookup([]byte(name))
	if a == atom.A || a == atom.Img {
		return name, true
	}
	tag, ok := allowedTag(a)
	return tag, ok && tag == name // what isn't written is on no page either
}
