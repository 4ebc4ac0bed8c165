package words

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestText(t *testing.T) {
	w := &Words{lang: "en", texts: map[string]text{
		"a.plain": {"other": "To {names} and {n} others"},
		"a.many":  {"one": "{n} message", "other": "{n} messages"},
	}}
	for _, c := range []struct {
		got, want string
	}{
		{w.T("a.plain", "names", "Anna, {n}", "n", 3), "To Anna, {n} and 3 others"},
		{w.T("a.many", "n", 1), "1 message"},
		{w.T("a.many", "n", int64(12000)), "12,000 messages"},
		{w.T("a.none"), "⟦a.none⟧"},
		{(&Words{lang: "fr", texts: w.texts}).T("a.many", "n", 0), "0 message"},
		{(&Words{lang: "de", texts: w.texts}).T("a.many", "n", 0), "0 messages"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]string{
		"": "en", "de-AT,de;q=0.9,en;q=0.8": "de", "fr-CA": "fr", "ja": "ja", "es,en;q=0.5": "en", "es": "en", "es, ja;q=0.4": "ja",
		"en-GB,de;q=0.9": "en", "garbage;;;===": "en", strings.Repeat("x", 5000): "en", "*": "en",
	} {
		if got := Negotiate(accept); got != want {
			t.Errorf("Negotiate(%.40q) = %s, want %s", accept, got, want)
		}
	}
	if Of("de-CH").Lang() != "de" || Of("xx").Lang() != "en" || Of("").Lang() != "en" {
		t.Error("Of falls back wrongly")
	}
}

func TestNumbersAndSizes(t *testing.T) {
	for _, c := range []struct{ lang, size, number string }{
		{"en", "31.4\u00a0MB", "1,234,567"}, {"de", "31,4\u00a0MB", "1.234.567"}, {"fr", "31,4\u00a0Mo", "1\u202f234\u202f567"}, {"ja", "31.4\u00a0MB", "1,234,567"},
	} {
		w := Of(c.lang)
		if got := w.Size(31_400_000); got != c.size {
			t.Errorf("%s: size %q, want %q", c.lang, got, c.size)
		}
		if got := w.Number(1234567); got != c.number {
			t.Errorf("%s: number %q, want %q", c.lang, got, c.number)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 213_600: "214 kB", 999_600: "1 MB", 1_000_000: "1 MB", 250e6: "250 MB", 5e9: "5 GB", -3: "0 B"} {
		if got := strings.ReplaceAll(Of("en").Size(n), "\u00a0", " "); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
	if got := Of("en").Number(-1000); got != "-1,000" {
		t.Errorf("Number(-1000) = %q", got)
	}
}

func TestTimes(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 9, 41, 0, 0, time.UTC) // a Saturday, 10:41 in Vienna
	for _, c := range []struct {
		lang                              string
		today, days, weeks, years, f, sin string
	}{
		{"en", "10:41", "Fri 10:41", "1 Nov", "21 Nov 2025", "Saturday, 21 November 2026, 10:41", "20 Nov, 10:41"},
		{"de", "10:41", "Fr 10:41", "1. Nov.", "21. Nov. 2025", "Samstag, 21. November 2026, 10:41", "20. Nov., 10:41"},
		{"fr", "10:41", "ven. 10:41", "1er nov.", "21 nov. 2025", "samedi 21 novembre 2026, 10:41", "le 20 nov. à 10:41"},
		{"ja", "10:41", "金曜 10:41", "11月1日", "2025年11月21日", "2026年11月21日 土曜日 10:41", "11月20日 10:41"},
	} {
		w := Of(c.lang)
		for _, g := range []struct{ got, want string }{
			{w.When(now, now, vienna), c.today},
			{w.When(now.AddDate(0, 0, -1), now, vienna), c.days},
			{w.When(now.AddDate(0, 0, -20), now, vienna), c.weeks},
			{w.When(now.AddDate(-1, 0, 0), now, vienna), c.years},
			{w.Full(now, vienna), c.f},
			{w.Since(now, now, vienna), c.today},
			{w.Since(now.AddDate(0, 0, -1), now, vienna), c.sin},
		} {
			if g.got != g.want {
				t.Errorf("%s: %q, want %q", c.lang, g.got, g.want)
			}
		}
	}
	// 23:30 UTC is tomorrow in Vienna.
	late := time.Date(2026, 11, 20, 23, 30, 0, 0, time.UTC)
	if got := Of("en").When(late, now, vienna); got != "00:30" {
		t.Errorf("after midnight: %q", got)
	}
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// names are the {names} of a text, each once.
func names(s string) []string {
	all := placeholder.FindAllString(s, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// TestCountedWordsHavePlurals: what is said of {n} things has a form for one of them.
func TestCountedWordsHavePlurals(t *testing.T) {
	for key, forms := range Of("en").texts {
		if strings.Contains(forms["other"], "{n}") && forms["one"] == "" && key != "read.title" { // "Inbox (3)"
			t.Errorf("%s has no form for one", key)
		}
	}
	for _, c := range []struct {
		lang, key    string
		n            int
		want, others string
	}{
		{"en", "common.drafts_count", 1, "draft", "drafts"}, {"de", "common.drafts_count", 1, "Entwurf", "Entwürfe"},
		{"fr", "common.drafts_count", 1, "brouillon", "brouillons"}, {"fr", "common.unread", 0, "non lu", "non lus"},
		{"ja", "common.drafts_count", 1, "件の下書き", "件の下書き"}, {"fr", "handover.more", 1, "et 1 autre", "et 2 autres"},
		{"en", "read.event.more", 1, "and 1 other", "and 2 others"}, {"de", "read.messages", 1, "1 Nachricht", "2 Nachrichten"},
	} {
		w := Of(c.lang)
		if got, others := w.T(c.key, "n", c.n), w.T(c.key, "n", 2); got != c.want || others != c.others {
			t.Errorf("%s %s: %q and %q, want %q and %q", c.lang, c.key, got, others, c.want, c.others)
		}
	}
}

func TestLanguagesAreComplete(t *testing.T) {
	en := Of("en")
	for _, lang := range Languages() {
		w := Of(lang)
		for key, forms := range w.texts {
			base := en.texts[key]
			if base == nil {
				t.Errorf("%s has %s, which English has not", lang, key)
				continue
			}
			for form, s := range forms {
				if strings.TrimSpace(s) == "" && !strings.HasSuffix(key, ".gap") {
					t.Errorf("%s: %s is empty", lang, key)
				}
				want := names(base["other"])
				got := names(s)
				if form == "one" { // "every week" needs no {n}
					without := func(all []string) []string {
						return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == "{n}" })
					}
					got, want = without(got), without(want)
				}
				if lang == "ja" && base["one"] != "" && !slices.Contains(want, "{n}") && slices.Contains(got, "{n}") {
					continue
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: %s (%s) has %v, English has %v", lang, key, form, got, want)
				}
			}
			if base["one"] != "" && forms["one"] == "" && lang != "ja" {
				t.Errorf("%s: %s has no form for one", lang, key)
			}
		}
		for key := range en.texts {
			if w.texts[key] == nil {
				t.Errorf("%s lacks %s", lang, key)
			}
		}
	}
}

// TestEveryTextIsUsed looks for each key, or for a literal that it begins with up to a dot, in the sources and templates.
func TestEveryTextIsUsed(t *testing.T) {
	quoted := regexp.MustCompile("[\"'`]([a-z]+\\.[a-zA-Z0-9._-]*)[\"'`]")
	used := map[string]bool{}
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(p, "_test.go") || !slices.Contains([]string{".go", ".html", ".js"}, filepath.Ext(p)) {
			return err
		}
		raw, err := os.ReadFile(p)
		for _, m := range quoted.FindAllStringSubmatch(string(raw), -1) {
			used[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(Of("en").texts)) {
		ok := used[key]
		for i, c := range key {
			ok = ok || c == '.' && strings.Contains(key[:i], ".") && used[key[:i+1]]
		}
		if !ok {
			t.Errorf("%s is used nowhere", key)
		}
	}
	areas := map[string]bool{}
	for key := range Of("en").texts {
		area, _, _ := strings.Cut(key, ".")
		areas[area] = true
	}
	for key := range used {
		area, rest, _ := strings.Cut(key, ".")
		if areas[area] && rest != "" && !strings.HasSuffix(key, ".") && Of("en").texts[key] == nil && !partOf(key) && !file(rest) {
			t.Errorf("%s is asked for, and there is no such text", key)
		}
	}
}

// partOf tells a literal that goes on in another ("read.event.every" + ...).
func partOf(key string) bool {
	for k := range Of("en").texts {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// file tells names of files ("write.css") from keys.
func file(rest string) bool {
	return slices.Contains([]string{"css", "js", "html", "toml", "go"}, rest)
}
