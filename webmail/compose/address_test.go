package compose

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseList(t *testing.T) {
	for _, c := range []struct {
		typed string
		want  string // Name|addr, then !why:text
	}{
		{"", ""},
		{" , ;\n ", ""},
		{"anna@example.com", "|anna@example.com"},
		{"Anna Schmidt <anna@Example.COM>", "Anna Schmidt|anna@example.com"},
		{"anna@example.com, max@example.com", "|anna@example.com |max@example.com"},
		{"anna@example.com; max@example.com\nyou@example.com", "|anna@example.com |max@example.com |you@example.com"},
		{"anna@example.com max@example.com", "|anna@example.com |max@example.com"},
		{"Schmidt, Anna <anna@example.com>; Meier, Max <max@example.com>", "Schmidt, Anna|anna@example.com Meier, Max|max@example.com"},
		{`"Schmidt, Anna" <anna@example.com>, max@example.com`, "Schmidt, Anna|anna@example.com |max@example.com"},
		{`'Anna' <anna@example.com>`, "Anna|anna@example.com"},
		{`"A \"B\" \\ C" <anna@example.com>`, `A "B" \ C|anna@example.com`},
		{"Anna anna@example.com", "Anna|anna@example.com"},
		{"anna@example.com (Anna, at work)", "|anna@example.com"},
		{"<anna@example.com>", "|anna@example.com"},
		{"mailto:anna@example.com?subject=x", "|anna@example.com"},
		{"anna@example.com, Anna <ANNA@example.com>", "|anna@example.com"},
		{"anna@example.com.", "|anna@example.com"},
		{"ａｎｎａ＠ｅｘａｍｐｌｅ．ｃｏｍ、max@example。com", "|anna@example.com |max@example.com"},
		{"\u202aanna@example.com\u202c\u200b", "|anna@example.com"},
		{"jörg@müller.example", "!utf8-local:jörg@müller.example"},
		{"joerg@müller.example", "|joerg@xn--mller-kva.example"},
		{`"odd one"@example.com`, `|"odd one"@example.com`},
		{"anna", "!no-at:anna"},
		{"anna@", "!no-domain:anna@"},
		{"@example.com", "!no-local:@example.com"},
		{"anna@kunde", "!no-dot:anna@kunde"},
		{"anna@@example.com", "!many-ats:anna@@example.com"},
		{"anna@example..com", "!bad-domain:anna@example..com"},
		{"anna@exa mple.com", "!no-dot:anna@exa mple.com"},
		{"an..na@example.com", "!bad-local:an..na@example.com"},
		{"anna@[192.0.2.1]", "!bad-domain:anna@[192.0.2.1]"},
		{"Anna <anna@example.com", "!brackets:Anna <anna@example.com"},
		{"Anna <anna@example.com> x", "!brackets:Anna <anna@example.com> x"},
		{`O"Brien <ob@example.com>, max@example.com`, `O"Brien|ob@example.com |max@example.com`},
		{strings.Repeat("a", 250) + "@example.com", "!too-long:" + strings.Repeat("a", 250) + "@example.com"},
		{"anna@kunde,de", "!no-dot:anna@kunde !no-at:de"},
		{"anna@example.com\r\nBcc: max@example.com", "|anna@example.com Bcc:|max@example.com"},
		{"anna@example.com\x00", "|anna@example.com"},
	} {
		people, problems := ParseList(c.typed)
		var got []string
		for _, p := range people {
			got = append(got, p.Name+"|"+p.Addr)
		}
		for _, p := range problems {
			got = append(got, fmt.Sprintf("!%s:%s", p.Why, p.Text))
		}
		if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%q: %s", c.typed, d)
		}
	}
}

func TestParseListIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range MaxPeople + 2 {
		fmt.Fprintf(&b, "p%d@example.com\n", i)
	}
	people, problems := ParseList(b.String())
	if len(people) != MaxPeople || len(problems) != 2 || problems[0].Why != TooMany {
		t.Errorf("%d people, problems %v", len(people), problems)
	}
	if _, problems = ParseList(strings.Repeat("anna@example.com,", maxField)); len(problems) != 1 || problems[0].Why != TooMany {
		t.Errorf("an endless field: %v", problems)
	}
	var letters strings.Builder // slow to bring to A-labels, were it tried
	for r := '\u4e00'; letters.Len() < maxField-20; r++ {
		letters.WriteRune('\u4e00' + (r-'\u4e00')%0x5000)
	}
	begun := time.Now()
	if _, problems = ParseList("anna@" + letters.String() + ".test"); len(problems) != 1 || problems[0].Why != BadDomain {
		t.Errorf("an endless domain: %d problems", len(problems))
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("an endless domain took %v", took)
	}
}

func TestFormatListReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var people []Person
		for i := range rapid.IntRange(0, 5).Draw(t, "n") {
			people = append(people, Person{
				Name: CleanName(rapid.StringOf(rapid.RuneFrom([]rune(`aZ é漢"'\,;<>()@:. `))).Draw(t, "name")),
				Addr: fmt.Sprintf("p%d@%s", i, rapid.SampledFrom([]string{"example.com", "xn--mller-kva.example"}).Draw(t, "domain")),
			})
		}
		got, problems := ParseList(FormatList(people))
		if len(problems) > 0 {
			t.Fatalf("%q: %v", FormatList(people), problems)
		}
		for i := range people { // quotes around a whole name are the typist's, not the person's
			people[i].Name, got[i].Name = strings.Trim(people[i].Name, `'" `), strings.Trim(got[i].Name, `'" `)
		}
		if d := cmp.Diff(people, got); d != "" && len(people) > 0 {
			t.Fatalf("%q: %s", FormatList(people), d)
		}
	})
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"Anna <anna@example.com>, max@example.com", `"a, <b" (c) d@e.example; ,`, "a@b@c ＠ 、<>\"("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		people, problems := ParseList(s)
		for _, p := range people {
			if again, why := CleanAddress(p.Addr); why != "" || again != p.Addr {
				t.Errorf("%q gave %q, which is no address: %s", s, p.Addr, why)
			}
			if strings.ContainsAny(p.Name+p.Addr, "\r\n\x00") || !utf8.ValidString(p.Name) || len(p.Name) > MaxName {
				t.Errorf("%q gave %q", s, p)
			}
		}
		for _, p := range problems {
			if p.Why == "" || strings.ContainsAny(p.Text, "\r\n\x00") {
				t.Errorf("%q gave the problem %q", s, p)
			}
		}
	})
}

func TestAddressParts(t *testing.T) {
	if got := Base("Info+Sales@Example.com"); got != "info@example.com" {
		t.Errorf("base %q", got)
	}
	if got := Base("+x@example.com"); got != "+x@example.com" {
		t.Errorf("base of a lone tag %q", got)
	}
	if got := Domain("a@b@Example.com"); got != "example.com" {
		t.Errorf("domain %q", got)
	}
	if Domain("anna") != "" || Base("anna") != "anna" {
		t.Error("no address has a domain")
	}
	if got := (Person{"Jörg", "j@xn--mller-kva.example"}).String(); got != "Jörg <j@müller.example>" {
		t.Errorf("shown as %q", got)
	}
}
