package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"restante/spool/blob"
)

// Put implements blob.Store. When ctx ends first, the error says whether it was soon enough to be certain
// that nothing was or will be written (ErrNotWritten), or not.
func (s *Store) Put(ctx context.Context, key string, body blob.Body, cond blob.Cond) (string, error) {
	if err := blob.CheckPut(ctx, key, cond); err != nil {
		return "", err
	}
	if s.options.ReadOnly {
		return "", fmt.Errorf("%s: store is open for reading only: %w", key, blob.ErrNotWritten)
	}
	var g gate
	etag, err := async(ctx, func() (string, error) { return s.putReserved(key, body, cond, &g) }, nil)
	if err != nil && g.shut() && !errors.Is(err, blob.ErrPrecondition) {
		err = fmt.Errorf("%w: %w", err, blob.ErrNotWritten)
		if full(err) {
			err = fmt.Errorf("%w: %w", err, blob.ErrNoSpace)
		}
	}
	if err != nil {
		return "", fmt.Errorf("put %s: %w", key, err)
	}
	return etag, nil
}

// gate decides once whether a Put may still change its key: either the Put passed it, or whoever
// gave up shut it before.
type gate struct{ state atomic.Int32 }

const (
	gatePassed = 1
	gateShut   = 2
)

func (g *gate) pass() bool { return g.state.CompareAndSwap(0, gatePassed) }

func (g *gate) passed() bool { return g.state.Load() == gatePassed }

// reopen is for a Put that passed and then certainly changed nothing.
func (g *gate) reopen() { g.state.Store(0) }

func (g *gate) shut() bool { return g.state.CompareAndSwap(0, gateShut) || g.state.Load() == gateShut }

var errGivenUp = errors.New("given up")

// put writes the file and makes it the object. While g is not passed nothing has been written as far as the key goes.
func (s *Store) put(key string, body blob.Body, cond blob.Cond, g *gate) (string, error) {
	path := s.path(key)
	if cond.Match != "" {
		s.change.Lock()
		defer s.change.Unlock()
	}
	if err := s.precondition(key, path, cond); err != nil {
		return "", err
	}
	if !s.reserved(key) {
		if err := s.spared(body.Size()); err != nil {
			return "", err
		}
	}
	temp, tag, err := s.writeTemp(body)
	if err != nil {
		return "", err
	}
	f, ticket, err := s.place(key, path, temp, cond, g)
	if err != nil {
		os.Remove(temp) // best effort: Open cleans
		return "", err
	}
	err = f.sync(ticket, func() error { return s.syncFolder(PutSyncDir, filepath.Dir(path)) })
	if err != nil {
		err = fmt.Errorf("%w: sync folder: %w", blob.ErrUnreadable, err)
	}
	s.settle(key, err)
	return tag, err
}

// precondition checks early, so that a key that is taken costs nothing and says so even on a full disk.
func (s *Store) precondition(key, path string, cond blob.Cond) error {
	if why := s.mistrust(key); why != nil {
		return fmt.Errorf("%w: %w", blob.ErrPrecondition, why)
	}
	fi, err := os.Lstat(path)
	switch {
	case missing(err):
		if cond.Match != "" {
			return fmt.Errorf("%w: nothing is there", blob.ErrPrecondition)
		}
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return fmt.Errorf("%w: the key is a folder of others", blob.ErrInvalid)
	case cond.Absent:
		return fmt.Errorf("%w: there is an object", blob.ErrPrecondition)
	case etag(fi) != cond.Match:
		return fmt.Errorf("%w: ETag is %s", blob.ErrPrecondition, etag(fi))
	}
	return nil
}

// missing reports that there is no such file, be it that its folder isn't one.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotFolder) }

// writeTemp makes a durable file in .tmp and returns its path and ETag.
func (s *Store) writeTemp(body blob.Body) (path, tag string, err error) {
	path = filepath.Join(s.dir, tempName, strconv.FormatUint(s.temps.Add(1), 36))
	var f *os.File
	err = s.step(PutCreate, path, func() error {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if f == nil {
		return "", "", err
	}
	if err == nil {
		err = s.step(PutWrite, path, func() error {
			if err := fill(f, body); err != nil {
				return err
			}
			return stamp(path)
		})
	}
	if err == nil {
		err = s.step(PutSync, path, f.Sync)
	}
	var fi fs.FileInfo
	if err == nil {
		fi, err = f.Stat()
	}
	if err = closing(f, err); err != nil {
		os.Remove(path) // best effort: Open cleans
		return "", "", err
	}
	return path, etag(fi), nil
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// fill copies the body into f.
func fill(f *os.File, body blob.Body) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	size := body.Size()
	for at := int64(0); at < size; {
		part := (*b)[:min(int64(len(*b)), size-at)]
		n, err := body.ReadAt(part, at)
		if n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("body after %d of %d octets: %w", at+int64(n), size, err)
		}
		if _, err := f.Write(part); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// place makes the file in .tmp the object at its key. When it returns nil the object can be seen, but isn't durable yet.
func (s *Store) place(key, path, temp string, cond blob.Cond, g *gate) (f *folder, ticket uint64, err error) {
	s.tree.RLock()
	defer s.tree.RUnlock()
	f, err = s.makeFolders(filepath.Dir(path))
	if err != nil {
		return nil, 0, err
	}
	op, move := PutLink, os.Link
	if cond.Match != "" {
		op, move = PutRename, os.Rename
	}
	err = s.name(key, g, func() error {
		return s.step(op, path, func() error { return move(temp, path) })
	})
	if err != nil {
		return nil, 0, err
	}
	ticket = f.changed()
	if op == PutLink {
		// A failure leaves only a second name, which the next Open removes.
		_ = s.step(PutUnlink, temp, func() error { return os.Remove(temp) })
	}
	return f, ticket, nil
}

// name lets move put the object at its key, unless g is shut, and raises the doubt about the key that the sync of its folder will
// settle. If an error is returned and g isn't passed, nothing has changed.
func (s *Store) name(key string, g *gate, move func() error) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	if !g.pass() {
		return errGivenUp
	}
	if !s.raise(key) {
		g.reopen()
		return fmt.Errorf("%w: there is an object, not yet durable", blob.ErrPrecondition)
	}
	err := move()
	switch {
	case err == nil:
		return nil
	case undone(err):
		s.settle(key, nil)
		g.reopen()
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %w", blob.ErrPrecondition, err)
		}
		return err
	default:
		err = fmt.Errorf("%w: %w", blob.ErrUnreadable, err)
		s.settle(key, err)
		return err
	}
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if s.options.ReadOnly {
		return fmt.Errorf("delete %s: store is open for reading only", key)
	}
	_, err := async(ctx, func() (struct{}, error) { return struct{}{}, s.remove(s.path(key)) }, nil)
	if err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

func (s *Store) remove(path string) error {
	s.change.Lock()
	defer s.change.Unlock()
	if fi, err := os.Lstat(path); missing(err) || err == nil && fi.IsDir() {
		return nil
	}
	err := s.step(DelUnlink, path, func() error { return os.Remove(path) })
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f := s.known(dir)
	if f == nil {
		f = &folder{} // not used in this life
	}
	if err := f.sync(f.changed(), func() error { return s.syncFolder(DelSyncDir, dir) }); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	s.prune(dir)
	return nil
}
