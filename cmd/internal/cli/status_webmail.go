package cli

import (
	"fmt"
	"strings"

	"restante/cmd/internal/admin"
)

// webmailWord is the state of the webmail as people see it.
func webmailWord(w *admin.WebmailState) (word, style string) {
	if w.State == "open" {
		return "open", styleGreen
	}
	return "CLOSED", styleRed
}

func webmailLine(w *admin.WebmailState) string {
	parts := []string{w.URL}
	people := "nobody has an account yet: restante user import"
	if w.People > 0 {
		people = fmt.Sprintf("%s signed in, %s of %s could", strings.Replace(plural(int64(w.SignedIn), "person"), "persons", "people", 1), thousands(int64(w.Could)), thousands(int64(w.People)))
	}
	parts = append(parts, people)
	if w.Unsearched > 0 {
		parts = append(parts, "search is still reading "+thousands(int64(w.Unsearched)))
	}
	return strings.Join(parts, "   ")
}

// webmailUse says what people did in the webmail during an outage, "" for nothing.
func webmailUse(r *admin.Report) string {
	var parts []string
	if r.Read > 0 {
		parts = append(parts, fmt.Sprintf("%s read by %s", plural(int64(r.Read), "message"), strings.Replace(plural(int64(r.Readers), "person"), "persons", "people", 1)))
	}
	if r.Sent.Sent > 0 {
		parts = append(parts, tallyLine(r.Sent))
	}
	return strings.Join(parts, "; ")
}
