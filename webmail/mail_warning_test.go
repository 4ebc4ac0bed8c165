package webmail

import (
	"testing"

	"restante/spool"
	"restante/webmail/mailbox"
	"restante/webmail/words"
)

// TestListWarning: what passed for somebody else than who is shown says nothing good of the message.
func TestListWarning(t *testing.T) {
	for verdicts, warn := range map[[3]string]bool{ // spf, dkim, dmarc
		{"pass", "none", "pass"}:                false,
		{"pass", "none", "none"}:                false,
		{"none", "pass", "none"}:                false,
		{"pass", "pass", "fail"}:                true,
		{"pass", "pass", "permerror"}:           true,
		{"fail", "none", "none"}:                true,
		{"temperror", "temperror", "temperror"}: false,
		{"", "", ""}:                            false,
	} {
		it := &mailbox.Item{Kind: spool.Held, Verdicts: map[string]string{"spf": verdicts[0], "dkim": verdicts[1], "dmarc": verdicts[2], "policy": "mark: x"}}
		if got := (*Server)(nil).listWarning(&words.Words{}, it); (got != "") != warn {
			t.Errorf("%q: %q", verdicts, got)
		}
	}
}
