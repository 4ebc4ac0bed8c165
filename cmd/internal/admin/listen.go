package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// Listen makes the socket at path with mode 0660, of the named group ("" for that of the process). A
// socket that a dead process left is replaced; a living one is an error.
func Listen(path, group string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, Errorf(KindFailed, "stop the other one, or give this one its own --admin-socket and --data-dir",
			"another restante answers on %s", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	// Under a name of its own until mode and group are right, so that nobody gets in before.
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(fresh) // left by a dead process of the same number, or not there
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", fresh)
	if err != nil {
		return nil, Errorf(KindFailed, "name another with --admin-socket or [admin] socket", "can't make the admin socket %s: %w", path, err)
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("admin: %T is no unix listener", l), l.Close())
	}
	ul.SetUnlinkOnClose(false)
	if err := settle(fresh, path, group); err != nil {
		return nil, errors.Join(err, ul.Close(), os.Remove(fresh))
	}
	return &listener{UnixListener: ul, path: path}, nil
}

// settle gives the socket its mode, group and name.
func settle(fresh, path, group string) error {
	if err := os.Chmod(fresh, 0o660); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return Errorf(KindFailed, "create it, or write another group into [admin] group", "no group %s: %w", group, err)
		}
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("admin: group %s: %w", group, err)
		}
		if err := os.Chown(fresh, -1, gid); err != nil {
			return Errorf(KindFailed, "let the user that runs restante be a member of that group", "can't give %s to group %s: %w", path, group, err)
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// listener takes its socket away when it is closed.
type listener struct {
	*net.UnixListener
	path string
}

// Close implements net.Listener.
func (l *listener) Close() error {
	err := l.UnixListener.Close()
	if rm := os.Remove(l.path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// peerName is the Unix user behind a connection: "root", "uid 1007" for one without a name, "unknown".
func peerName(c net.Conn) string {
	uid, ok := peerUID(c)
	if !ok {
		return "unknown"
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return fmt.Sprintf("uid %d", uid)
	}
	return u.Username
}
