package mailaddr

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ in, local, domain, out string }{ // out "": as in
		{"a@b.example", "a", "b.example", ""},
		{"A.b+c=d@B.Example", "A.b+c=d", "b.example", "A.b+c=d@b.example"},
		{"!#$%&'*+-/=?^_`{|}~@b.example", "!#$%&'*+-/=?^_`{|}~", "b.example", ""},
		{"a@localhost", "a", "localhost", ""},
		{"a@under_score.example", "a", "under_score.example", ""},
		{"a@1.2.3.example", "a", "1.2.3.example", ""},
		{"a@x--y.example", "a", "x--y.example", ""},
		// Quoted strings keep their quotes only where they need them.
		{`"a"@b.example`, "a", "b.example", "a@b.example"},
		{`"a\b"@b.example`, "ab", "b.example", "ab@b.example"},
		{`"a b"@b.example`, "a b", "b.example", ""},
		{`"a@c"@b.example`, "a@c", "b.example", ""},
		{`"a> NOTIFY=NEVER <b"@b.example`, "a> NOTIFY=NEVER <b", "b.example", ""},
		{`"a\"\\b"@b.example`, `a"\b`, "b.example", ""},
		{`"a."@b.example`, "a.", "b.example", ""},
		{`".a"@b.example`, ".a", "b.example", ""},
		// Source routes say nothing about whose mail it is.
		{"@one.example,@two.example:a@b.example", "a", "b.example", "a@b.example"},
		{`@one.example:"x:y"@b.example`, "x:y", "b.example", `"x:y"@b.example`},
		// Address literals.
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", ""},
		{"a@[IPv6:2001:DB8::1]", "a", "[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
		{"a@[ipv6:2001:db8:0:0::1]", "a", "[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
		// International ones (RFC 6531): one domain, however it is written.
		{"grüße@b.example", "grüße", "b.example", ""},
		{"a@MÜNCHEN.example", "a", "xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"},
		{"a@XN--MNCHEN-3ya.example", "a", "xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"},
		{"a@mu\u0308nchen.example", "a", "xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"},
		{"a@ｅｘａｍｐｌｅ.test", "a", "example.test", "a@example.test"}, // full width
		{"a@example。test", "a", "example.test", "a@example.test"},
		{"a@straße.example", "a", "xn--strae-oqa.example", "a@xn--strae-oqa.example"},
		// Lengths.
		{"a@" + long + ".example", "a", long + ".example", ""},
		{strings.Repeat("a", 100) + "@b.example", strings.Repeat("a", 100), "b.example", ""},
		{strings.Repeat("a", 244) + "@b.example", strings.Repeat("a", 244), "b.example", ""},
	} {
		a, err := Parse(c.in)
		if err != nil || a.Local != c.local || a.Domain != c.domain {
			t.Errorf("%q: %+v, %v", c.in, a, err)
			continue
		}
		if c.out == "" {
			c.out = c.in
		}
		if a.String() != c.out {
			t.Errorf("%q: %q, want %q", c.in, a.String(), c.out)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		in  string
		err error
	}{
		{"", ErrSyntax}, {"a", ErrSyntax}, {"@", ErrSyntax}, {"a@", ErrDomain}, {"@b.example", ErrSyntax},
		{".a@b.example", ErrSyntax}, {"a.@b.example", ErrSyntax}, {"a..b@b.example", ErrSyntax},
		{"a b@b.example", ErrSyntax}, {"a\"b@b.example", ErrSyntax}, {"a<b@b.example", ErrSyntax}, {"a\\b@b.example", ErrSyntax},
		{"a(comment)@b.example", ErrSyntax}, {"<a@b.example>", ErrSyntax}, {"a@b@c.example", ErrDomain},
		{`""@b.example`, ErrSyntax}, {`"a@b.example`, ErrSyntax}, {`"a"b@b.example`, ErrSyntax}, {`"a\"@b.example`, ErrSyntax},
		{"\"a\rb\"@b.example", ErrSyntax}, {"\"a\\\nb\"@b.example", ErrSyntax}, {"\"a\x00\"@b.example", ErrSyntax}, {"\"a\x7f\"@b.example", ErrSyntax},
		{"a\x00@b.example", ErrSyntax}, {"a\n@b.example", ErrSyntax},
		{"a@b..example", ErrDomain}, {"a@.example", ErrDomain}, {"a@b.example.", ErrDomain}, {"a@-b.example", ErrDomain},
		{"a@b-.example", ErrDomain}, {"a@b.example-", ErrDomain}, {"a@b_c d.example", ErrDomain}, {"a@b.exa\x00mple", ErrDomain},
		{"a@b.example>", ErrDomain}, {"a@b.example x", ErrDomain}, {"a@b,c.example", ErrDomain},
		{"a@" + strings.Repeat("a", 64) + ".example", ErrDomain},
		{"a@[192.0.2.1", ErrDomain}, {"a@[192.0.2]", ErrDomain}, {"a@[2001:db8::1]", ErrDomain}, {"a@[IPv6:192.0.2.1]", ErrDomain},
		{"a@[IPv6:fe80::1%eth0]", ErrDomain}, {"a@[]", ErrDomain}, {"a@[example.test]", ErrDomain}, {"a@[192.0.2.1]x", ErrDomain},
		{"@one.example a@b.example", ErrSyntax}, {"@one.example,two.example:a@b.example", ErrSyntax}, {"@-:a@b.example", ErrDomain},
		{"@one.example:", ErrSyntax}, {"@one.example:@two.example:a@b.example", ErrSyntax},
		{"a\xff@b.example", ErrUTF8}, {"a@b\xc3.example", ErrUTF8}, {"\"\xed\xa0\x80\"@b.example", ErrUTF8},
		{"a\u0085b@b.example", ErrSyntax}, {"a\u2028b@b.example", ErrSyntax}, {"a\u202eb@b.example", ErrSyntax},
		{"\"a\u0085b\"@b.example", ErrSyntax},
		{"a@b\u200d.example", ErrDomain}, {"a@\u00ad.example", ErrDomain}, {"a@a\u0338.\u2028", ErrDomain},
		{strings.Repeat("a", 245) + "@b.example", ErrLong},
		{strings.Repeat("a", 130) + "@" + strings.Repeat("ü.", 15) + "example", ErrLong}, // as A-labels
	} {
		if a, err := Parse(c.in); !errors.Is(err, c.err) {
			t.Errorf("%q: %+v, %v, want %v", c.in, a, err, c.err)
		}
	}
}

// TestLongDomains: what a message's header names as a domain can be as long as the header. Each of these took a minute.
func TestLongDomains(t *testing.T) {
	var all strings.Builder
	for r := '\u4e00'; r < '\u9f00'; r++ {
		all.WriteRune(r)
	}
	for name, s := range map[string]string{"one label": strings.Repeat(all.String(), 8), "many": strings.Repeat(all.String()[:57]+".", 8000)} {
		begun := time.Now()
		if _, err := ParseDomain(s); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	// The longest that there can be: four labels of characters of four octets.
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("\U00020000", 30)+".", 4), ".")
	if d, err := ParseDomain(long); err != nil || len(d) > maxDomain {
		t.Errorf("%d octets: %q, %v", len(long), d, err)
	}
}

func TestKey(t *testing.T) {
	same := [][]string{
		{"Anna.B@Example.TEST", "anna.b@example.test", `"anna.b"@example.test`, `"An\na.b"@example.test`, "@x.example:anna.b@example.test"},
		{"grüße@münchen.example", "GRÜßE@xn--mnchen-3ya.example", "gru\u0308ße@mu\u0308nchen.example"},
		{`"a b"@example.test`, `"A\ B"@example.test`},
	}
	keys := map[string]int{}
	for i, group := range same {
		for _, s := range group {
			a, err := Parse(s)
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if j, seen := keys[a.Key()]; seen && j != i {
				t.Errorf("%q has the key of another mailbox", s)
			}
			keys[a.Key()] = i
		}
	}
	if len(keys) != len(same) {
		t.Errorf("%d keys for %d mailboxes: %v", len(keys), len(same), keys)
	}
}

func TestProperties(t *testing.T) {
	for _, c := range []struct {
		in                     string
		routed, literal, ascii bool
	}{
		{"a@b.example", false, false, true},
		{"a%c.example@b.example", true, false, true},
		{"c.example!a@b.example", true, false, true},
		{`"a@c.example"@b.example`, true, false, true},
		{"a@[192.0.2.1]", false, true, true},
		{"ä@b.example", false, false, false},
		{"a@ä.example", false, false, true},
	} {
		a, err := Parse(c.in)
		if err != nil || a.Routed() != c.routed || a.IsLiteral() != c.literal || a.ASCII() != c.ascii || a.IsZero() {
			t.Errorf("%q: %+v, %v", c.in, a, err)
		}
	}
	if a := (Address{}); !a.IsZero() || a.String() != "" || a.Key() != "" || !a.ASCII() {
		t.Error("the null reverse-path")
	}
}

// FuzzParse: what was parsed says the same when it is parsed again, and nothing in it could end a command or a path.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a@b.example", `"a b"@c`, `"\"\\"@x`, "@a,@b:c@d", "a@[IPv6:::1]", "ä@ö.example", "a@xn--mnchen-3ya.example", "a@ﬀ.example", "a@xn--a.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		out := a.String()
		again, err := Parse(out)
		if err != nil || again != a || again.String() != out {
			t.Fatalf("%q: %+v became %q and %+v, %v", s, a, out, again, err)
		}
		if again.Key() != a.Key() || len(out) > MaxPath-2 || !utf8.ValidString(out) || out != strings.ToValidUTF8(out, "") {
			t.Fatalf("%q: %q", s, out)
		}
		for i := range len(out) {
			if out[i] < ' ' || out[i] == 0x7f {
				t.Fatalf("%q: control character in %q", s, out)
			}
		}
		for i := range len(a.Domain) {
			if c := a.Domain[i]; c >= 0x80 || c >= 'A' && c <= 'Z' && !a.IsLiteral() || c == '>' || c == ' ' {
				t.Fatalf("%q: domain %q", s, a.Domain)
			}
		}
		k, err := Parse(strings.ToUpper(a.Local[:1]) + "@" + a.Domain)
		if err == nil && k.Domain != a.Domain {
			t.Fatalf("%q: domain changed to %q", s, k.Domain)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("anna.schmidt@example.test"); err != nil {
			b.Fatal(err)
		}
	}
}
