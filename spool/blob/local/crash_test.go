package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"restante/spool/blob"
)

var errCrash = errors.New("crashed")

// disk stands under a store as its Step. It numbers the operations and can end the process at one, and then the power: what was not
// synced is lost, in the worst way that the promises of fsync allow.
type disk struct {
	t      *testing.T
	dir    string
	at     int  // operation to strike at, from 1; 0: none
	after  bool // strike after it was done
	fail   error
	ignore Op // claimed to be done, but not done

	n       int
	ops     []Op
	dead    bool
	dirty   map[string]bool   // files with unsynced octets
	written string            // the last file in .tmp
	undo    map[string][]undo // by folder: what its next sync makes durable
	backup  int
}

type undo struct {
	what string
	do   func() error
}

func newDisk(t *testing.T, dir string) *disk {
	return &disk{t: t, dir: dir, dirty: map[string]bool{}, undo: map[string][]undo{}}
}

func (d *disk) step(op Op, path string, do func() error) error {
	if d.dead {
		return errCrash
	}
	if op == GetOpen {
		return do()
	}
	d.n++
	d.ops = append(d.ops, op)
	if d.n == d.at && !d.after {
		return d.strike()
	}
	if op == d.ignore {
		return nil
	}
	restore := d.prepare(op, path)
	if err := do(); err != nil {
		return err
	}
	d.note(op, path, restore)
	if d.n == d.at {
		return d.strike()
	}
	return nil
}

func (d *disk) strike() error {
	if d.fail != nil {
		return d.fail
	}
	d.dead = true
	return errCrash
}

// prepare keeps what rename and delete are about to destroy, and returns how to bring it back.
func (d *disk) prepare(op Op, path string) func() error {
	if op != PutRename && op != DelUnlink {
		return nil
	}
	d.backup++
	kept := filepath.Join(d.t.TempDir(), fmt.Sprint(d.backup))
	if err := os.Link(path, kept); err != nil {
		d.t.Fatal(err)
	}
	return func() error { return os.Rename(kept, path) }
}

func (d *disk) note(op Op, path string, restore func() error) {
	above := filepath.Dir(path)
	later := func(what string, do func() error) {
		d.undo[above] = append(d.undo[above], undo{what + " " + path, do})
	}
	switch op {
	case PutWrite:
		d.dirty[path] = true
		d.written = path
	case PutSync:
		delete(d.dirty, path)
	case PutLink:
		d.dirty[path] = d.dirty[d.written]
		later("link", func() error { return os.Remove(path) })
	case PutRename, DelUnlink:
		d.dirty[path] = op == PutRename && d.dirty[d.written]
		later("rename or unlink", restore)
	case PutMkdir, OpenMkdir:
		later("mkdir", func() error { return os.RemoveAll(path) })
	case PutSyncDir, PutMkSync, DelSyncDir, OpenSyncDir:
		delete(d.undo, path)
	case DelRmdir:
		// What comes back with the folder is all that no sync of it has covered.
		inside := d.undo[path]
		delete(d.undo, path)
		later("rmdir", func() error { return errors.Join(os.Mkdir(path, 0o700), takeBack(inside)) })
	}
}

// powerLoss takes back whatever no fsync has covered.
func (d *disk) powerLoss() {
	for path, dirty := range d.dirty {
		if fi, err := os.Stat(path); err == nil && dirty {
			if err := os.Truncate(path, fi.Size()/2); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	for _, undos := range d.undo {
		if err := takeBack(undos); err != nil {
			d.t.Fatal(err)
		}
	}
}

func takeBack(undos []undo) error {
	for _, u := range slices.Backward(undos) {
		if err := u.do(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("undo %s: %w", u.what, err)
		}
	}
	return nil
}

// model is what may be in the store by what the calls have returned: for each key the texts that are allowed, "" for none.
type model map[string][]string

func (m model) set(key string, texts ...string) { m[key] = texts }

// scenario does a bit of everything until a call fails with errCrash, and notes what must be there.
func scenario(t *testing.T, s *Store, m model) {
	put := func(key, text string, cond blob.Cond) string {
		etag, err := s.Put(t.Context(), key, strings.NewReader(text), cond)
		old := m[key]
		if old == nil {
			old = []string{""}
		}
		switch {
		case err == nil:
			m.set(key, text)
		case errors.Is(err, blob.ErrNotWritten), errors.Is(err, blob.ErrPrecondition):
			m.set(key, old...)
		default:
			m.set(key, append(slices.Clone(old), text)...)
		}
		return etag
	}
	remove := func(key string) {
		if err := s.Delete(t.Context(), key); err == nil {
			m.set(key, "")
		} else {
			m.set(key, append(slices.Clone(m[key]), "")...)
		}
	}
	absent := blob.Cond{Absent: true}
	put("mail/s/000/1", strings.Repeat("batch one ", 1000), absent)
	put("mail/s/000/2", "batch two", absent)
	put("mail/s/000/2", "not batch two", absent)
	if etag := put("lease/x", "generation 1", absent); etag != "" {
		put("lease/x", "generation 2", blob.Cond{Match: etag})
	}
	put("mail/s/001/3", "batch three", absent)
	remove("mail/s/000/1")
	remove("mail/s/000/2")
	put("mail/s/000/4", "batch four", absent)
}

// check opens the folder as a new process does and compares.
func check(t *testing.T, dir string, m model) (err error) {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	if left, err := os.ReadDir(filepath.Join(dir, tempName)); err != nil || len(left) > 0 {
		return fmt.Errorf("in .tmp after Open: %v, %w", left, err)
	}
	for key, allowed := range m {
		got := ""
		rd, _, err := s.Get(t.Context(), key, blob.Range{})
		if err == nil {
			b, rerr := io.ReadAll(rd)
			rd.Close()
			if rerr != nil {
				return rerr
			}
			got = string(b)
		} else if !errors.Is(err, blob.ErrNotExist) {
			return err
		}
		if !slices.Contains(allowed, got) {
			return fmt.Errorf("%s is %.40q, allowed are %.40q", key, got, allowed)
		}
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil || m[info.Key] == nil {
			return fmt.Errorf("listed %q, %w", info.Key, err)
		}
	}
	return nil
}

// run does the scenario on a fresh folder over d, ends the process without a clean close, cuts the power if told, and checks.
func run(t *testing.T, d *disk, power bool) (model, error) {
	m := model{}
	s, err := Open(d.dir, Options{Step: d.step})
	if err == nil {
		scenario(t, s, m)
		s.lock.Close() // as the end of a process does
	} else if !errors.Is(err, errCrash) && d.fail == nil {
		t.Fatal(err)
	}
	if power {
		d.powerLoss()
	}
	return m, check(t, d.dir, m)
}

// inMemory lets t.TempDir be in memory where there is such a place: the disk is simulated, and so needn't be waited for.
func inMemory(t *testing.T) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm")
	}
}

func freshDir(t *testing.T) string { return filepath.Join(t.TempDir(), "above", "spool") }

// TestCrashPoints ends the process before and after every operation, with and without the power.
func TestCrashPoints(t *testing.T) {
	inMemory(t)
	whole := newDisk(t, freshDir(t))
	if _, err := run(t, whole, true); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d operations: %v", whole.n, whole.ops)
	seen := map[Op]bool{}
	for at := 1; at <= whole.n; at++ {
		for _, after := range []bool{false, true} {
			for _, power := range []bool{false, true} {
				d := newDisk(t, freshDir(t))
				d.at, d.after = at, after
				if _, err := run(t, d, power); err != nil {
					t.Errorf("crash at operation %d (%s, after %t, power loss %t): %v", at, d.ops[at-1], after, power, err)
				}
				seen[d.ops[at-1]] = true
			}
		}
	}
	for _, op := range []Op{OpenMkdir, OpenSyncDir, PutMkdir, PutMkSync, PutCreate, PutWrite, PutSync, PutLink, PutUnlink, PutRename, PutSyncDir, DelUnlink, DelSyncDir, DelRmdir} {
		if !seen[op] {
			t.Errorf("%s was never a crash point", op)
		}
	}
}

// TestFailPoints lets every operation fail once, in its place or after it, while the process lives on.
func TestFailPoints(t *testing.T) {
	inMemory(t)
	whole := newDisk(t, freshDir(t))
	if _, err := run(t, whole, false); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= whole.n; at++ {
		for _, fail := range []error{syscall.EIO, syscall.ENOSPC} {
			for _, after := range []bool{false, true} {
				if after && fail == syscall.ENOSPC {
					continue // link(2) doesn't say so after it did it
				}
				for _, power := range []bool{false, true} {
					d := newDisk(t, freshDir(t))
					d.at, d.after, d.fail = at, after, &os.PathError{Op: "test", Path: "x", Err: fail}
					if _, err := run(t, d, power); err != nil {
						t.Errorf("%v at operation %d (%s, after %t, power loss %t): %v", fail, at, d.ops[at-1], after, power, err)
					}
				}
			}
		}
	}
}

// TestHarnessBites leaves out what makes things durable; the checks above must notice.
func TestHarnessBites(t *testing.T) {
	inMemory(t)
	for _, op := range []Op{PutSyncDir, PutMkSync, DelSyncDir, PutSync} {
		noticed := false
		for at := 0; at < 70 && !noticed; at++ {
			d := newDisk(t, freshDir(t))
			d.ignore, d.at = op, at
			_, err := run(t, d, true)
			noticed = err != nil
		}
		if !noticed {
			t.Errorf("a store that leaves out %s passes", op)
		}
	}
}

// TestFull: a full disk is certain, says so, and costs nothing once there is room again.
func TestFull(t *testing.T) {
	for _, op := range []Op{PutMkdir, PutMkSync, PutCreate, PutWrite, PutSync, PutLink} {
		for _, errno := range []error{syscall.ENOSPC, syscall.EDQUOT} {
			full := true
			s, err := Open(t.TempDir(), Options{Step: func(o Op, path string, do func() error) error {
				if o == op && full {
					return &os.PathError{Op: string(o), Path: path, Err: errno}
				}
				return do()
			}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Put(t.Context(), "a/b", strings.NewReader("text"), blob.Cond{Absent: true})
			if !errors.Is(err, blob.ErrNoSpace) || !errors.Is(err, blob.ErrNotWritten) {
				t.Errorf("%v at %s: %v", errno, op, err)
			}
			if left, _ := os.ReadDir(filepath.Join(s.dir, tempName)); len(left) > 0 {
				t.Errorf("%v at %s: left in .tmp: %v", errno, op, left)
			}
			full = false
			_, err = s.Put(t.Context(), "a/b", strings.NewReader("text"), blob.Cond{Absent: true})
			if op == PutMkSync { // was a failed fsync: the folder above takes nothing new
				if !errors.Is(err, blob.ErrNotWritten) {
					t.Errorf("after %v at %s: %v", errno, op, err)
				}
			} else if err != nil {
				t.Errorf("after %v at %s: %v", errno, op, err)
			}
			s.Close()
		}
	}
}
