package mailbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"restante/spool"
)

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		text   string
		search bool
		want   string
	}{
		{"Hello, World!", false, "hello world"},
		{"Anna.Müller@Example.ORG", false, "anna muller example org"},
		{"Straße ÉTÉ ﬁn İstanbul ıSSIZ", false, "strasse ete fin istanbul issiz"},
		{"東京タワー", false, "東京 京タ タワ ワー ー"},
		{"東京タワー", true, "東京 京タ タワ ワー"},
		{"ｶﾞﾗｽ", false, "ガラ ラス ス"},
		{"森 and 森", false, "森 and 森"},
		{"안녕 hi", false, "안녕 hi 녕"},
		{"2026-11-21", false, "2026 11 21"},
		{strings.Repeat("x", 100) + " y", false, strings.Repeat("x", 64) + " y"},
		{"Ωμέγα Привет Ёлка", false, "ωμεγα привет елка"},
		{"a\x00b\xff c", false, "a b c"},
		{"", false, ""},
	} {
		if got := strings.Join(tokens(c.text, c.search), " "); got != c.want {
			t.Errorf("tokens(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestParseSearch(t *testing.T) {
	zone := time.FixedZone("", 9*3600)
	day := time.Date(2026, 11, 21, 0, 0, 0, 0, zone)
	word := func(in column, not bool, tokens ...string) term { return term{in, not, tokens} }
	for q, want := range map[string]Search{
		"":                                   {},
		"  ":                                 {},
		"hello World":                        {terms: []term{word(anyColumn, false, "hello"), word(anyColumn, false, "world")}},
		`"hello world" -"no way"`:            {terms: []term{word(anyColumn, false, "hello", "world"), word(anyColumn, true, "no", "way")}},
		`from:"Anna B" to:max -from:x`:       {terms: []term{word(columnFrom, false, "anna", "b"), word(columnTo, false, "max"), word(columnFrom, true, "x")}},
		"FROM:anna@x.test Subject:Plan":      {terms: []term{word(columnFrom, false, "anna", "x", "test"), word(columnSubject, false, "plan")}},
		"has:attachment is:unread":           {attached: yes(), unread: yes()},
		"-has:attachment is:read":            {attached: no(), unread: no()},
		"is:starred -is:starred":             {starred: no()},
		"before:2026-11-21":                  {before: day},
		"after:2026/11/21":                   {after: day},
		"-after:2026.11.21":                  {before: day},
		"http://x.test":                      {terms: []term{word(anyColumn, false, "http", "x", "test")}},
		"note: -":                            {terms: []term{word(anyColumn, false, "note")}},
		`"unclosed phrase`:                   {terms: []term{word(anyColumn, false, "unclosed", "phrase")}},
		`"from:x"`:                           {terms: []term{word(anyColumn, false, "from", "x")}},
		"「東京 タワー」　森":                         {terms: []term{word(anyColumn, false, "東京", "タワ", "ワー"), word(anyColumn, false, "森")}},
		"a-b":                                {terms: []term{word(anyColumn, false, "a", "b")}},
		`{x} AND (y) OR "z NEAR" * ^ box:b1`: {terms: []term{word(anyColumn, false, "x"), word(anyColumn, false, "and"), word(anyColumn, false, "y"), word(anyColumn, false, "or"), word(anyColumn, false, "z", "near"), word(anyColumn, false, "box", "b1")}},
	} {
		got, err := ParseSearch(q, zone)
		if err != nil {
			t.Errorf("%q: %v", q, err)
			continue
		}
		if d := cmp.Diff(want, *got, cmp.AllowUnexported(Search{}, term{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", q, d)
		}
		if got.Empty() != (strings.TrimSpace(q) == "") {
			t.Errorf("%q: Empty is %v", q, got.Empty())
		}
	}
	for q, part := range map[string]string{
		"has:paper":               "has:attachment",
		"is:nice":                 "is:unread",
		"before:yesterday":        "before:2026-11-21",
		strings.Repeat("x", 1001): "too long",
		strings.Repeat("x ", 40):  "32 words",
	} {
		if _, err := ParseSearch(q, nil); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%.20q: %v, want something of %q", q, err, part)
		}
	}
}

var searchWords = []string{"plan", "planet", "Pläne", "hello", "world", "東京", "東京タワー", "大阪へ", "a", "of", "naïve", "NAIVE", "x1", "straße", "조선", "plans"}

func drawText(t *rapid.T, label string, most int) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(searchWords), 0, most).Draw(t, label), rapid.SampledFrom([]string{" ", ", ", "\n"}).Draw(t, "between"))
}

func drawSearch(t *rapid.T) string {
	var parts []string
	for range rapid.IntRange(1, 3).Draw(t, "terms") {
		w := rapid.SampledFrom(append(searchWords, "pla", "pl", "京", "東", "東京へ", "nobody")).Draw(t, "word")
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			w = `"` + w + " " + rapid.SampledFrom(searchWords).Draw(t, "next") + `"`
		case 1:
			w = "from:" + w
		case 2:
			w = "subject:" + w
		case 3:
			w = "to:anna"
		}
		if rapid.IntRange(0, 3).Draw(t, "not") == 0 {
			w = "-" + w
		}
		parts = append(parts, w)
	}
	return strings.Join(parts, " ")
}

// TestSearchModel compares what a search finds with what looking at each message finds, while full text is being read.
func TestSearchModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		f := &fakeSpool{raw: map[string]string{}}
		s, err := Open(filepath.Join(dir, fmt.Sprint(n)), Options{Fetch: f.Fetch, Note: f.Note, Text: wordsOf, Now: func() time.Time { return base.Add(24 * time.Hour) }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := newMaker()
		var es []*spool.Entry
		docs := map[string]*document{}
		for i := range rapid.IntRange(1, 24).Draw(t, "messages") {
			e := m.held(i, "s@x.test", drawText(t, "subject", 3), rapid.SampledFrom([]string{"anna@a.test", "max@a.test"}).Draw(t, "rcpt"))
			e.Summary.From = drawText(t, "from", 2) + " <s@x.test>"
			f.raw[e.ID] = "\r\n\r\n" + drawText(t, "body", 8) + "\nfile:" + drawText(t, "name", 1)
			es = append(es, e)
			body, names, _ := wordsOf(t.Context(), strings.NewReader(f.raw[e.ID]), int64(len(f.raw[e.ID])))
			d := &document{from: tokens(e.Summary.From, false), to: tokens(e.Summary.To, false), subject: tokens(e.Summary.Subject, false), body: tokens(body, false)}
			for _, name := range names {
				d.names = append(d.names, tokens(name, false)...)
			}
			docs[e.ID] = d
		}
		if err := s.Apply(t.Context(), []spool.Step{m.mail(es...)}); err != nil {
			t.Fatal(err)
		}
		for read := 0; ; read += textRound { // newest first
			for range 3 {
				q := drawSearch(t)
				sr, err := ParseSearch(q, nil)
				if err != nil {
					t.Fatal(err)
				}
				var want []string
				waits := 0
				for i, e := range es {
					if e.Rcpts[0].Address != "anna@a.test" {
						continue
					}
					d := docs[e.ID]
					if i < len(es)-read {
						waits++
						d = &document{from: d.from, to: d.to, subject: d.subject}
					}
					if sr.matches(d) {
						want = append(want, e.ID)
					}
				}
				slices.Reverse(want)
				p, err := s.List(t.Context(), Query{Box: own("anna@a.test"), Search: sr, Limit: 100})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, it := range p.Items {
					got = append(got, it.Entry)
				}
				if len(sr.terms) == 0 {
					waits = 0
				}
				if !slices.Equal(want, got) || p.Pending != waits {
					t.Fatalf("%q after %d were read: %v and %d waiting, want %v and %d", q, read, got, p.Pending, want, waits)
				}
			}
			if n, err := s.readTexts(t.Context()); err != nil {
				t.Fatal(err)
			} else if n == 0 {
				break
			}
		}
	})
}

// TestSearchFilters: what isn't text.
func TestSearchFilters(t *testing.T) {
	f := &fakeSpool{raw: map[string]string{}}
	s := openStore(t, "", f, nil)
	defer closeStore(t, s)
	m := newMaker()
	box := own("anna@a.test")
	a, b, c := m.held(0, "s@x.test", "one", box.ID), m.held(60, "s@x.test", "two", box.ID), m.held(16*60, "s@x.test", "three", box.ID)
	f.raw[a.ID], f.raw[b.ID], f.raw[c.ID] = "\r\n\r\nhi\nfile:Invoice 7.pdf", "\r\n\r\nhi", "\r\n\r\nhi"
	apply(t, s, m.mail(a, b, c))
	if _, err := s.readTexts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Flag(t.Context(), "anna@a.test", box, []string{b.ID}, Change{Seen: yes(), Starred: yes()}); err != nil {
		t.Fatal(err)
	}
	if err := s.Flag(t.Context(), "anna@a.test", box, []string{c.ID}, Change{Trashed: yes()}); err != nil {
		t.Fatal(err)
	}
	zone := time.FixedZone("", 9*3600) // the third is on the 22nd there
	for q, want := range map[string][]string{
		"has:attachment":    {a.ID},
		"-has:attachment":   {b.ID},
		"invoice pdf":       {a.ID},
		"is:unread":         {a.ID},
		"is:read":           {b.ID},
		"is:starred hi":     {b.ID},
		"after:2026-11-21":  {b.ID, a.ID},
		"before:2026-11-21": nil,
		"before:2026-11-22": {b.ID, a.ID},
		"after:2026-11-22":  nil, // it is in the trash
	} {
		sr, err := ParseSearch(q, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := entriesOf(mustList(t, s, Query{Box: box, Search: sr}).Items); !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v", q, got, want)
		}
	}
	sr, err := ParseSearch("after:2026-11-22", zone)
	if err != nil {
		t.Fatal(err)
	}
	if got := entriesOf(mustList(t, s, Query{Box: box, Folder: Trash, Search: sr}).Items); !slices.Equal(got, []string{c.ID}) {
		t.Errorf("in the trash: %v", got)
	}
}

// TestTextResumes: full text goes on where it stopped, waits for a store that is down, and passes over what is gone.
func TestTextResumes(t *testing.T) {
	f := &fakeSpool{raw: map[string]string{}}
	path := filepath.Join(t.TempDir(), "webmail.db")
	s := openStore(t, path, f, nil)
	m := newMaker()
	box := own("anna@a.test")
	var es []*spool.Entry
	for i := range 2*textRound + 5 {
		e := m.held(i, "s@x.test", fmt.Sprintf("number %d", i), box.ID)
		f.raw[e.ID] = "\r\n\r\nsome text"
		es = append(es, e)
	}
	delete(f.raw, es[7].ID) // retention was faster
	apply(t, s, m.mail(es...))
	pending := func() int {
		n, err := s.Progress(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n, err := s.readTexts(t.Context()); err != nil || n != textRound {
		t.Fatal(n, err)
	}
	if it, err := s.Item(t.Context(), box, es[len(es)-1].ID); err != nil || it.Snippet != "some text" {
		t.Errorf("the newest isn't read first: %+v, %v", it, err)
	}
	f.fail = errors.New("store is down")
	if _, err := s.readTexts(t.Context()); err == nil || s.textStep(t.Context()) != textRetry {
		t.Error("a store that is down is no trouble")
	}
	if n := pending(); n != textRound+5 {
		t.Errorf("%d wait", n)
	}
	f.fail = nil
	closeStore(t, s)
	s = openStore(t, path, f, nil)
	defer closeStore(t, s)
	for n := 1; n > 0; {
		var err error
		if n, err = s.readTexts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := pending(); n != 0 || f.fetch != len(es)+1+1 { // two calls failed
		t.Errorf("%d wait after %d fetches", n, f.fetch)
	}
	for q, want := range map[string]int{"text": len(es) - 1, "number": len(es)} {
		sr, err := ParseSearch(q, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p := mustList(t, s, Query{Box: box, Search: sr, Limit: 200}); len(p.Items) != want || p.Pending != 0 {
			t.Errorf("%q finds %d, want %d; %d wait", q, len(p.Items), want, p.Pending)
		}
	}
	s.SetBehind(spool.Behind{Batches: lagMost + 1})
	if s.textStep(t.Context()) != lagRest {
		t.Error("full text doesn't wait for the first fold")
	}
}

func TestSnippet(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"Hello\n\n  there,\tyou \n> quoted\nmore": "Hello there, you more",
		"> all\n> quoted":                         "",
		"text\n-- \nsignature":                    "text",
		strings.Repeat("Größe ", 60):              strings.TrimRight(strings.Repeat("Größe ", 60)[:196], " ") + "…",
		strings.Repeat("x", 500):                  strings.Repeat("x", 197) + "…",
	} {
		got := snippet(text)
		if strings.HasPrefix(want, "Größe") {
			if len(got) > snippetMax || !strings.HasSuffix(got, "…") || !strings.HasPrefix(got, "Größe Größe") {
				t.Errorf("%q", got)
			}
			continue
		}
		if got != want {
			t.Errorf("snippet(%.20q) = %q, want %q", text, got, want)
		}
	}
}
