package submit

import (
	"errors"
	"strings"
	"testing"

	"restante/relay/sink"
	"restante/spool"
)

// TestTell: what the node writes is kept for one hosted person, signed, with the null reverse-path, in nobody's Sent folder, and against nobody's limits.
func TestTell(t *testing.T) {
	t.Parallel()
	r := newRig(t, sink.Options{}, func(o *Options) { o.Config.Limits.Messages = 1 })
	if _, err := r.service.GenerateKey(t.Context(), hosted, "s1", "admin root"); err != nil {
		t.Fatal(err)
	}
	r.sync()
	for range 3 {
		id, err := r.service.Tell(t.Context(), "Anna@example.test", message("postmaster@example.test", anna, "Practice"))
		if err != nil {
			t.Fatal(err)
		}
		e, raw := r.octets(id)
		if e.Kind != spool.Local || e.From != "" || e.Mailbox != "" || len(e.Rcpts) != 1 || e.Rcpts[0].Domain != hosted || e.Summary.Subject != "Practice" {
			t.Errorf("%+v", e)
		}
		if !strings.HasPrefix(string(raw), "DKIM-Signature:") || !strings.Contains(string(raw), "Received: by mx2.example.test") {
			t.Errorf("%.300s", raw)
		}
	}
	if n := len(r.pairs(spool.Copy, spool.Outbound)); n != 0 {
		t.Errorf("%d copies or entries for outside", n)
	}
	for _, to := range []string{"anna@outside.test", "anna", ""} {
		if _, err := r.service.Tell(t.Context(), to, message("postmaster@example.test", anna, "x")); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", to, err)
		}
	}
}
