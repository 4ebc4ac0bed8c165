package tlscert

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func leaf(t *testing.T, s *Source) *tls.Certificate {
	t.Helper()
	c, err := s.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSelfSignedIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o := Options{Dir: dir, Hostname: "mx2.example.test", Log: quiet()}
	first, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf(t, first).Leaf.VerifyHostname("mx2.example.test"); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(dir, "self-signed.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	second, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(leaf(t, first).Certificate[0], leaf(t, second).Certificate[0]) {
		t.Error("the second start made another certificate")
	}
	o.Hostname = "mx3.example.test"
	third, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf(t, third).Leaf.VerifyHostname("mx3.example.test"); err != nil {
		t.Error(err)
	}
}

// A start that was killed between the two files, or a damaged one, mends itself.
func TestSelfSignedHealsItself(t *testing.T) {
	o := Options{Dir: t.TempDir(), Hostname: "mx2.example.test", Log: quiet()}
	if _, err := New(o); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(o.Dir, "self-signed.key")
	for _, damage := range []func() error{
		func() error { return os.Remove(key) },
		func() error { return os.WriteFile(key, []byte("junk"), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := New(o); err != nil {
			t.Error(err)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := New(Options{CertFile: "x", Log: quiet()}); err == nil {
		t.Error("a certificate without its key was taken")
	}
	if _, err := New(Options{CertFile: filepath.Join(dir, "x"), KeyFile: filepath.Join(dir, "y"), Log: quiet()}); err == nil {
		t.Error("missing files were taken")
	} else if !strings.Contains(err.Error(), filepath.Join(dir, "x")) {
		t.Errorf("the error names no file: %v", err)
	}
}

// recorder is a log that can be read while it is written.
type recorder struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func TestWatch(t *testing.T) {
	root := t.TempDir()
	made := func(name string) string {
		if _, err := New(Options{Dir: filepath.Join(root, name), Hostname: name + ".example.test", Log: quiet()}); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(root, name)
	}
	one, two := made("one"), made("two")
	cert, key := filepath.Join(root, "c.pem"), filepath.Join(root, "k.pem")
	put := func(dir string) {
		for from, to := range map[string]string{"self-signed.crt": cert, "self-signed.key": key} {
			b, err := os.ReadFile(filepath.Join(dir, from))
			if err == nil {
				err = os.WriteFile(to, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put(one)
	var log recorder
	s, err := New(Options{CertFile: cert, KeyFile: key, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go s.Watch(ctx, time.Minute)
		defer synctest.Wait()
		defer cancel()
		if err := os.WriteFile(cert, []byte("half a certif"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if n := strings.Count(log.String(), "can't be used"); n != 1 {
			t.Errorf("reported %d times:\n%s", n, &log)
		}
		if leaf(t, s).Leaf.VerifyHostname("one.example.test") != nil {
			t.Error("the old certificate is gone")
		}
		put(two)
		time.Sleep(2 * time.Minute)
		if leaf(t, s).Leaf.VerifyHostname("two.example.test") != nil {
			t.Errorf("the new certificate isn't in use:\n%s", &log)
		}
	})
}
