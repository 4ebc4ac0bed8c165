package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"restante/spool/blob"
)

// Get implements blob.Store. An object whose Put is still under way is given only when it is durable.
func (s *Store) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := blob.CheckGet(ctx, key, r); err != nil {
		return nil, blob.Info{}, err
	}
	rd, err := async(ctx, func() (*reader, error) { return s.open(ctx, key, r) }, func(rd *reader) { rd.Close() })
	if err != nil {
		return nil, blob.Info{}, fmt.Errorf("get %s: %w", key, err)
	}
	return rd, rd.info, nil
}

func (s *Store) open(ctx context.Context, key string, r blob.Range) (*reader, error) {
	path := s.path(key)
	var f *os.File
	err := s.step(GetOpen, path, func() (err error) {
		f, err = os.Open(path)
		return err
	})
	if err == nil {
		// Only now: the doubt is raised before the file can be opened.
		if err = s.trusted(ctx, key); err == nil {
			var rd *reader
			if rd, err = newReader(ctx, f, key, r); err == nil {
				return rd, nil
			}
		}
	}
	if f != nil {
		f.Close() // was only read
	}
	if missing(err) {
		if err = s.mistrust(key); err == nil {
			err = blob.ErrNotExist
		}
	}
	return nil, err
}

// reader reads the selected octets of a file until ctx ends.
type reader struct {
	ctx  context.Context
	file *os.File
	sec  *io.SectionReader
	info blob.Info
}

func newReader(ctx context.Context, f *os.File, key string, r blob.Range) (*reader, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, blob.ErrNotExist
	}
	from, to, err := r.Resolve(fi.Size())
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, file: f, sec: io.NewSectionReader(f, from, to-from), info: info(key, fi)}, nil
}

func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.sec.Read(p)
	if errors.Is(err, io.EOF) {
		if at, _ := r.sec.Seek(0, io.SeekCurrent); at < r.sec.Size() {
			err = io.ErrUnexpectedEOF // somebody cut the file
		}
	}
	return n, err
}

func (r *reader) Close() error { return r.file.Close() }

func info(key string, fi fs.FileInfo) blob.Info {
	return blob.Info{Key: key, Size: fi.Size(), ETag: etag(fi), Modified: fi.ModTime()}
}

// List implements blob.Store. Files whose names are no keys are passed over.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := blob.CheckList(ctx, prefix, after); err != nil {
			yield(blob.Info{}, err)
			return
		}
		s.walk(ctx, "", prefix, after, yield)
	}
}

// walk lists the folder "" or "a/b/"; false when it is over.
func (s *Store) walk(ctx context.Context, folder, prefix, after string, yield func(blob.Info, error) bool) bool {
	names, err := s.names(ctx, folder)
	if err != nil {
		yield(blob.Info{}, fmt.Errorf("list %s: %w", folder, err))
		return false
	}
	for _, name := range names {
		key := folder + name // a folder's ends in "/"
		switch {
		case strings.HasSuffix(key, "/"):
			wanted := strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key)
			past := key < after && !strings.HasPrefix(after, key) // all beneath comes before `after`
			if wanted && !past && !s.walk(ctx, key, prefix, after, yield) {
				return false
			}
		case strings.HasPrefix(key, prefix) && key > after:
			fi, err := async(ctx, func() (fs.FileInfo, error) { return os.Lstat(s.path(key)) }, nil)
			if missing(err) {
				continue // deleted meanwhile
			}
			if err != nil {
				yield(blob.Info{}, fmt.Errorf("list %s: %w", key, err))
				return false
			}
			if !yield(info(key, fi), nil) {
				return false
			}
		}
	}
	return true
}

// names returns the names in a folder in the byte order of their keys, those of folders with a "/" at the
// end. A folder that isn't there is empty.
func (s *Store) names(ctx context.Context, folder string) ([]string, error) {
	entries, err := async(ctx, func() ([]fs.DirEntry, error) {
		f, err := os.Open(s.path(folder))
		if err != nil {
			return nil, err
		}
		entries, err := f.ReadDir(-1)
		return entries, closing(f, err)
	}, nil)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch name := e.Name(); {
		case !blob.ValidSegment(name):
		case e.IsDir():
			names = append(names, name+"/")
		case e.Type().IsRegular():
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Prefixes implements blob.Store.
func (s *Store) Prefixes(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := blob.CheckPrefix(ctx, prefix); err != nil {
			yield("", err)
			return
		}
		names, err := s.names(ctx, prefix)
		if err != nil {
			yield("", fmt.Errorf("prefixes of %q: %w", prefix, err))
			return
		}
		for _, name := range names {
			segment, folder := strings.CutSuffix(name, "/")
			if !folder {
				continue
			}
			used, err := s.used(ctx, prefix+name)
			if err != nil {
				yield("", fmt.Errorf("prefixes of %q: %w", prefix, err))
				return
			}
			if used && !yield(segment, nil) {
				return
			}
		}
	}
}

// used reports whether there is an object anywhere beneath a folder.
func (s *Store) used(ctx context.Context, folder string) (bool, error) {
	var found bool
	var failed error
	s.walk(ctx, folder, folder, "", func(_ blob.Info, err error) bool {
		found, failed = err == nil, err
		return false
	})
	return found, failed
}
