package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"restante/spool/blob"
	"restante/spool/room"
)

// ErrLocked: another process has the store open.
var ErrLocked = errors.New("in use")

// Options of Open.
type Options struct {
	// ReadOnly opens a store without taking its lock, beside a process that may be writing to it; the folder
	// must exist. Put and Delete are refused.
	ReadOnly bool
	// Reserve are the prefixes of keys that can still be put when the disk is full, out of a reserve that is made in time. For
	// all other keys the disk is full that much earlier. nil: there is no reserve.
	Reserve []string
	// Step, if not nil, is called around every operation that changes files, and before a file is opened for reading.
	Step Step
}

// Store is a blob.Store in a folder.
type Store struct {
	dir     string // absolute
	options Options
	lock    *os.File // nil when read-only
	temps   atomic.Uint64

	change sync.Mutex   // one Match or Delete at a time
	tree   sync.RWMutex // Put holds it shared from mkdir to link; removing folders needs it alone
	naming sync.Mutex   // held around link and rename, with the note of the doubt they raise

	mu      sync.Mutex
	folders map[string]*folder // known to exist durably, by path
	doubts  map[string]*doubt  // by key
	closed  bool

	reserve *room.Reserve // nil: there is none
}

const (
	lockName = ".lock"
	tempName = ".tmp"
)

// Open opens the store in dir, makes it if needed and removes what a crash left. It fails with ErrLocked when another process has it.
func Open(dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store folder: %w", err)
	}
	s := &Store{dir: dir, options: o, folders: map[string]*folder{}, doubts: map[string]*doubt{}}
	if o.ReadOnly {
		if fi, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("store folder: %w", err)
		} else if !fi.IsDir() {
			return nil, fmt.Errorf("store folder: %s is no folder", dir)
		}
		return s, nil
	}
	if err := s.makeRoot(); err != nil {
		return nil, fmt.Errorf("store folder: %w", err)
	}
	crashed := false
	s.lock, crashed, err = lock(filepath.Join(dir, lockName))
	if full(err) && len(o.Reserve) > 0 && os.Truncate(s.reservePath(), 0) == nil {
		s.lock, _, err = lock(filepath.Join(dir, lockName))
		crashed = true // nobody knows any more
	}
	if err != nil {
		return nil, fmt.Errorf("store folder %s: %w", dir, err)
	}
	if err := s.recover(crashed); err != nil {
		return nil, closing(s.lock, fmt.Errorf("store folder: %w", err))
	}
	s.folders[dir] = &folder{}
	s.openReserve()
	return s, nil
}

// makeRoot makes the store's folder with all above it, and .tmp in it, durably.
func (s *Store) makeRoot() error {
	var missing []string // from the store's folder upwards
	for p := s.dir; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, p)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := s.makeFolder(missing[i]); err != nil {
			return err
		}
	}
	temp := filepath.Join(s.dir, tempName)
	if fi, err := os.Stat(temp); err == nil && fi.IsDir() {
		return nil
	}
	return s.makeFolder(temp)
}

// makeFolder makes one folder, if it isn't there, and syncs the one above it: also when it was there, since it
// may be there only since a crash.
func (s *Store) makeFolder(path string) error {
	err := s.step(OpenMkdir, path, func() error { return os.Mkdir(path, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.syncFolder(OpenSyncDir, filepath.Dir(path))
}

// recover removes files that were being written when the last process ended. When that was no clean end,
// links that it made may be seen but not yet be durable: everything is synced, lest mail be delivered and then come back.
func (s *Store) recover(crashed bool) error {
	temp := filepath.Join(s.dir, tempName)
	left, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, e := range left {
		path := filepath.Join(temp, e.Name())
		if err := s.step(OpenClean, path, func() error { return os.Remove(path) }); err != nil {
			return err
		}
	}
	if !crashed {
		return nil
	}
	return s.step(OpenSyncAll, s.dir, func() error { return syncAll(s.dir) })
}

// Close gives the lock back. Calls still under way finish, but change nothing unless they already have.
func (s *Store) Close() error {
	s.naming.Lock()
	defer s.naming.Unlock()
	if s.closed || s.lock == nil {
		return nil
	}
	s.closed = true
	if s.doubtful() {
		return s.lock.Close() // the next Open must sync everything
	}
	return unlock(s.lock)
}

// String implements blob.Store: "file:///var/lib/restante/spool".
func (s *Store) String() string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(s.dir)}).String()
}

func (s *Store) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// async runs f, which may hang on a dying disk, until it or ctx ends. What f returns too late goes to drop.
func async[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	if ctx.Done() == nil {
		return f()
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both: the result is the better answer
		return r.v, r.err
	default:
	}
	if drop != nil {
		go func() {
			if r := <-done; r.err == nil {
				drop(r.v)
			}
		}()
	}
	var zero T
	return zero, context.Cause(ctx)
}

var _ interface {
	blob.Store
	blob.Spacer
} = (*Store)(nil)
