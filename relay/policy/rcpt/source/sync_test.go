package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"restante/relay/policy/rcpt"
)

// fake is a Directory that remembers what it was told.
type fake struct {
	mu    sync.Mutex
	lists map[string][]rcpt.Address
	at    map[string]time.Time
	errs  map[string]error
	fail  error // of Replace
	took  int   // lists taken in
}

func newFake() *fake {
	return &fake{lists: map[string][]rcpt.Address{}, at: map[string]time.Time{}, errs: map[string]error{}}
}

func (f *fake) Replace(_ context.Context, domain, source string, list []rcpt.Address, _ string, o rcpt.ReplaceOptions) (rcpt.Change, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := domain + " " + source
	was := f.lists[key]
	c := rcpt.Change{Domain: domain, Source: source, Before: len(was), After: len(list)}
	if fmt.Sprint(was) != fmt.Sprint(list) {
		c.Added = []string{"something"}
	}
	if 2*len(list) < len(was) && !o.Force {
		return c, rcpt.ErrShrinks
	}
	if o.DryRun {
		return c, nil
	}
	if f.fail != nil {
		return c, f.fail
	}
	f.lists[key], f.at[key] = list, time.Now()
	if !o.At.IsZero() {
		f.at[key] = o.At
	}
	f.took++
	return c, nil
}

func (f *fake) Failed(domain, source string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[domain+" "+source] = err
}

func (f *fake) Freshness(_ context.Context, domain string) rcpt.Freshness {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out rcpt.Freshness
	for key, at := range f.at {
		if d, source, _ := strings.Cut(key, " "); d == domain {
			out.Sources = append(out.Sources, rcpt.SourceState{Name: source, At: at})
		}
	}
	return out
}

// now is how many addresses a list has, how many lists were taken in, and the failure told last.
func (f *fake) now(key string) (addresses, took int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lists[key]), f.took, f.errs[key]
}

// list writes a file whose last change is some time ago.
func list(t *testing.T, path string, n int, ago time.Duration) {
	t.Helper()
	text := "# people\n"
	for i := range n {
		text += fmt.Sprintf("user%d@example.com\n", i)
	}
	at := time.Now().Add(-ago)
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
}

const fileKey = "example.com " + rcpt.SourceFile

func fileDomain(path string) []Domain {
	return []Domain{{Name: "example.com", File: &File{Path: path}}}
}

// run starts a Sync within a bubble.
func run(t *testing.T, f *fake, domains []Domain) *Sync {
	s := NewSync(Options{Domains: domains, Directory: f, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func expect(t *testing.T, f *fake, key string, addresses, took int, failed string) {
	t.Helper()
	synctest.Wait()
	n, k, err := f.now(key)
	if n != addresses || k != took || (err == nil) != (failed == "") || err != nil && !strings.Contains(err.Error(), failed) {
		t.Fatalf("%d addresses after %d lists, %v; not %d, %d, %q", n, k, err, addresses, took, failed)
	}
}

// TestFile: a file is read when it has changed and rests; what can't be read, or has lost most of its addresses, changes nothing but
// what is told of it.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "recipients")
		f := newFake()
		s := run(t, f, fileDomain(path))
		expect(t, f, fileKey, 0, 0, "no such file")
		list(t, path, 10, time.Minute)
		time.Sleep(2 * FileEvery)
		expect(t, f, fileKey, 10, 1, "")
		time.Sleep(10 * FileEvery)
		expect(t, f, fileKey, 10, 1, "")

		list(t, path, 20, -FileEvery*3/2) // it is still being written when it is looked at next
		list(t, path, 20, 0)
		time.Sleep(3 * FileEvery)
		expect(t, f, fileKey, 20, 2, "")

		list(t, path, 3, time.Second)
		time.Sleep(2 * FileEvery)
		expect(t, f, fileKey, 20, 2, "more than half")
		out := s.Now(t.Context(), "example.com", "admin root", rcpt.ReplaceOptions{Force: true, DryRun: true})
		if len(out) != 1 || out[0].Err != nil || out[0].Change.After != 3 {
			t.Errorf("%+v", out)
		}
		expect(t, f, fileKey, 20, 2, "more than half")
		s.Now(t.Context(), "example.com", "admin root", rcpt.ReplaceOptions{Force: true})
		expect(t, f, fileKey, 3, 3, "")

		if err := os.WriteFile(path, []byte("<html>\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * FileEvery)
		expect(t, f, fileKey, 3, 3, "no list of recipients")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * FileEvery)
		expect(t, f, fileKey, 3, 3, "no such file")
		list(t, path, 4, time.Minute)
		time.Sleep(2 * FileEvery)
		expect(t, f, fileKey, 4, 4, "")
	})
}

// TestFileStore: a list that can't be kept is tried again, though its file hasn't changed.
func TestFileStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "recipients")
		list(t, path, 10, time.Minute)
		f := newFake()
		f.fail = errors.New("the store is failing")
		run(t, f, fileDomain(path))
		expect(t, f, fileKey, 0, 0, "can't be kept: the store is failing")
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		time.Sleep(2 * retryFirst)
		expect(t, f, fileKey, 10, 1, "")
	})
}

// TestFileAge: a file is as old as its last change. A start of the node makes none newer.
func TestFileAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "recipients")
		list(t, path, 10, time.Hour)
		f := newFake()
		for range 2 {
			s := NewSync(Options{Domains: fileDomain(path), Directory: f, Log: slog.New(slog.DiscardHandler)})
			ctx, cancel := context.WithTimeout(t.Context(), FileEvery*5)
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			expect(t, f, fileKey, 10, 1, "")
			if age := time.Since(f.at[fileKey]); age < time.Hour {
				t.Errorf("the list counts as %s old", age)
			}
		}
		at := time.Now()
		if err := os.Chtimes(path, at, at); err != nil { // written anew, the same as before
			t.Fatal(err)
		}
		run(t, f, fileDomain(path))
		time.Sleep(2 * FileEvery)
		expect(t, f, fileKey, 10, 2, "")
	})
}

// TestSetConfig: lists that a reload names are read at once, others are let go, and those that stay as they were aren't read again.
func TestSetConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
		list(t, one, 5, time.Minute)
		list(t, two, 7, time.Minute)
		f := newFake()
		s := run(t, f, fileDomain(one))
		expect(t, f, fileKey, 5, 1, "")
		s.SetConfig(fileDomain(one))
		expect(t, f, fileKey, 5, 1, "")
		s.SetConfig(fileDomain(two))
		expect(t, f, fileKey, 7, 2, "")
		s.SetConfig(nil)
		list(t, two, 9, time.Second)
		time.Sleep(time.Hour)
		expect(t, f, fileKey, 7, 2, "")
		if out := s.Now(t.Context(), "", "admin root", rcpt.ReplaceOptions{}); len(out) != 0 {
			t.Errorf("%+v", out)
		}
	})
}

// TestDirectoryFails: while a directory is away its list stays, the failure is told, and it is asked again, ever more rarely.
func TestDirectoryFails(t *testing.T) {
	d := startSlapd(t, people(), "")
	f := newFake()
	l := &LDAP{URLs: []string{d.plus}, CAFile: d.ca, BindDN: reader, PasswordFile: d.password}
	s := NewSync(Options{Domains: []Domain{{Name: "example.com", LDAP: l, LDAPEvery: 20 * time.Millisecond}}, Directory: f, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	const key = "example.com " + rcpt.SourceLDAP
	until := func(what string, ok func(n, took int, err error) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(f.now(key)); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				n, took, err := f.now(key)
				t.Fatalf("no %s: %d, %d, %v", what, n, took, err)
			}
		}
	}
	until("second list", func(n, took int, err error) bool { return n == 7 && took > 1 && err == nil })
	if err := os.WriteFile(d.password, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	until("failure", func(n, _ int, err error) bool { return n == 7 && err != nil })
	if err := os.WriteFile(d.password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.Now(ctx, "", "admin root", rcpt.ReplaceOptions{}); len(out) != 1 || out[0].Err != nil {
		t.Errorf("%+v", out)
	}
	if n, _, err := f.now(key); n != 7 || err != nil {
		t.Error(n, err)
	}
}

// TestReloadWhileReading: a directory that answers after a reload has taken it out of the configuration changes nothing any more.
func TestReloadWhileReading(t *testing.T) {
	asked := make(chan net.Conn, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			asked <- c
		}
	}()
	f := newFake()
	s := NewSync(Options{Domains: []Domain{{Name: "example.com", LDAP: &LDAP{URLs: []string{"ldap://" + l.Addr().String()}, TLS: NoTLS, Base: "dc=x"}}}, Directory: f, Log: slog.New(slog.DiscardHandler)})
	done := make(chan []Outcome, 1)
	go func() { done <- s.Now(t.Context(), "", "admin root", rcpt.ReplaceOptions{}) }()
	c := <-asked
	s.SetConfig(nil)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if _, took, err := f.now("example.com " + rcpt.SourceLDAP); took != 0 || err != nil {
		t.Error(took, err)
	}
}
