package compose

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// unflow reads format=flowed as RFC 3676 4.1 and 4.2 say, apart from flow; quoted lines come back as "> text".
func unflow(t interface{ Fatalf(string, ...any) }, flowed string, delSp bool) string {
	var out []string
	open, openDepth := false, 0
	for line := range strings.SplitSeq(strings.TrimSuffix(flowed, "\r\n"), "\r\n") {
		if strings.ContainsAny(line, "\r\n") {
			t.Fatalf("a bare line break in %q", line)
		}
		depth := 0
		for strings.HasPrefix(line[depth:], ">") {
			depth++
		}
		line = strings.TrimPrefix(line[depth:], " ")
		soft := strings.HasSuffix(line, " ") && line != "-- "
		if soft && delSp {
			line = line[:len(line)-1]
		}
		switch {
		case open && depth == openDepth && line != "-- ":
			out[len(out)-1] += line
		case depth > 0:
			out = append(out, strings.Repeat(">", depth)+" "+line)
		default:
			out = append(out, line)
		}
		open, openDepth = soft, depth
	}
	return strings.Join(out, "\n")
}

func TestFlow(t *testing.T) {
	long := strings.Repeat("word ", 30) + "end"
	for _, c := range []struct{ text, want string }{
		{"", "\r\n"},
		{"Hello", "Hello\r\n"},
		{"a\r\nb\rc\n\n\n", "a\r\nb\r\nc\r\n"},
		{"From here\n >x\n y\n.", " From here\r\n  >x\r\n  y\r\n.\r\n"},
		{"> a\n>> b\n> > c\n>", "> a\r\n>> b\r\n>> c\r\n>\r\n"},
		{"ends in spaces   \nnext", "ends in spaces\r\nnext\r\n"},
		{"text\n\n-- \nAnna", "text\r\n\r\n-- \r\nAnna\r\n"},
		{"text\n--\nAnna", "text\r\n-- \r\nAnna\r\n"},
		{"a\x00b\x1b[c", "ab[c\r\n"},
		{"https://example.com/" + strings.Repeat("x", 90) + " y", "https://example.com/" + strings.Repeat("x", 90) + " \r\ny\r\n"},
		{long, strings.Repeat("word ", 14) + "\r\n" + strings.Repeat("word ", 14) + "\r\nword word end\r\n"},
		{"> " + long, "> " + strings.Repeat("word ", 14) + "\r\n> " + strings.Repeat("word ", 14) + "\r\n> word word end\r\n"},
	} {
		got, delSp := flow(c.text)
		if d := cmp.Diff(c.want, got); d != "" || delSp {
			t.Errorf("%q: delsp %v %s", c.text, delSp, d)
		}
	}
}

func TestFlowBreaksJapanese(t *testing.T) {
	text := strings.Repeat("お世話になっております。", 20) + " Restante\n> " + strings.Repeat("引用", 60)
	got, delSp := flow(text)
	if !delSp {
		t.Fatal("a line without spaces was not broken")
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		n := 0
		for _, r := range line {
			n += columns(r)
		}
		if n > 78 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if d := cmp.Diff(text, unflow(t, got, delSp)); d != "" {
		t.Error(d)
	}
}

// What is typed is what is read: flow and a reader of RFC 3676 are inverse but for spaces at the ends of lines.
func TestFlowReadsBack(t *testing.T) {
	word := rapid.OneOf(
		rapid.StringOfN(rapid.RuneFrom([]rune("ab>-. FromÄ漢字、")), 0, 12, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("漢字かな")), 0, 60, -1),
		rapid.Just("From"), rapid.Just(">"), rapid.Just("-- "), rapid.Just("\n"), rapid.Just("\n> "), rapid.Just("\n>> > "),
	)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(word, 0, 60).Draw(t, "words"), rapid.SampledFrom([]string{"", " ", "  "}).Draw(t, "gap"))
		flowed, delSp := flow(text)
		if d := cmp.Diff(meant(text), unflow(t, flowed, delSp)); d != "" {
			t.Fatalf("%q\n%q\n%s", text, flowed, d)
		}
	})
}

// meant is text as a reader may have it: quote marks in one form, nothing at the ends of lines.
func meant(text string) string {
	var out []string
	for l := range strings.SplitSeq(strings.TrimRight(text, "\n \t"), "\n") {
		if l == "--" || l == "-- " {
			out = append(out, "-- ")
			continue
		}
		depth, rest := unquoteLine(l)
		rest = strings.TrimRight(rest, " ")
		if depth > 0 {
			rest = strings.Repeat(">", depth) + " " + rest
		}
		out = append(out, rest)
	}
	return strings.Join(out, "\n")
}

func FuzzFlow(f *testing.F) {
	f.Add("a\n> b\n-- \nc")
	f.Add(strings.Repeat("漢", 200))
	f.Fuzz(func(t *testing.T, text string) {
		flowed, _ := flow(text)
		for _, r := range flowed {
			if r != '\r' && r != '\n' && r != '\t' && unicode.IsControl(r) {
				t.Errorf("%q holds %q", flowed, r)
			}
		}
		if strings.Count(flowed, "\n") != strings.Count(flowed, "\r\n") || strings.Count(flowed, "\r") != strings.Count(flowed, "\r\n") {
			t.Errorf("bare line breaks in %q", flowed)
		}
		if !strings.HasSuffix(flowed, "\r\n") {
			t.Errorf("%q doesn't end", flowed)
		}
	})
}
