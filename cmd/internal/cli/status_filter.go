package cli

import (
	"strings"
	"time"

	"restante/relay/policy/scan"
)

// filterWord is how a content filter is.
func filterWord(f *scan.Status) (word, style string) {
	if f.Up {
		return "ok", styleGreen
	}
	return "FAILING", styleRed
}

// filterLine says where a content filter is and what it did.
func filterLine(f *scan.Status, now time.Time) string {
	parts := []string{f.Address}
	if f.Version != "" {
		parts = append(parts, clean(f.Version))
	}
	if !f.Up && !f.Since.IsZero() {
		parts = append(parts, "since "+clock(f.Since, now))
	}
	parts = append(parts, "looked at "+plural(f.Asked-f.Failed, "message"))
	if f.Failed > 0 {
		parts = append(parts, "failed "+thousands(f.Failed))
	}
	if f.Up && !f.At.IsZero() {
		parts = append(parts, "last failure "+ago(f.At, now))
	}
	return strings.Join(parts, "   ")
}
