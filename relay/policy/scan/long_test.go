package scan

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"restante/relay/policy/scan/scantest"
)

// TestManyLinks: rspamd answers with all the hosts that a message names. However many, its word counts: nobody gets spam in by writing them.
func TestManyLinks(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a program")
	}
	in := scantest.Rspamd(t)
	s := newSet(t, Config{Rspamd: Rspamd{URL: in.URL}})
	var text strings.Builder
	for i := range 15_000 {
		fmt.Fprintf(&text, "http://%s.x%d.%s.example.com/\r\nm%d.%s@example.net\r\n", strings.Repeat("a", 60), i, strings.Repeat("b", 60), i, strings.Repeat("c", 50))
	}
	start := time.Now()
	r := s.Scan(context.Background(), message("spam-reject", text.String()))
	t.Log(time.Since(start), r.Action, r.Reason, r.Verdicts)
	if r.Action != Refuse {
		t.Errorf("%q, %q", r.Action, r.Reason)
	}
}
