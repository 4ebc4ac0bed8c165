package recovery

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"restante/spool/secret"
)

// TestWrittenForNobodyElse: a configuration with its secrets takes the place of one that everybody may read.
func TestWrittenForNobodyElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "restante.toml")
	if err := os.WriteFile(path, []byte("old and longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("new"), true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 3 {
		t.Errorf("%v %v", info, err)
	}
}

// TestServiceOwnsOnlyItsOwn: the service gets what was made for it, and nothing that was there before, such as /etc.
func TestServiceOwnsOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	etc, srv := filepath.Join(dir, "etc"), filepath.Join(dir, "srv", "restante")
	ca, key := filepath.Join(etc, "ca.pem"), filepath.Join(etc, "cluster.key")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, []byte("there already"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &Snapshot{Config: "data_dir = \"/var/lib/restante\"\n[secrets]\nkey_file = \"" + key + "\"\n", Files: []File{{ca, []byte("x")}}}
	r := &Result{}
	if err := write(s, &Card{Key: secret.NewKey()}, Options{ConfigPath: filepath.Join(etc, "restante", "restante.toml"), DataDir: srv}, "file:///x", nil, r); err != nil {
		t.Fatal(err)
	}
	want := []string{key, filepath.Join(etc, "restante"), filepath.Join(etc, "restante", "restante.toml"), srv}
	if got := r.Own(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
