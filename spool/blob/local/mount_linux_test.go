package local

import (
	"errors"
	"syscall"
	"testing"
)

// mountSmall mounts a small file system, where that is permitted.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("restante-test", dir, "tmpfs", 0, "size=16m"); errors.Is(err, syscall.EPERM) {
		t.Skip("a small disk needs root: mount:", err)
	} else if err != nil {
		t.Fatal("mount:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
