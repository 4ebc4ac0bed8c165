package submit

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"restante/relay/mailaddr"
	"restante/relay/replay"
	"restante/spool"
)

// Every language says everything, with the same places to fill in.
func TestWords(t *testing.T) {
	t.Parallel()
	en := english()
	for _, language := range []string{"en", "fr", "de-CH", "JA", "xx", ""} {
		w, code := wordsOf(language)
		if want := map[string]string{"fr": "fr", "de-CH": "de", "JA": "ja"}[language]; want != "" && code != want || want == "" && code != "en" {
			t.Errorf("%q is %q", language, code)
		}
		for _, pair := range [][2]string{{w.subject, en.subject}, {w.lost, en.lost}, {w.lostBare, en.lostBare}, {w.said, en.said}, {w.onlyThese, en.onlyThese}, {w.safe, en.safe}, {w.away, en.away}} {
			if pair[0] == "" || strings.Count(pair[0], "%s") != strings.Count(pair[1], "%s") {
				t.Errorf("%s: %q for %q", language, pair[0], pair[1])
			}
		}
		for key := range en.why {
			if w.why[key] == "" {
				t.Errorf("%s: nothing for %s", language, key)
			}
		}
		for _, d := range []time.Duration{time.Second, 90 * time.Second, 2 * time.Minute, 5 * time.Hour, 48 * time.Hour} {
			if text := w.long(spell(d)); !strings.ContainsAny(text, "123456789") || strings.Contains(text, "%") || code != "en" && text == spell(d) && code == "ja" {
				t.Errorf("%s: %v is %q", language, d, text)
			}
		}
	}
}

// A report in each language is one that readers take apart, with the subject in encoded words of legal length.
func TestBounceLanguages(t *testing.T) {
	t.Parallel()
	to, err := mailaddr.Parse(anna)
	if err != nil {
		t.Fatal(err)
	}
	for language, want := range map[string]string{"en": "could not be delivered", "fr": "n’a pas pu être remis", "de": "konnte nicht zugestellt werden", "ja": "配信できませんでした"} {
		subject := strings.Repeat("Angebot für Donnerstag ", 8)
		b := &bounce{host: "mx2.example.test", to: to, now: time.Now(), id: spool.NewID(), language: language, header: []byte("From: x\r\nMessage-ID: <1@x>\r\n"),
			entry:  &spool.Entry{Received: time.Now().UTC(), Summary: spool.Summary{Subject: subject}, Rcpts: make([]spool.Recipient, 2)},
			failed: []replay.Undelivered{{Pair: spool.Pair{Address: "kunde@example.org"}, Reply: "550 5.1.1 no", Host: "mx.example.org [192.0.2.1]:25"}}}
		raw := b.message()
		rep := readReport(t, raw)
		if !strings.Contains(rep.text, want) || !strings.Contains(rep.text, "kunde@example.org") || rep.header.Get("Content-Language") != language || !utf8.ValidString(rep.text) {
			t.Errorf("%s: %v\n%s", language, rep.header, rep.text)
		}
		for line := range strings.Lines(string(raw)) {
			if len(line) > 998+2 || strings.HasPrefix(line, "Subject:") && len(line) > 100 || !strings.HasSuffix(line, "\r\n") {
				t.Errorf("%s: a line of %d octets: %.100s", language, len(line), line)
			}
		}
		fmt.Fprintf(t.Output(), "%s\n", rep.text)
	}
}
