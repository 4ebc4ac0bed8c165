package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"restante/cmd/internal/admin"
	"restante/spool/blob/s3test"
)

// TestStatusWhileReading: an index that has not read the store yet never passes for an empty one.
func TestStatusWhileReading(t *testing.T) {
	s := s3test.Start(t)
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	look := func(a *App) (*admin.Status, []admin.Replay) {
		t.Helper()
		b := &backend{a}
		r, err := b.ReplayStatus(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		st, err := b.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st, r
	}

	a := nodeOn(t, dir, s.URL("p"))
	until(t, "up", func() bool { return status(t, a).State == "up" })
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	const n = 3
	for range n {
		if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: kept\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "kept", func() bool { return status(t, a).Pending == n })
	if st, r := look(a); st.Index.Reading || r[0].Reading || len(st.Reasons) != 0 {
		t.Errorf("all is read: %+v, %v, %+v", st.Index, st.Reasons, r)
	}
	halt(t, a)

	files, err := filepath.Glob(filepath.Join(dir, "index.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	a = nodeOn(t, dir, s.URL("p"))
	if st, r := look(a); st.Domains[0].Pending != 0 || !st.Index.Reading || !r[0].Reading || !slices.Contains(st.Reasons, admin.StillReading) {
		t.Errorf("nothing is read yet: %+v, %v, %+v", st.Index, st.Reasons, r)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "read", func() bool { st, r := look(a); return !st.Index.Reading && !r[0].Reading })
	if st, _ := look(a); st.Domains[0].Accepted != n || slices.Contains(st.Reasons, admin.StillReading) {
		t.Errorf("all is read: %+v, %v", st.Domains[0], st.Reasons)
	}
}
