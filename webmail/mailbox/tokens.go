package mailbox

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Words are found by their beginnings, whatever the case and the accents. Where a script puts no space between words (Chinese, Japanese,
// Thai, ...) each two neighbouring characters are a token, so that any part of a sentence is found; Korean is treated alike.

// tokenMax bounds a token, in octets: a longer one, such as a piece of base64, is cut.
const tokenMax = 64

var dense = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Bopomofo, unicode.Tibetan}

// isDense reports characters of scripts that put no space between words.
func isDense(r rune) bool {
	return r >= 0x0e00 && (unicode.In(r, dense...) || r == 'ー' || r == '々')
}

// fold makes what differs in case, width or accents the same.
func fold(s string) string {
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(s)
	}
	s = strings.ToLower(norm.NFKC.String(s))
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf || isDense(r):
			b.WriteRune(r)
		case r == 'ß':
			b.WriteString("ss")
		case r == 'ı':
			b.WriteByte('i')
		default:
			for _, d := range norm.NFD.String(string(r)) {
				if !unicode.Is(unicode.Mn, d) {
					b.WriteRune(d)
				}
			}
		}
	}
	return b.String()
}

// tokens splits text. last: the text is a search, so what its last run would be followed by isn't known.
func tokens(text string, search bool) []string {
	var out []string
	var tail []string // last characters of dense runs, found alone
	text = fold(text)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case isDense(r):
			end := runEnd(text, i, isDense)
			run := []rune(text[i:end])
			for j := 0; j+1 < len(run); j++ {
				out = append(out, string(run[j:j+2]))
			}
			last := string(run[len(run)-1])
			switch {
			case len(run) == 1:
				out = append(out, last)
			case !search && len(tail) < 1000 && !slices.Contains(tail[max(0, len(tail)-64):], last):
				tail = append(tail, last)
			}
			i = end
		case isWord(r):
			end := runEnd(text, i, isWord)
			word := text[i:end]
			if len(word) > tokenMax {
				word = word[:tokenMax]
				for !utf8.ValidString(word) {
					word = word[:len(word)-1]
				}
			}
			out = append(out, word)
			i = end
		default:
			i += size
		}
	}
	return append(out, tail...)
}

func isWord(r rune) bool { return (unicode.IsLetter(r) || unicode.IsNumber(r)) && !isDense(r) }

func runEnd(s string, from int, in func(rune) bool) int {
	for i, r := range s[from:] {
		if !in(r) {
			return from + i
		}
	}
	return len(s)
}

// prefixable reports tokens that stand for all that begin with them. Shorter ones would stand for too many.
func prefixable(token string) bool {
	r, _ := utf8.DecodeRuneInString(token)
	if isDense(r) {
		return true
	}
	return utf8.RuneCountInString(token) >= 3
}

// holds reports whether the tokens of a text hold those of a phrase, the last one perhaps as a beginning.
func holdsPhrase(text, phrase []string) bool {
	n := len(phrase)
	for i := 0; i+n <= len(text); i++ {
		if slices.Equal(text[i:i+n-1], phrase[:n-1]) && (text[i+n-1] == phrase[n-1] || prefixable(phrase[n-1]) && strings.HasPrefix(text[i+n-1], phrase[n-1])) {
			return true
		}
	}
	return false
}
