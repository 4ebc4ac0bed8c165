package pass

import (
	"strings"
	"testing"
)

// TestClaimsOfLists: a field that anybody can write spares a forged message nothing, unless who brought it can be named.
func TestClaimsOfLists(t *testing.T) {
	f := newFront(t, dmarcZone, nil)
	for name, head := range map[string]string{
		"a list":                                 "List-Id: <list.sender.test>\r\n",
		"a forwarder that seals":                 "ARC-Seal: i=1; cv=none\r\n",
		"more signatures than are verified":      strings.Repeat("DKIM-Signature: v=1\r\n", 20),
		"a signature in more than is verified":   "DKIM-Signature: v=1; d=example.com\r\n" + strings.Repeat("X: y\r\n", 600),
		"a signature over more than is verified": "DKIM-Signature: v=1; d=example.com; h=from" + strings.Repeat(":x", 300) + "\r\n",
	} {
		f.t = t
		if got := f.submit(sent{client: "192.0.2.9", helo: "nothing.test", from: "x@sender.test", msg: head + plain}); !strings.HasPrefix(got, "550 5.7.") {
			t.Errorf("%s, by nobody: %s", name, got)
		}
		if got := f.submit(sent{client: "203.0.113.9", helo: "nothing.test", from: "x@sender.test", msg: head + plain}); !strings.HasPrefix(got, "250 ") {
			t.Errorf("%s, by sender.test: %s", name, got)
			continue
		}
		if e, _ := f.entry(); !strings.HasSuffix(e.Verdicts["policy"], "by a list or a forwarder, sender.test") {
			t.Errorf("%s: %s", name, e.Verdicts["policy"])
		}
	}
}
