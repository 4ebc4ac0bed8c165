package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestPathsBeginInTheFolder: a path that isn't whole begins in the main file's folder, in conf.d too; a flag's
// where it was typed.
func TestPathsBeginInTheFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"r.toml": `hostname = "a.example"
data_dir = "data"
admin.socket = "run/admin.sock"
notify.command = ["./tell.sh", "./as it is"]
secrets.key_file = "/etc/key"
`,
		"conf.d/one.toml": "[[domain]]\nname = \"one.example\"\nprimary = [\"mx\"]\nrecipients_file = \"people.txt\"\n[domain.submission]\nhost = \"h.example\"\ntls_ca = \"ca.pem\"\n",
		"people.txt":      "anna\n", "ca.pem": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	main := filepath.Join(dir, "r.toml")
	c, err := Load(main, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.DataDir, c.Admin.Socket, c.Notify.Command[0], c.Domains[0].RecipientsFile, c.Domains[0].Submission.TLSCA}
	for i, name := range []string{"data", "run/admin.sock", "tell.sh", "people.txt", "ca.pem"} {
		if want := filepath.Join(dir, name); got[i] != want {
			t.Errorf("%s, not %s", got[i], want)
		}
	}
	if c.Secrets.KeyFile != "/etc/key" || c.Notify.Command[1] != "./as it is" {
		t.Errorf("%s, %q", c.Secrets.KeyFile, c.Notify.Command)
	}
	if s := Socket(main); s != c.Admin.Socket {
		t.Errorf("the socket is looked for at %s", s)
	}
	if _, err := Load(main, Flags{Store: "s3://b?credentials_file=aws"}); err == nil || !strings.Contains(err.Error(), "credentials_file has no whole path") {
		t.Errorf("a URL with half a path: %v", err)
	}
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c, err = Load(main, Flags{DataDir: "mine"})
	if err != nil || c.DataDir != filepath.Join(here, "mine") || c.Admin.Socket != got[1] {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestEveryPathIsOne: no key that names a file is forgotten.
func TestEveryPathIsOne(t *testing.T) {
	names := regexp.MustCompile(`^(data_dir|socket|acme_ca_root|(tls|learned)_(ca|cert|key)|.*_file)$`)
	found := 0
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Type.Kind() == reflect.Struct && f.IsExported() {
				walk(f.Type)
			}
			if names.MatchString(f.Tag.Get("toml")) {
				found++
				if f.Tag.Get("check") != "path" {
					t.Errorf("%s of %s isn't checked as a path", f.Name, typ.Name())
				}
			}
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Domain]()} {
		walk(typ)
	}
	if found < 15 {
		t.Errorf("only %d paths", found)
	}
}
