package local

import (
	"io"
	"os"
	"time"
)

// Step runs one operation on a file or folder and returns its error. op is one of the Op constants, path the file or
// folder that it changes. A Step may do it, fail in its place, fail after it, or stop the world: so a test can
// enumerate every crash point, and a tracer can time a slow disk.
type Step func(op Op, path string, do func() error) error

// Op names an operation on files.
type Op string

// The operations, in the order in which they happen. Those of a Put with Match end in rename in place of
// link and unlink.
const (
	OpenMkdir   Op = "open.mkdir"   // make the store's folder and .tmp
	OpenSyncDir Op = "open.syncdir" // make that durable
	OpenClean   Op = "open.clean"   // remove a leftover of a crash
	OpenSyncAll Op = "open.syncall" // make everything durable that a process killed before may have left in the page cache
	PutMkdir    Op = "put.mkdir"    // make a folder for the key
	PutMkSync   Op = "put.mksync"   // fsync the folder above it
	PutCreate   Op = "put.create"   // create the file in .tmp
	PutWrite    Op = "put.write"    // write all its octets
	PutSync     Op = "put.sync"     // fsync it
	PutLink     Op = "put.link"     // link it to its key
	PutUnlink   Op = "put.unlink"   // remove its name in .tmp
	PutRename   Op = "put.rename"   // rename it over its key
	PutSyncDir  Op = "put.syncdir"  // fsync the key's folder
	DelUnlink   Op = "delete.unlink"
	DelSyncDir  Op = "delete.syncdir"
	DelRmdir    Op = "delete.rmdir" // remove a folder that became empty; best effort
	GetOpen     Op = "get.open"

	ReserveGrow   Op = "reserve.grow"   // write more of the reserve; best effort
	ReserveShrink Op = "reserve.shrink" // cut it
)

func (s *Store) step(op Op, path string, do func() error) error {
	if s.options.Step == nil {
		return do()
	}
	return s.options.Step(op, path, do)
}

// syncFolder makes the entries of a folder durable.
func (s *Store) syncFolder(op Op, path string) error {
	return s.step(op, path, func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return closing(f, f.Sync())
	})
}

// closing closes c and returns the first error.
func closing(c io.Closer, err error) error {
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// stamp gives a file a modification time of full resolution: the kernel's own clock ticks only every few
// milliseconds, and ETags rest on it.
func stamp(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}
