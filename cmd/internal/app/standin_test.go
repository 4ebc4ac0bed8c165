package app

import (
	"testing"
	"time"
)

// TestDevMail: the list of the stand-in shows subjects as people read them.
func TestDevMail(t *testing.T) {
	for text, want := range map[string]string{
		"Subject: Offer\r\n\r\n":                   "Offer",
		"Subject: =?utf-8?B?6KaL56mN?=\r\n\r\n":    "見積",
		"Subject: =?nonsense?B?6KaL56mN?=\r\n\r\n": "=?nonsense?B?6KaL56mN?=",
		"Subject: =?utf-8?Q?a=0D=1B?=\r\n\r\n":     `a\x0d\x1b`,
		"no header at all":                         "",
	} {
		if got := devMail("x", time.Time{}, []byte(text)).Subject; got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}
