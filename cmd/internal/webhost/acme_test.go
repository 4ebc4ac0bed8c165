package webhost

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/dns/dnstest"
)

// vault is a Vault in memory.
type vault struct {
	mu   sync.Mutex
	kept map[string][]byte
	at   map[string]time.Time
	away error
}

func newVault() *vault { return &vault{kept: map[string][]byte{}, at: map[string]time.Time{}} }

func (v *vault) Keep(_ context.Context, name, _ string, plain []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.away != nil {
		return v.away
	}
	v.kept[name], v.at[name] = slices.Clone(plain), time.Now()
	return nil
}

func (v *vault) Forget(_ context.Context, name, _ string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.kept, name)
	return v.away
}

func (v *vault) Names(_ context.Context, prefix string) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []string
	for name := range v.kept {
		if strings.HasPrefix(name, prefix) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list, v.away
}

func (v *vault) Get(_ context.Context, name string) ([]byte, time.Time, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.away != nil {
		return nil, time.Time{}, v.away
	}
	plain, ok := v.kept[name]
	if !ok {
		return nil, time.Time{}, fs.ErrNotExist
	}
	return plain, v.at[name], nil
}

// pebble starts a CA that finds the names at 127.0.0.1 and returns its directory and the file with its root.
func pebble(t *testing.T, zone string, httpPort, tlsPort int) (directory, root string) {
	t.Helper()
	path, err := exec.LookPath("pebble")
	if err != nil {
		if os.Getenv("RESTANTE_TEST_REQUIRE") == "1" {
			t.Fatal("pebble is missing: make tools")
		}
		t.Skip("pebble is missing: make tools")
	}
	dir := t.TempDir()
	root, key := selfSigned(t, dir)
	listen := listener(t)
	manage := listener(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen.Addr().String(), "managementListenAddress": manage.Addr().String(), "certificate": root, "privateKey": key,
		"httpPort": httpPort, "tlsPort": tlsPort, "externalAccountBindingRequired": false,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	dns := dnstest.Start(t, zone)
	cmd := exec.Command(path, "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", dns.Addr())
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	listen.Close()
	manage.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(out.Name()); err == nil && t.Failed() {
			t.Logf("pebble: %s", text)
		}
	})
	directory = "https://" + listen.Addr().String() + "/dir"
	for { // it answers, or the test's own time is over
		resp, err := client().Get(directory)
		if err == nil {
			resp.Body.Close()
			return directory, root
		}
		if cmd.ProcessState != nil {
			t.Fatal("pebble has ended")
		}
		<-time.After(20 * time.Millisecond)
	}
}

func selfSigned(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func port(t *testing.T, l net.Listener) int {
	t.Helper()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// issuer is the common name of who signed the certificate that a name gets at the address.
func issuer(addr, name string) (string, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		return "", err
	}
	defer c.Close()
	cert := c.ConnectionState().PeerCertificates[0]
	return cert.Issuer.CommonName, cert.VerifyHostname(name)
}

func TestACME(t *testing.T) {
	names := []string{"mx2.example.com", "mail.example.com"}
	zone := "mx2.example.com. A 127.0.0.1\nmail.example.com. A 127.0.0.1\n"
	for _, way := range []string{"http-01", "tls-alpn-01"} {
		t.Run(way, func(t *testing.T) {
			plain, secure := listener(t), listener(t)
			o := ACMEOptions{Names: names, HTTPPort: port(t, plain), TLSPort: port(t, secure), Email: "admin@example.com", Log: slog.New(slog.DiscardHandler)}
			o.CA, o.CARoot = pebble(t, zone, o.HTTPPort, o.TLSPort)
			if way == "http-01" {
				o.TLSPort = 0
			} else {
				o.HTTPPort = 0
			}
			v := newVault()
			o.Storage = NewStorage(t.TempDir(), v, o.Log)
			a, err := NewACME(o)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Stop()
			h := start(t, Options{Listeners: []net.Listener{secure}, Redirect: []net.Listener{plain}, TLS: a.TLS(), Challenge: a.Challenge, Names: names})
			h.SetHandler(http.HandlerFunc(whoami))
			if got := a.Missing(); len(got) != 2 {
				t.Errorf("missing before: %v", got)
			}
			if err := a.config.ManageSync(t.Context(), names); err != nil { // Manage, but waiting
				t.Fatal(err)
			}
			for _, name := range names {
				if by, err := issuer(secure.Addr().String(), name); err != nil || !strings.HasPrefix(by, "Pebble") {
					t.Errorf("%s: by %q, %v", name, by, err)
				}
			}
			if got := a.Missing(); len(got) != 0 {
				t.Errorf("missing: %v", got)
			}
			if way == "http-01" {
				fromVault(t, o, v, a)
			}
		})
	}
}

// fromVault is a machine made anew, which gets certificates and account from the vault and has none made.
func fromVault(t *testing.T, o ACMEOptions, v *vault, before *ACME) {
	t.Helper()
	o.Storage = NewStorage(t.TempDir(), v, o.Log)
	a, err := NewACME(o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	if err := a.config.ManageSync(t.Context(), o.Names); err != nil {
		t.Fatal(err)
	}
	for _, name := range o.Names {
		was, is := before.cache.AllMatchingCertificates(name), a.cache.AllMatchingCertificates(name)
		if len(was) != 1 || len(is) != 1 || is[0].Leaf.SerialNumber.Cmp(was[0].Leaf.SerialNumber) != 0 {
			t.Errorf("%s: a new machine has no certificate, or another one", name)
		}
	}
}

func TestStorage(t *testing.T) {
	v, ctx := newVault(), t.Context()
	one := NewStorage(t.TempDir(), v, slog.New(slog.DiscardHandler))
	two := NewStorage(t.TempDir(), v, slog.New(slog.DiscardHandler))
	key := "certificates/ca/mail.example.com/mail.example.com.key"
	if _, err := one.Load(ctx, key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := one.Store(ctx, key, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if !two.Exists(ctx, key) || !two.Exists(ctx, "certificates/ca") || two.Exists(ctx, "certificates/c") {
		t.Error("what exists")
	}
	for _, way := range []struct {
		path      string
		recursive bool
		want      string
	}{{"certificates", false, "certificates/ca"}, {"certificates/ca", false, "certificates/ca/mail.example.com"}, {"certificates", true, key}} {
		if got, err := two.List(ctx, way.path, way.recursive); err != nil || !slices.Contains(got, way.want) {
			t.Errorf("%s: %v, %v", way.path, got, err)
		}
	}
	if got, err := two.Load(ctx, key); err != nil || string(got) != "one" {
		t.Errorf("%q %v", got, err)
	}
	if info, err := two.Stat(ctx, key); err != nil || !info.IsTerminal {
		t.Errorf("%+v %v", info, err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(two.Filename(key), old, old); err != nil {
		t.Fatal(err)
	}
	if err := one.Store(ctx, key, []byte("renewed")); err != nil {
		t.Fatal(err)
	}
	if got, err := two.Load(ctx, key); err != nil || string(got) != "renewed" {
		t.Errorf("another node's renewal isn't seen: %q %v", got, err)
	}
	v.away = fmt.Errorf("store away: %w", io.ErrUnexpectedEOF)
	if err := one.Store(ctx, key, []byte("local")); err != nil {
		t.Errorf("a store that is away keeps a certificate from being used: %v", err)
	}
	if got, err := one.Load(ctx, key); err != nil || string(got) != "local" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := NewStorage(t.TempDir(), v, slog.New(slog.DiscardHandler)).Load(ctx, key); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not known is taken for not there: %v", err)
	}
	v.away = nil
	if err := one.Store(ctx, "ocsp/staple", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if two.Exists(ctx, "ocsp/staple") {
		t.Error("what can be had again is kept")
	}
	if err := one.Delete(ctx, "certificates/ca/mail.example.com"); err != nil {
		t.Fatal(err)
	}
	if one.Exists(ctx, key) || len(v.kept) > 0 {
		t.Errorf("left: %v", v.kept)
	}
}
