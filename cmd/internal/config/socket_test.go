package config

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSocket: the node is found by a file that it wouldn't take.
func TestSocket(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "/var/lib/restante/admin.sock",
		"data_dir = \"/x\"\nfoo = 1\n":  "/x/admin.sock",
		"data_dir = \"/x\"\nfoo = \"\n": "/x/admin.sock",
		"[admin]\nsocket = \"/run/a\"\n[smtp]\nlisten = \"nonsense\"\n[smtp\n": "/run/a",
		"hostname = \"mx2\ndata_dir = \"/x\"\n":                                "/x/admin.sock",
		"hostname = mx2\n[smtp\nlisten = [\n[admin]\nsocket = \"/run/a\"\n":    "/run/a",
		"data_dir = 5\n": "/var/lib/restante/admin.sock",
		"= \n":           "/var/lib/restante/admin.sock",
	} {
		path := filepath.Join(t.TempDir(), "restante.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Socket(path); got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
	if got := Socket("/nowhere/restante.toml"); got != "" {
		t.Errorf("no file: %s", got)
	}
}
