package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restante/relay/policy/rcpt"
)

func file(t testing.TB, name, format, domain string) (Result, error) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Parse(f, format, domain)
}

// words is a result as the tests below write it: addresses with their kinds, "~" before what is elsewhere, "!" before lines skipped.
func words(r Result) string {
	var list []string
	for _, a := range r.Addresses {
		text := a.Address
		if a.Kind != "" {
			text += "/" + a.Kind
		}
		list = append(list, text)
	}
	for d, n := range r.Elsewhere {
		list = append(list, fmt.Sprintf("~%d", n)+d)
	}
	if len(r.Elsewhere) > 1 {
		list = append(list[:len(list)-len(r.Elsewhere)], fmt.Sprintf("~%d domains", len(r.Elsewhere)))
	}
	for _, p := range r.Skipped {
		list = append(list, fmt.Sprintf("!%d", p.Line))
	}
	return strings.Join(list, " ")
}

// TestFiles: each form in which servers export their recipients is told by its look and read whole.
func TestFiles(t *testing.T) {
	for name, want := range map[string]struct{ format, words string }{
		"exchange.csv": {CSV, "anna@example.com/user a.schmidt@example.com/alias info@example.com/shared kontakt@example.com/shared room-3@example.com/shared " +
			"vertrieb@example.com/group sales@example.com/group ben@example.com/contact archive@example.com/folder DiscoverySearchMailbox{D919BA05-46A6-415f-80AD-7E09334BB852}@example.com/user ~2 domains"},
		"exchange-table.txt": {CSV, "anna@example.com Sales@example.com"},
		"exchange-list.txt":  {LDIF, "anna@example.com a.schmidt@example.com/alias ~1example.net !8"},
		"m365.csv":           {CSV, "anna@example.com/user team@example.com/group everyone@example.com/group ~2 domains"},
		"m365-users.csv":     {CSV, "anna@example.com anna+shop@example.com/alias ~1example.onmicrosoft.com"},
		"google.csv":         {CSV, "anna@example.com/user a.schmidt@example.com/alias gone@example.com/user sales@example.com/group vertrieb@example.com/alias ~1example.com.test-google-a.com"},
		"google-gam.csv":     {CSV, "anna@example.com a.schmidt@example.com annas@example.com ben@example.com sales@example.com vertrieb@example.com verkauf@example.com ~1example.com.test-google-a.com"},
		"google-console.csv": {CSV, "anna@example.com"},
		"zimbra.txt":         {LDIF, "anna@example.com/user a.schmidt@example.com/alias sales@example.com catchall@example.com @example.com"},
		"zimbra-grep.txt":    {LDIF, "anna@example.com a.schmidt@example.com/alias sales@example.com"},
		"postfix.txt":        {Postfix, `anna@example.com sales@example.com/alias a.Schmidt@example.com/alias "with space"@example.com/alias bare@example.com ~1example.net !9 !10 !11`},
		"catchall.txt":       {Postfix, "@example.com anna@example.com"},
		"aliases.txt":        {Aliases, `postmaster@example.com/alias root@example.com/alias sales@example.com/alias "quoted name"@example.com/alias list@example.com/alias filter@example.com/alias`},
		"passwd.txt":         {Passwd, "root@example.com/user anna@example.com/user ben@example.com/user"},
		"dovecot-passwd.txt": {Passwd, "anna@example.com/user ben@example.com/user ~1example.net"},
		"plain.txt": {Plain, `anna@example.com Ben@example.com cleo@example.com dora@example.com/alias emil@example.com fritz@example.com gerd@example.com ` +
			`"hans peter"@example.com ~1example.net !10 !11 !12 !13`},
		"plain-1252.txt": {Plain, "anna@example.com"},
		"own.csv":        {CSV, "anna@example.com/user =cmd@example.com/user sales@example.com/group !6"},
		"ldif.txt":       {LDIF, "anna@example.com/user a.schmidt@example.com/alias sales@example.com/group vertrieb@example.com/group"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := file(t, name, "", "example.com")
			if err != nil {
				t.Fatal(err)
			}
			if got := words(r); got != want.words || r.Format != want.format {
				t.Errorf("%s\ngot  %s\nwant %s (%s)\n%+v", r.Format, got, want.words, want.format, r.Skipped)
			}
		})
	}
}

// TestRefused: what is no list says so, with what to do.
func TestRefused(t *testing.T) {
	for name, x := range map[string]struct{ text, format, want string }{
		"empty":        {"", "", "there is nothing in it"},
		"comments":     {"# nobody\n\n", "", "there is nothing in it"},
		"elsewhere":    {"a@one.example\nb@one.example\nc@two.example\n", "", "no address of example.com, only of one.example, two.example"},
		"binary":       {"\x00\x01\x02\x00\x00anna@example.com", "", "it isn't text"},
		"html":         {"<html>\n<body>sign in first</body>\n</html>\n", "", "has no address"},
		"no head":      {"Anna,anna@example.com\n", CSV, "must name the columns"},
		"no column":    {"name,phone\nAnna,1\n", CSV, "must name the columns"},
		"unjoined":     {"Name,EmailAddresses\nAnna,System.Collections.ArrayList\n", "", `$_.EmailAddresses -join ';'`},
		"unjoined too": {"Name,EmailAddresses\nAnna,System.String[]\n", "", `$_.EmailAddresses -join ';'`},
		"open quote":   {"address,name\n\"anna@example.com,Anna\nben@example.com,Ben\ncleo@example.com,Cleo\n", "", "a quote in it isn't closed"},
		"endless row":  {"address,aliases\nanna@example.com,\"" + strings.Repeat("x\n", MaxLine/2+1), "", "a quote in it isn't closed"},
		"format":       {"anna@example.com", "excel", `there is no format "excel"`},
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := Parse(strings.NewReader(x.text), x.format, "example.com"); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
	if _, err := file(t, "exchange-unjoined.csv", "", "example.com"); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Error(err)
	}
}

// TestAllDomains: without a domain the addresses say theirs, and names alone can't be taken.
func TestAllDomains(t *testing.T) {
	r, err := Parse(strings.NewReader("anna@example.com\nben@bücher.example\ncleo\n"), "", "")
	if got := words(r); err != nil || got != "anna@example.com ben@xn--bcher-kva.example !3" {
		t.Error(got, err)
	}
}

// TestEncodings: the octets that PowerShell, Excel and others write around the same text don't matter.
func TestEncodings(t *testing.T) {
	wide := func(s string, big bool, mark string) string {
		b := []byte(mark)
		for _, r := range s {
			if big {
				b = append(b, byte(r>>8), byte(r))
			} else {
				b = append(b, byte(r), byte(r>>8))
			}
		}
		return string(b)
	}
	text := "anna@example.com\r\nben@example.com\r\n"
	for name, in := range map[string]string{
		"utf-8": text, "mark": "\xef\xbb\xbf" + text, "le": wide(text, false, "\xff\xfe"), "be": wide(text, true, "\xfe\xff"),
		"le alone": wide(text, false, ""), "be alone": wide(text, true, ""), "mac": strings.ReplaceAll(text, "\r\n", "\r"), "no end": strings.TrimSpace(text),
	} {
		r, err := Parse(strings.NewReader(in), "", "example.com")
		if got := words(r); err != nil || got != "anna@example.com ben@example.com" {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestLimits: what is too long is refused or passed over, and problems are counted beyond what is told.
func TestLimits(t *testing.T) {
	r, err := Parse(strings.NewReader("anna@example.com\n"+strings.Repeat("no address here\n", MaxSkipped+7)), Plain, "example.com")
	if err != nil || len(r.Skipped) != MaxSkipped || r.More != 7 {
		t.Error(len(r.Skipped), r.More, err)
	}
	long := "anna@example.com\n" + strings.Repeat("x", MaxLine+1) + "\nben@example.com\n"
	if r, err := Parse(strings.NewReader(long), Plain, "example.com"); err != nil || words(r) != "anna@example.com ben@example.com !2" {
		t.Error(err, len(r.Addresses), len(r.Skipped))
	}
	if testing.Short() {
		return
	}
	endless := strings.NewReader(strings.Repeat("anna@example.com\n", MaxFile/17+1))
	if _, err := Parse(endless, Plain, "example.com"); err == nil || !strings.Contains(err.Error(), "longer than 128 MiB") {
		t.Error(err)
	}
	var b strings.Builder
	for i := range rcpt.MaxAddresses + 1 {
		fmt.Fprintf(&b, "user%d@example.com\n", i)
	}
	if r, err := Parse(strings.NewReader(b.String()), "", "example.com"); err == nil || !strings.Contains(err.Error(), "more than 1000000 addresses") {
		t.Error(err, len(r.Addresses))
	}
}

// TestManySpellings: an address counts once, however it is written.
func TestManySpellings(t *testing.T) {
	r, err := Parse(strings.NewReader("Anna@example.com\nanna@EXAMPLE.com\n\"anna\"@example.com\nANNA\nsmtp:anna@example.com"), "", "example.com")
	if got := words(r); err != nil || got != "Anna@example.com/alias" {
		t.Error(got, err)
	}
}

// FuzzParse: no text panics, and what is taken is of the domain.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.*")
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil {
			f.Add(text, "")
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, format string) {
		for _, domain := range []string{"example.com", ""} {
			r, err := Parse(strings.NewReader(string(text)), format, domain)
			if err == nil && len(r.Addresses) == 0 {
				t.Error("a list without addresses")
			}
			for _, a := range r.Addresses {
				if domain != "" && !strings.HasSuffix(a.Address, "@"+domain) {
					t.Errorf("%q", a.Address)
				}
			}
		}
	})
}

// BenchmarkParse reads 200,000 addresses.
func BenchmarkParse(b *testing.B) {
	var text strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&text, "firstname.lastname%d@example.com\n", i)
	}
	for b.Loop() {
		if r, err := Parse(strings.NewReader(text.String()), "", "example.com"); err != nil || len(r.Addresses) != 200_000 {
			b.Fatal(err)
		}
	}
}
