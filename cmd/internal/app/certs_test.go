package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restante/cmd/internal/config"
	"restante/relay/sink"
)

// putCert writes a fresh certificate into cert.pem and key.pem of a folder.
func putCert(t *testing.T, dir, name string) {
	t.Helper()
	c, err := sink.SelfSigned(name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// startTLS is the name in the certificate that port 25 shows to who asks for a name, and who issued it.
func startTLS(addr, name string, newest uint16) (subject, issuer string, err error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: name, MaxVersion: newest}); err != nil {
		return "", "", err
	}
	state, _ := c.TLSConnectionState()
	leaf := state.PeerCertificates[0]
	return strings.Join(leaf.DNSNames, " "), leaf.Issuer.CommonName, nil
}

// TestOneCertificate: files that are named once serve SMTP and webmail, and a reload puts others in their place for both.
func TestOneCertificate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "restante.toml")
	write := func(least string) {
		text := fmt.Sprintf("hostname = \"mx2.example.com\"\ndata_dir = %q\n[smtp]\nlisten = [\"127.0.0.1:0\"]\ntls_cert = %q\ntls_key = %q\ntls_min = %q\n[http]\nlisten = \"\"\n"+
			"[webmail]\nlisten = [\"127.0.0.1:0\"]\ntls = \"files\"\n[[domain]]\nname = \"example.com\"\nprimary = [\"127.0.0.1:1\"]\n",
			filepath.Join(dir, "data"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), least)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1.2")
	putCert(t, dir, "one.example.com")
	load := func() (*config.Config, error) { return config.Load(path, config.Flags{}) }
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{Config: c, Load: load, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer halt(t, a)
	shown := func() string {
		s, _, err := startTLS(a.Addrs().SMTP[0], "", 0)
		if err != nil {
			t.Fatal(err)
		}
		c, err := tls.Dial("tcp", strings.TrimPrefix(a.web.listeners[0].Addr().String(), "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return s + ", " + strings.Join(c.ConnectionState().PeerCertificates[0].DNSNames, " ")
	}
	if got := shown(); got != "one.example.com, one.example.com" {
		t.Error(got)
	}
	if _, _, err := startTLS(a.Addrs().SMTP[0], "", tls.VersionTLS12); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
	putCert(t, dir, "two.example.com")
	write("1.3")
	out, err := a.Reload(context.Background(), "test")
	if err != nil || len(out.Restart) > 0 {
		t.Fatal(out, err)
	}
	if got := shown(); got != "two.example.com, two.example.com" {
		t.Errorf("after a reload: %s", got)
	}
	if _, _, err := startTLS(a.Addrs().SMTP[0], "", tls.VersionTLS12); err == nil {
		t.Error("TLS 1.2 although tls_min is 1.3")
	}
	// What can't be used changes nothing.
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Reload(context.Background(), "test"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a broken certificate was taken: %v", err)
	}
	if got := shown(); got != "two.example.com, two.example.com" {
		t.Errorf("after a broken one: %s", got)
	}
}

// TestCertificateFromWebmail: SMTP takes the webmail's files, and goes on without them; a certificate that ends soon is said.
func TestCertificateFromWebmail(t *testing.T) {
	dir := t.TempDir()
	putCert(t, dir, "mail.example.com")
	c := config.Defaults()
	c.Hostname, c.DataDir = "mx2.example.com", filepath.Join(dir, "data")
	c.Webmail.Listen, c.Webmail.TLS, c.Webmail.TLSCert, c.Webmail.TLSKey = []string{"0.0.0.0:443"}, "files", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a := &App{log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	certs := &certificates{hostname: c.Hostname}
	name := func() string {
		t.Helper()
		if err := certs.use(a, c); err != nil {
			t.Fatal(err)
		}
		cert, err := certs.Get(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.DNSNames[0]
	}
	if got := name(); got != "mail.example.com" {
		t.Error(got)
	}
	for at, want := range map[time.Time]string{time.Now(): "", time.Now().AddDate(10, 0, -1): "ends on", time.Now().AddDate(10, 0, 1): "ended on"} {
		if got := certs.trouble(c, at); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "mx2.example.com" {
		t.Errorf("without the webmail's key: %s", got)
	}
	if got := certs.trouble(c, time.Now().AddDate(20, 0, 0)); got != "" {
		t.Errorf("a self-signed one is made anew by itself: %s", got)
	}
	c.SMTP.TLSCert, c.SMTP.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := certs.use(a, c); err == nil {
		t.Error("files that [smtp] names were left out")
	}
}
