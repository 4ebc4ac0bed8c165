package primary

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestKindOf(t *testing.T) {
	for banner, want := range map[string]Kind{
		"220 mail.example.com ESMTP Postfix (Debian/GNU)":                                                         Postfix,
		"mail.example.com ESMTP Postfix":                                                                          Postfix,
		"mail.example.com ESMTP Exim 4.96 Sun, 22 Nov 2026 01:02:03 +0000":                                        Exim,
		"EX01.example.com Microsoft ESMTP MAIL Service ready at Sun, 22 Nov 2026 01:02:03 +0000":                  Exchange,
		"DB5EUR03FT023.mail.protection.outlook.com Microsoft ESMTP MAIL Service ready at Sun, 22 Nov 2026 [08DC]": Microsoft365,
		"example-com.j-v1.mx.microsoft Microsoft ESMTP MAIL Service ready at Sun, 22 Nov 2026 01:02:03 +0000":     Microsoft365,
		"mx.google.com ESMTP 5b1f17b1804b1-477bf3b8a71si10834585e9.135 - gsmtp":                                   Google,
		"zimbra.example.com ESMTP Zimbra Postfix":                                                                 Zimbra,
		"mail.example.com ESMTP":            Unknown,
		"":                                  Unknown,
		"mail.eximport.example ESMTP ready": Unknown,
	} {
		if got := KindOf(banner); got != want {
			t.Errorf("%q is %q, want %q", banner, got, want)
		}
	}
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// TestReadme: what is printed is what is documented.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds() {
		for _, p := range []Problem{Allow, Origin} {
			m := special(k, p)
			if m == "" {
				continue
			}
			m, _, _ = strings.Cut(fillIn(m, []string{"192.0.2.25"}), "\nand here, in its [[domain]]")
			if !strings.Contains(string(b), m) {
				t.Errorf("README.md doesn't say, for %s:\n%s", k, m)
			}
		}
	}
}

// TestMend: there is something to do for everything, in words that can be copied.
func TestMend(t *testing.T) {
	problems := []Problem{Allow, SPF, DMARC, Relay, Blocklist, ReverseDNS, Rate, Greylist, Content, TLS, Origin, Size, CatchAll, Recipient, Postmaster, NullMX, Lost, Refused}
	for _, k := range append(Kinds(), Unknown, "another") {
		for _, p := range append(problems, "another") {
			m := Mend(k, p, "192.0.2.25", "2001:db8::25")
			if m == "" || placeholder.MatchString(m) {
				t.Errorf("%s, %s: %q", k, p, m)
			}
			for _, l := range strings.Split(m, "\n") {
				if len(l) > 200 {
					t.Errorf("%s, %s: a line of %d: %s", k, p, len(l), l)
				}
			}
			if byAllowing(p) && !strings.Contains(m, "192.0.2.25") {
				t.Errorf("%s, %s doesn't say whom to let in: %s", k, p, m)
			}
		}
		if m := Mend(k, Allow); placeholder.MatchString(m) || m == "" {
			t.Errorf("%s: %q", k, m)
		}
	}
	if m := Mend(Postfix, Allow, "192.0.2.25", "2001:db8::25"); !strings.Contains(m, " 192.0.2.25/32 2001:db8::25/128 >> ") {
		t.Error(m)
	}
	if k := Kinds(); !slices.Contains(k, Zimbra) || slices.Contains(k, Unknown) {
		t.Error(k)
	}
}
