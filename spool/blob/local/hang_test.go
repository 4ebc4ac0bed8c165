package local

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"restante/spool/blob"
)

var absent = blob.Cond{Absent: true}

// stuck is a Step that holds an operation until let go, and can then fail it.
type stuck struct {
	op   Op
	gate chan struct{}
	fail error

	mu  sync.Mutex
	ops []Op
}

func (h *stuck) step(op Op, _ string, do func() error) error {
	h.mu.Lock()
	h.ops = append(h.ops, op)
	h.mu.Unlock()
	if op == h.op && h.gate != nil {
		<-h.gate
		if h.fail != nil {
			return h.fail
		}
	}
	return do()
}

func (h *stuck) did(op Op) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.ops, op)
}

func openStuck(t *testing.T, op Op) (*Store, *stuck) {
	h := &stuck{op: op, gate: make(chan struct{})}
	s, err := Open(t.TempDir(), Options{Step: h.step})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, h
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestHangBeforeLink: a Put that is given up while the disk hangs before the link is certain to have written nothing, ever.
func TestHangBeforeLink(t *testing.T) {
	for _, op := range []Op{PutCreate, PutWrite, PutSync, PutMkdir, PutMkSync} {
		synctest.Test(t, func(t *testing.T) {
			s, h := openStuck(t, op)
			_, err := s.Put(within(t, 10*time.Second), "a/b", strings.NewReader("text"), absent)
			if !errors.Is(err, blob.ErrNotWritten) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", op, err)
			}
			close(h.gate) // the disk comes back
			synctest.Wait()
			if h.did(PutLink) {
				t.Errorf("%s: linked after it had been given up", op)
			}
			if _, _, err := s.Get(t.Context(), "a/b", blob.Range{}); !errors.Is(err, blob.ErrNotExist) {
				t.Errorf("%s: get: %v", op, err)
			}
			if left, _ := os.ReadDir(filepath.Join(s.dir, tempName)); len(left) > 0 {
				t.Errorf("%s: left %v", op, left)
			}
		})
	}
}

// TestHangAfterLink: once linked the outcome is unknown, and nobody reads the object as kept before its folder is synced.
func TestHangAfterLink(t *testing.T) {
	for _, fail := range []error{nil, syscall.EIO} {
		synctest.Test(t, func(t *testing.T) {
			s, h := openStuck(t, PutSyncDir)
			h.fail = fail
			_, err := s.Put(within(t, 10*time.Second), "a/b", strings.NewReader("text"), absent)
			if errors.Is(err, blob.ErrNotWritten) || errors.Is(err, blob.ErrPrecondition) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("put: %v", err)
			}
			if _, _, err := s.Get(within(t, time.Minute), "a/b", blob.Range{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("get while it isn't durable: %v", err)
			}
			if _, err := s.Put(within(t, time.Minute), "a/b", strings.NewReader("void"), absent); !errors.Is(err, blob.ErrPrecondition) {
				t.Errorf("put again: %v", err)
			}
			close(h.gate)
			synctest.Wait()
			rd, _, err := s.Get(t.Context(), "a/b", blob.Range{})
			if fail != nil {
				if !errors.Is(err, blob.ErrUnreadable) {
					t.Errorf("get after the sync failed: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer rd.Close()
			if b, err := io.ReadAll(rd); string(b) != "text" || err != nil {
				t.Errorf("get: %q, %v", b, err)
			}
		})
	}
}

// TestFolderSyncFails: what was under way in the folder is in doubt for good, what had been synced isn't, and nothing new goes there.
func TestFolderSyncFails(t *testing.T) {
	h := &stuck{op: PutSyncDir}
	linked := make(chan struct{}, 10)
	s, err := Open(t.TempDir(), Options{Step: func(op Op, path string, do func() error) error {
		err := h.step(op, path, do)
		if op == PutLink {
			linked <- struct{}{}
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Put(t.Context(), "f/safe", strings.NewReader("x"), absent); err != nil {
		t.Fatal(err)
	}
	h.gate, h.fail = make(chan struct{}), syscall.EIO
	results := make(chan error, 2)
	for _, key := range []string{"f/one", "f/two"} {
		go func() {
			_, err := s.Put(context.Background(), key, strings.NewReader("x"), absent)
			results <- err
		}()
	}
	for range 3 {
		<-linked
	}
	close(h.gate)
	for range 2 {
		if err := <-results; !errors.Is(err, blob.ErrUnreadable) || errors.Is(err, blob.ErrNotWritten) {
			t.Errorf("put under way: %v", err)
		}
	}
	h.gate = nil // the disk says that all is well again
	for _, key := range []string{"f/one", "f/two"} {
		if _, _, err := s.Get(t.Context(), key, blob.Range{}); !errors.Is(err, blob.ErrUnreadable) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := s.Put(t.Context(), key, strings.NewReader("void"), absent); !errors.Is(err, blob.ErrPrecondition) {
			t.Errorf("put %s again: %v", key, err)
		}
	}
	if rd, _, err := s.Get(t.Context(), "f/safe", blob.Range{}); err != nil {
		t.Errorf("get of what was synced before: %v", err)
	} else {
		rd.Close()
	}
	if _, err := s.Put(t.Context(), "f/new", strings.NewReader("x"), absent); !errors.Is(err, blob.ErrNotWritten) {
		t.Errorf("put in the broken folder: %v", err)
	}
	if _, err := s.Put(t.Context(), "g/new", strings.NewReader("x"), absent); err != nil {
		t.Errorf("put in another folder: %v", err)
	}
}

// TestLinkUnknown: when link or rename fails in a way that leaves it open, nobody may rely on the key either way.
func TestLinkUnknown(t *testing.T) {
	for _, after := range []bool{false, true} {
		s, err := Open(t.TempDir(), Options{Step: func(op Op, _ string, do func() error) error {
			if op != PutLink {
				return do()
			}
			if after {
				if err := do(); err != nil {
					return err
				}
			}
			return syscall.EIO
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Put(t.Context(), "a", strings.NewReader("x"), absent)
		if errors.Is(err, blob.ErrNotWritten) || !errors.Is(err, blob.ErrUnreadable) {
			t.Errorf("put, link done %t: %v", after, err)
		}
		if _, err := s.Put(t.Context(), "a", strings.NewReader("void"), absent); !errors.Is(err, blob.ErrPrecondition) {
			t.Errorf("put again, link done %t: %v", after, err)
		}
		if _, _, err := s.Get(t.Context(), "a", blob.Range{}); !errors.Is(err, blob.ErrUnreadable) {
			t.Errorf("get, link done %t: %v", after, err)
		}
		s.Close()
	}
}

// TestReadError: a disk that can't read is not an object that isn't there.
func TestReadError(t *testing.T) {
	s, err := Open(t.TempDir(), Options{Step: func(op Op, path string, do func() error) error {
		if op == GetOpen {
			return &os.PathError{Op: "open", Path: path, Err: syscall.EIO}
		}
		return do()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Get(t.Context(), "a", blob.Range{}); err == nil || errors.Is(err, blob.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestCutFile: a file that became shorter while it was read ends with an error.
func TestCutFile(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Put(t.Context(), "a", strings.NewReader("0123456789"), absent); err != nil {
		t.Fatal(err)
	}
	rd, _, err := s.Get(t.Context(), "a", blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if err := os.Truncate(filepath.Join(s.dir, "a"), 5); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(rd); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	if _, err := s.Put(t.Context(), "a", strings.NewReader("x"), absent); err != nil {
		t.Fatal(err)
	}
	ro, err := Open(dir, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if rd, _, err := ro.Get(t.Context(), "a", blob.Range{}); err != nil {
		t.Error(err)
	} else {
		rd.Close()
	}
	if _, err := ro.Put(t.Context(), "b", strings.NewReader("x"), absent); !errors.Is(err, blob.ErrNotWritten) {
		t.Errorf("put when read-only: %v", err)
	}
	if err := ro.Delete(t.Context(), "a"); err == nil {
		t.Error("delete when read-only: no error")
	}
	if err := errors.Join(ro.Close(), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "b", strings.NewReader("x"), absent); !errors.Is(err, blob.ErrNotWritten) {
		t.Errorf("put when closed: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none"), Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open of nothing, read-only: %v", err)
	}
}

// TestKilled: after a kill the lock is free, and everything is synced before anybody reads.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	if os.Getenv("RESTANTE_HOLD") != "" {
		s, err := Open(os.Getenv("RESTANTE_HOLD"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Put(t.Context(), "a", strings.NewReader("x"), absent)
		os.WriteFile(filepath.Join(s.dir, tempName, "leftover"), nil, 0o600)
		os.Stdout.WriteString("held " + errString(err) + "\n")
		select {}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), "RESTANTE_HOLD="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "held \n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(child.Process.Pid)) {
		t.Errorf("while another process holds it: %v", err)
	}
	child.Process.Kill()
	child.Wait()
	for i, want := range [][]Op{{OpenClean, OpenSyncAll}, nil} { // then a clean close, and nothing to do
		var ops []Op
		s, err := Open(dir, Options{Step: func(op Op, _ string, do func() error) error { ops = append(ops, op); return do() }})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ops, want) {
			t.Errorf("open %d did %v, want %v", i+1, ops, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestForeignFiles: what isn't ours is neither listed nor in the way.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lost+found/x", "mail/.hidden", "mail/a b", "mail/empty/folder/", "ok"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			os.MkdirAll(path, 0o700)
		} else if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("ok", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var keys []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if !slices.Equal(keys, []string{"ok"}) {
		t.Errorf("keys %q", keys)
	}
	for segment := range s.Prefixes(t.Context(), "") {
		t.Errorf("prefix %q", segment)
	}
	if fi, err := os.Stat(filepath.Join(dir, tempName)); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi, err)
	}
	free, total, err := s.Free(t.Context())
	if err != nil || free <= 0 || total < free {
		t.Errorf("free %d of %d, %v", free, total, err)
	}
	if want := "file://" + dir; s.String() != want {
		t.Errorf("%s, want %s", s, want)
	}
}
