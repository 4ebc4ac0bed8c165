//go:build unix

package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile takes the flock of a file and leaves our process id in it. It is given back with the process or by Close.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, rerr := io.ReadAll(io.LimitReader(f, 20))
		return nil, errors.Join(fmt.Errorf("%w by process %s: stop it first, or give this one a data_dir of its own",
			ErrInUse, strings.TrimSpace(string(pid))), rerr, f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// lockID names a flock: the boot of the machine and the file that is locked. Whoever holds the flock of that name knows that
// all who held it before are dead: a copy of the file is another file, and another machine, also one that was
// started from the same image, has another boot. "" where the system doesn't tell its boot.
func lockID(f *os.File) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", boot, st.Dev, st.Ino))
	return hex.EncodeToString(sum[:16])
}
