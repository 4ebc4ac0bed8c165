package app

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoWebmail: mail is taken although the webmail has no certificate, or another program has its port; status says so.
func TestNoWebmail(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	damaged := filepath.Join(t.TempDir(), "damaged.pem")
	if err := os.WriteFile(damaged, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ listen, tls, why string }{
		"certificate": {"127.0.0.1:0", "tls = \"files\"\ntls_cert = \"" + damaged + "\"\ntls_key = \"" + damaged + "\"\n", "no certificate for the webmail"},
		"port":        {taken.Addr().String(), "tls = \"behind-proxy\"\nproxies = [\"127.0.0.1\"]\n", "another program listens there"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "restante.toml")
			text := "hostname = \"mx2.example.test\"\ndata_dir = \"" + dir + "/data\"\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = \"\"\n[webmail]\nlisten = [\"" + c.listen +
				"\"]\nhostnames = [\"mail.example.test\"]\n" + c.tls + "[[domain]]\nname = \"example.test\"\nprimary = [\"127.0.0.1:1\"]\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			a := startConfig(t, path)
			defer halt(t, a)
			if err := send(a.Addrs().SMTP[0], "you@example.test", "Subject: kept\r\n\r\n"); err != nil {
				t.Errorf("mail isn't taken: %v", err)
			}
			s := a.webmailState(t.Context())
			if s == nil || s.State != "closed" {
				t.Fatalf("%+v", s)
			}
			until(t, "status says why", func() bool { return strings.Contains(a.webmailState(t.Context()).Why, c.why) })
		})
	}
}
