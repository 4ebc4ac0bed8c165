package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// folder is what we remember of a folder that is known to exist durably. Its fsyncs are one at a time, and one serves all that
// changed the folder before it began. After one has failed, none counts any more: the kernel tells
// of lost writes only once, so that a later success proves nothing.
type folder struct {
	changes atomic.Uint64 // number of changes so far

	failed atomic.Pointer[error]

	mu     sync.Mutex // held while syncing
	synced uint64     // the changes up to this one are durable
}

// changed counts a change and returns the ticket to sync it with.
func (f *folder) changed() uint64 { return f.changes.Add(1) }

// sync makes the change of this ticket durable by calling do, or finds that it is.
func (f *folder) sync(ticket uint64, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.synced >= ticket {
		return nil
	}
	if err := f.broken(); err != nil {
		return err
	}
	upto := f.changes.Load()
	if err := do(); err != nil {
		f.failed.Store(&err)
		return err
	}
	f.synced = upto
	return nil
}

// broken returns why no change counts any more. It does not wait for a sync under way.
func (f *folder) broken() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// known returns what is remembered of a folder, nil if nothing is.
func (s *Store) known(path string) *folder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.folders[path]
}

// makeFolders returns the folder at path after making it and those above it durable. The caller holds s.tree.
func (s *Store) makeFolders(path string) (*folder, error) {
	if f := s.known(path); f != nil {
		if err := f.broken(); err != nil {
			return nil, fmt.Errorf("folder %s could not be synced before (%w); it takes nothing new until the store is opened again", path, err)
		}
		return f, nil
	}
	above := filepath.Dir(path)
	parent, err := s.makeFolders(above)
	if err != nil {
		return nil, err
	}
	err = s.step(PutMkdir, path, func() error { return os.Mkdir(path, 0o700) })
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	// Also when it was there already: it may be there only since a crash.
	if err := parent.sync(parent.changed(), func() error { return s.syncFolder(PutMkSync, above) }); err != nil {
		return nil, fmt.Errorf("sync folder: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.folders[path] == nil {
		s.folders[path] = &folder{}
	}
	return s.folders[path], nil
}

// prune removes a folder that became empty, and those above it that became so by that. It is best effort:
// an empty folder does no harm, and one that comes back after a crash neither.
func (s *Store) prune(path string) {
	s.tree.Lock()
	defer s.tree.Unlock()
	for ; path != s.dir; path = filepath.Dir(path) {
		if f := s.known(path); f != nil && f.broken() != nil {
			return // must stay known as broken
		}
		if s.step(DelRmdir, path, func() error { return os.Remove(path) }) != nil {
			return
		}
		s.mu.Lock()
		delete(s.folders, path)
		s.mu.Unlock()
	}
}
