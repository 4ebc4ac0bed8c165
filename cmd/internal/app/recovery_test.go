package app

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"restante/cmd/internal/config"
	"restante/cmd/internal/recovery"
	"restante/relay/sink"
	"restante/spool"
	"restante/spool/blob/s3test"
	"restante/webmail/accounts"
)

// startConfig starts a node by a configuration file.
func startConfig(t *testing.T, path string) *App {
	t.Helper()
	c, err := config.Load(path, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	return startWith(t, c)
}

// TestFromCardAndBucketAlone: a node is made again on a bare machine that has the recovery card and the bucket, and nothing else. Its
// configuration with all secrets, its people and their passwords, and the mail it had kept are there.
func TestFromCardAndBucketAlone(t *testing.T) {
	s := s3test.Start(t)
	old := t.TempDir()
	cert := filepath.Join(old, "ca.pem")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	made, err := sink.SelfSigned("ca.example.test")
	if err != nil {
		t.Fatal(err)
	}
	write(cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})))
	write(filepath.Join(old, "aws"), "[default]\naws_access_key_id = "+s3test.AccessKey+"\naws_secret_access_key = "+s3test.SecretKey+"\n")
	store := "s3://" + s3test.Bucket + "/mx2?endpoint=" + s.Endpoint + "&region=" + s3test.Region
	path := filepath.Join(old, "restante.toml")
	write(path, fmt.Sprintf(`hostname = "mx2.example.test"
data_dir = %q
[smtp]
listen = ["127.0.0.1:0"]
[store]
url = "%s&credentials_file=%s/aws"
[http]
listen = ""
[webmail]
listen = ["127.0.0.1:0"]
tls = "behind-proxy"
proxies = ["127.0.0.1"]
[smarthost]
host = "127.0.0.1"
port = 1
user = "relay"
password = "smarthost-secret"
tls_ca = %q
[[domain]]
name = "example.test"
primary = ["127.0.0.1:1"]
`, filepath.Join(old, "data"), store, old, cert))

	a := startConfig(t, path)
	people, err := a.people()
	if err != nil {
		t.Fatal(err)
	}
	name := "Anna"
	if _, err := people.Add(t.Context(), "test", "anna@example.test", accounts.Edit{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if err := people.SetPassword(t.Context(), "test", "anna@example.test", "correct horse", accounts.SetByAdmin); err != nil {
		t.Fatal(err)
	}
	if err := send(a.Addrs().SMTP[0], "anna@example.test", "Subject: kept\r\n\r\nkept\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "the configuration is kept", func() bool {
		v, err := a.vault()
		if err != nil {
			return false
		}
		_, _, err = v.Get(t.Context(), recovery.SecretPrefix+"mx2.example.test")
		return err == nil
	})
	card := &recovery.Card{Store: store, Access: s3test.AccessKey, Secret: s3test.SecretKey, Cluster: a.spool.Cluster(), Node: "mx2.example.test", Key: a.keys.ring.Load().Key()}
	halt(t, a)
	for _, secret := range []string{"smarthost-secret", "correct horse", card.Key.Text()} {
		if found := search(t, s.Dir, secret); found != "" {
			t.Errorf("%q can be read in %s", secret, found)
		}
	}
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}

	// On the bare machine.
	typed, err := recovery.Parse(card.Text())
	if err != nil {
		t.Fatal(err)
	}
	bare := t.TempDir()
	path = filepath.Join(bare, "etc", "restante.toml")
	o := recovery.Options{ConfigPath: path, DataDir: filepath.Join(bare, "data"), Getenv: func(string) string { return "" }}
	r, err := recovery.Recover(t.Context(), typed, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
	if _, err := recovery.Recover(t.Context(), typed, o); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("overwritten: %v", err)
	}
	if _, err := os.Stat(cert); err != nil {
		t.Errorf("the CA is missing: %v", err)
	}
	b := startConfig(t, path)
	defer halt(t, b)
	if c := b.cfg.Load(); c.Smarthost.Password.Reveal() != "smarthost-secret" || c.DataDir != o.DataDir {
		t.Errorf("%+v", c)
	}
	if err := b.spool.CaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if people, err = b.people(); err != nil {
		t.Fatal(err)
	}
	until(t, "Anna can sign in", func() bool { return people.VerifyPassword(t.Context(), "anna@example.test", "correct horse") == nil })
	if err := people.VerifyPassword(t.Context(), "anna@example.test", "wrong horse"); err == nil {
		t.Error("any password will do")
	}
	sum, err := b.index.Summary(t.Context(), "example.test")
	if err != nil || sum.All.Pending != 1 {
		t.Errorf("%+v %v", sum, err)
	}

	// With another card.
	wrong := *typed
	wrong.Cluster = spool.NewID()
	o.Force = true
	if _, err := recovery.Recover(t.Context(), &wrong, o); err == nil || !strings.Contains(err.Error(), "another store") {
		t.Errorf("%v", err)
	}
	wrong = *typed
	wrong.Key[0]++
	if _, err := recovery.Recover(t.Context(), &wrong, o); err == nil || !strings.Contains(err.Error(), "key of this card") {
		t.Errorf("%v", err)
	}
}

// search looks for a text in all files below a folder, as whoever reads the bucket could.
func search(t *testing.T, dir, text string) (found string) {
	t.Helper()
	zstd, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zstd.Close()
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if plain, err := zstd.DecodeAll(raw, nil); err == nil { // else it isn't packed
			raw = plain
		}
		if bytes.Contains(raw, []byte(text)) {
			found = p
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
