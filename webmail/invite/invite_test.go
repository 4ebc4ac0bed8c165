package invite

import (
	"strings"
	"testing"
	"time"

	"restante/webmail/accounts"
)

var options = Options{
	Link: accounts.Link{Until: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}, URL: "https://mx2.example.net/signin/link/abc", Contact: "IT, extension 100",
	From: "postmaster@example.com", Language: "en", Now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
}

// TestMessage: each language says who, what, where, how long and whom to ask, in a mail that no vacation answers.
func TestMessage(t *testing.T) {
	for lang, until := range map[string]string{"": "28 Nov 2026 12:00 UTC", "de": "28.11.2026 13:00", "fr-CA": "28/11/2026 à 13:00", "ja": "2026/11/28 13:00", "xx": "28 Nov 2026 12:00 UTC"} {
		a := accounts.Account{Address: "anna@example.com", Name: "Anna Schmidt", Language: lang}
		if lang != "" && lang != "xx" {
			a.Zone = "Europe/Berlin"
		}
		m := Message(a, options)
		for _, want := range []string{"Anna Schmidt", "\n\nhttps://mx2.example.net/signin/link/abc\n\n", until, "IT, extension 100", "90"} {
			if !strings.Contains(m.Text, want) {
				t.Errorf("%s: no %q in\n%s", lang, want, m.Text)
			}
		}
		if strings.Contains(m.Text, "%!") || strings.Contains(m.Text, "{name}") || m.Subject == "" || m.From.Name == "" || !m.Auto {
			t.Errorf("%s: %+v", lang, m)
		}
		raw, err := m.Build(1 << 20)
		if err != nil || !strings.Contains(string(raw), "Auto-Submitted: auto-generated\r\n") || !strings.Contains(string(raw), "anna@example.com") {
			t.Errorf("%s: %v\n%s", lang, err, raw)
		}
	}
	quiet := options
	quiet.Contact = ""
	if m := Message(accounts.Account{Address: "anna@example.com"}, quiet); strings.Contains(m.Text, "Questions") || !strings.Contains(m.Text, "Hello anna@example.com,") {
		t.Error(m.Text)
	}
}
