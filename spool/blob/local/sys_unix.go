//go:build unix

package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lock takes the store's flock and leaves our process id in the file, for others to read and as the sign that the
// store is open. It is given back by unlock, or with the process; crashed says that the last one did not unlock.
func lock(path string) (f *os.File, crashed bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	owner, rerr := io.ReadAll(io.LimitReader(f, 20))
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w by process %s: stop it first, or give this one a folder of its own",
			ErrLocked, strings.TrimSpace(string(owner)))
	}
	if err == nil {
		err = rerr
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, false, closing(f, err)
	}
	return f, len(owner) > 0, nil
}

// unlock gives the lock back and notes that the store was closed in good order.
func unlock(f *os.File) error { return closing(f, f.Truncate(0)) }

// etag tells versions of a file apart by inode, modification time and size: a new version always has a new
// inode while the old one exists, and its time when the inode is used again.
func etag(fi fs.FileInfo) string {
	var ino uint64
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		ino = uint64(st.Ino)
	}
	return fmt.Sprintf("%x-%x-%x", ino, fi.ModTime().UnixNano(), fi.Size())
}

// errNotFolder: a part of the path is a file.
const errNotFolder = unix.ENOTDIR

// full reports errors that say that the disk, the quota or the inodes are used up.
func full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// undone reports errors of link(2) and rename(2) that are given before anything is changed. EIO and others leave it open.
func undone(err error) bool {
	for _, e := range []error{unix.EEXIST, unix.ENOSPC, unix.EDQUOT, unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.EACCES, unix.EPERM, unix.EROFS, unix.EXDEV, unix.EMLINK, unix.ENAMETOOLONG, unix.ENOTEMPTY} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
