package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restante/cmd/internal/admin"
	"restante/cmd/internal/notify"
	"restante/spool/index"
)

// TestNoticeTellsOfWhatIsHeld: who is told that mail was handed over is told what was kept back.
func TestNoticeTellsOfWhatIsHeld(t *testing.T) {
	a := node(t, t.TempDir())
	until(t, "up", func() bool { return status(t, a).State == "up" })
	told := filepath.Join(t.TempDir(), "told")
	a.notifier.SetConfig(notify.Config{Command: []string{"sh", "-c", "cat >> " + told}})
	if _, err := a.primary.do("stop"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"one@example.test", "two@example.test", "three@example.test"} {
		if err := send(a.Addrs().SMTP[0], to, "Subject: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "kept", func() bool { return status(t, a).Pending == 3 })
	r, err := (&backend{a}).Act(t.Context(), "admin root", admin.Action{Do: "hold", Filter: index.Filter{Rcpt: "two@example.test"}})
	if err != nil || r.Pairs != 1 {
		t.Fatal(r, err)
	}
	if _, err := a.primary.do("start"); err != nil {
		t.Fatal(err)
	}
	until(t, "told", func() bool {
		b, err := os.ReadFile(told)
		return err == nil && strings.Contains(string(b), "but for what is held: 2 delivered, 0 parked, 1 held. See: restante queue list --domain example.test --state held")
	})
}
