package webhost

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restante/cmd/internal/pebble"
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
			o.CA, o.CARoot = pebble.Start(t, zone, o.HTTPPort, o.TLSPort)
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
