// Package words holds what the webmail says, in each language that it speaks.
//
// A catalogue is a folder named by its language (en, fr, de, ja) with one TOML file an area: the key
// "read.empty" is the key empty of read.toml, "common.why.closed" the key closed in its table [why]. A text
// may hold {name}, filled in from the arguments; a table with nothing but one and other is a text in its plural forms:
//
//	messages = { one = "{n} message", other = "{n} messages" }
//
// English is complete; a test holds every other language to its keys and names, and every key to a use.
package words

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
	"golang.org/x/text/language"
)

//go:embed en fr de ja
var files embed.FS

// Default is the language of those whose own isn't spoken here.
const Default = "en"

// Languages are the languages spoken here, as in the lang attribute of HTML.
func Languages() []string { return []string{"en", "fr", "de", "ja"} }

// Words is one language's catalogue. It is safe for use by many goroutines.
type Words struct {
	lang  string
	texts map[string]text
}

// text is one entry of a catalogue: forms has only "other" unless it has plurals.
type text map[string]string

// catalogues are read once; they are part of the program, so that failing to read them is a bug.
var catalogues = sync.OnceValue(func() map[string]*Words {
	all := map[string]*Words{}
	for _, lang := range Languages() {
		w, err := read(files, lang)
		if err != nil {
			panic("words: " + err.Error())
		}
		all[lang] = w
	}
	return all
})

// Of returns the catalogue of a language: "fr", "fr-CA"; the English one for any that isn't spoken here.
func Of(lang string) *Words {
	base, _, _ := strings.Cut(strings.ToLower(lang), "-")
	if w := catalogues()[base]; w != nil {
		return w
	}
	return catalogues()[Default]
}

// Negotiate returns which of Languages fits an Accept-Language field best (RFC 9110 12.5.4).
func Negotiate(accept string) string {
	tags := make([]language.Tag, 0, len(Languages()))
	for _, l := range Languages() {
		tags = append(tags, language.Make(l))
	}
	const limit = 1024 // octets of the field that are looked at
	wishes, _, err := language.ParseAcceptLanguage(accept[:min(len(accept), limit)])
	if err != nil || len(wishes) == 0 {
		return Default
	}
	_, i, _ := language.NewMatcher(tags).Match(wishes...)
	return Languages()[i]
}

// Lang is the catalogue's language, as in the lang attribute of HTML.
func (w *Words) Lang() string { return w.lang }

// Has reports whether the catalogue has the key.
func (w *Words) Has(key string) bool { return w.texts[key] != nil }

// T returns the text of a key. The arguments are pairs of a name and what stands for it in the text; the
// one named "n", a whole number, chooses the plural form. Numbers are written as the language does.
// A key that isn't there comes back in brackets, and fails a test.
func (w *Words) T(key string, args ...any) string {
	forms := w.texts[key]
	if forms == nil {
		return "⟦" + key + "⟧"
	}
	form := "other"
	var pairs []string
	for i := 0; i+1 < len(args); i += 2 {
		name := fmt.Sprint(args[i])
		n, whole := integer(args[i+1])
		if !whole {
			pairs = append(pairs, "{"+name+"}", fmt.Sprint(args[i+1]))
			continue
		}
		pairs = append(pairs, "{"+name+"}", w.Number(n))
		if name == "n" && forms[plural(w.lang, n)] != "" {
			form = plural(w.lang, n)
		}
	}
	if len(pairs) == 0 {
		return forms[form]
	}
	return strings.NewReplacer(pairs...).Replace(forms[form])
}

// plural is the CLDR category of n; French counts 0 as one too. Japanese needs no form for one, but may have it.
func plural(lang string, n int64) string {
	if n == 1 || n == 0 && lang == "fr" {
		return "one"
	}
	return "other"
}

func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case int32:
		return int64(n), true
	case uint64:
		return int64(n), true
	}
	return 0, false
}

// Number writes a whole number with the language's separator of thousands.
func (w *Words) Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	separator := map[string]string{"en": ",", "fr": "\u202f", "de": ".", "ja": ","}[w.lang]
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	return sign + strings.Join(groups, separator)
}

// Size writes a number of octets as people say it: "214 kB", "31.4 MB"; thousands, not 1,024s.
func (w *Words) Size(octets int64) string {
	units := []string{"B", "kB", "MB", "GB"}
	if w.lang == "fr" {
		units = []string{"o", "ko", "Mo", "Go"}
	}
	v, unit := float64(max(octets, 0)), 0
	for v >= 999.5 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	decimals := 0
	if unit > 1 && v < 99.95 {
		decimals = 1
	}
	s := strings.TrimSuffix(strconv.FormatFloat(v, 'f', decimals, 64), ".0")
	if w.lang == "fr" || w.lang == "de" {
		s = strings.Replace(s, ".", ",", 1)
	}
	return s + "\u00a0" + units[unit]
}

func read(fsys fs.FS, lang string) (*Words, error) {
	w := &Words{lang: lang, texts: map[string]text{}}
	names, err := fs.Glob(fsys, lang+"/*.toml")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		raw, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		var tree map[string]any
		if err := toml.Unmarshal(raw, &tree); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := w.add(strings.TrimSuffix(path.Base(name), ".toml"), tree); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return w, nil
}

// isPlural tells the forms of one text from a table of texts.
func isPlural(table map[string]any) bool {
	for k := range table {
		if k != "one" && k != "other" {
			return false
		}
	}
	return table["other"] != nil
}

func (w *Words) add(prefix string, tree map[string]any) error {
	for k, v := range tree {
		key := prefix + "." + k
		switch v := v.(type) {
		case string:
			w.texts[key] = text{"other": v}
		case map[string]any:
			if !isPlural(v) {
				if err := w.add(key, v); err != nil {
					return err
				}
				continue
			}
			forms := text{}
			for form, s := range v {
				said, ok := s.(string)
				if !ok {
					return fmt.Errorf("%s.%s is no text", key, form)
				}
				forms[form] = said
			}
			w.texts[key] = forms
		default:
			return fmt.Errorf("%s is no text", key)
		}
	}
	return nil
}
