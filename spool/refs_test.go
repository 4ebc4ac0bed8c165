package spool_test

import (
	"strings"
	"testing"

	"restante/spool"
)

func TestRefs(t *testing.T) {
	long := "<" + strings.Repeat("x", 300) + ">"
	for _, c := range []struct{ reply, refs, want string }{
		{"", "", ""},
		{"<a@x>", "", "<a@x>"},
		{"Your mail of Monday <a@x> <b@x>", "<r@x>\r\n <m@x> <n@x> <p@x>", "<a@x> <r@x> <n@x> <p@x>"},
		{"<p@x>", "<r@x> <p@x>", "<p@x> <r@x>"},
		{"<>", "< > <unclosed", ""},
		{"<<a@x>", "<a @x>", "<a@x>"},
		{long, long + " <b@x>", "<b@x>"},
	} {
		if got := spool.Refs(c.reply, c.refs); got != c.want {
			t.Errorf("Refs(%q, %q) = %q, want %q", c.reply, c.refs, got, c.want)
		}
	}
}
