package sheet

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"restante/webmail/accounts"

	"restante/spool/need"
)

func sheets(n int) []accounts.Sheet {
	people := []accounts.Account{
		{Address: "anna.schmidt@example.com", Name: "Anna Schmidt", Language: "de"},
		{Address: "marie-christine.de-la-fontaine@comptabilite.example.org", Name: "Marie-Christine de la Fontaine-Beaumarchais, comptabilité générale", Language: "fr"},
		{Address: "tanaka@example.jp", Name: "田中 花子", Language: "ja"},
		{Address: "bo@example.com", Name: `<script>alert("Bo")</script>`},
	}
	var list []accounts.Sheet
	for i := range n {
		s := accounts.Sheet{Account: people[i%len(people)], ID: fmt.Sprint(i), Made: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}
		for j := range 10 {
			s.Codes = append(s.Codes, fmt.Sprintf("K7Q%d-2XW%d", (i+j)%10, j))
		}
		list = append(list, s)
	}
	return list
}

var options = Options{URL: "https://mx2.example.net", Contact: "IT, +49 30 1234567", Language: "en"}

// TestHTML: every card has its codes, nothing in names becomes markup, and the page loads nothing.
func TestHTML(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, sheets(9), options); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"anna.schmidt@example.com", "K7Q0-2XW0", "K7Q9-2XW9", `<b>mx2.example.net</b>`, "Hilfe: IT, &#43;49", "&lt;script&gt;", `class="address long"`, "size: A4"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(page, `class="card"`); n != 9 {
		t.Errorf("%d cards", n)
	}
	if n := strings.Count(page, `class="page"`); n != 2 {
		t.Errorf("%d pages", n)
	}
	if found := regexp.MustCompile(`(?i)<script|\bsrc=|url\(|@import|<link|ZgotmplZ`).FindString(page); found != "" {
		t.Errorf("the page has %s", found)
	}
	b.Reset()
	letter := options
	letter.Letter, letter.Contact, letter.Language = true, "", "xx"
	if err := HTML(&b, sheets(4), letter); err != nil || !strings.Contains(b.String(), "size: letter") || !strings.Contains(b.String(), "Keep this card as you keep a key.") {
		t.Error(err, "the letter page")
	}
}

// TestLanguages: each language says all, and each sentence has its place for the host.
func TestLanguages(t *testing.T) {
	for _, lang := range []string{"en", "de-CH", "fr", "ja"} {
		w := in(lang)
		if !strings.HasPrefix(lang, w.lang) {
			t.Errorf("%s gives %s", lang, w.lang)
		}
		if strings.Count(w.how, "%s") != 1 || strings.Count(w.contact, "%s") != 1 || w.title == "" || w.screen == "" || w.foot == "" || w.date == "" || w.madeOn == "" {
			t.Errorf("%s lacks something: %+v", lang, w)
		}
	}
}

// TestCSV: a line for each, and no cell that a spreadsheet takes for a formula.
func TestCSV(t *testing.T) {
	list := sheets(2)
	list[1].Account.Name = "=HYPERLINK(1)"
	var b bytes.Buffer
	if err := CSV(&b, list, options); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 3 || len(rows[1]) != 14 {
		t.Fatal(rows, err)
	}
	if rows[1][2] != "https://mx2.example.net/signin?address=anna.schmidt%40example.com" || rows[1][13] != "K7Q9-2XW9" || rows[2][1] != "'=HYPERLINK(1)" {
		t.Error(rows)
	}
}

// TestPrinted: chromium prints eight cards a page, whole, in both sizes of paper.
func TestPrinted(t *testing.T) {
	for _, tool := range []string{"chromium", "pdftotext"} {
		need.Program(t, tool)
	}
	for _, paper := range []string{"a4", "letter"} {
		o := options
		o.Letter = paper == "letter"
		text := printed(t, o, sheets(17))
		pages := strings.Split(strings.TrimSuffix(text, "\f"), "\f")
		if len(pages) != 3 {
			t.Errorf("%s: %d pages", paper, len(pages))
		}
		for i, want := range []int{80, 80, 10} {
			if i < len(pages) {
				if n := len(regexp.MustCompile(`\bK7Q\d-2XW\d\b`).FindAllString(pages[i], -1)); n != want {
					t.Errorf("%s: page %d shows %d codes", paper, i+1, n)
				}
			}
		}
		if strings.Contains(text, "100 %") {
			t.Errorf("%s: what is for the screen was printed", paper)
		}
	}
}

// printed prints cards to a PDF and returns its text. RESTANTE_SHEET_DIR keeps the files, to be looked at.
func printed(t *testing.T, o Options, list []accounts.Sheet) string {
	t.Helper()
	dir := t.TempDir()
	if keep := os.Getenv("RESTANTE_SHEET_DIR"); keep != "" {
		dir = filepath.Join(keep, map[bool]string{true: "letter", false: "a4"}[o.Letter])
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	in, out := filepath.Join(dir, "cards.html"), filepath.Join(dir, "cards.pdf")
	var b bytes.Buffer
	if err := HTML(&b, list, o); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(), "--no-pdf-header-footer", "--print-to-pdf="+out, "file://"+in)
	if log, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, log)
	}
	text, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", out, "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
