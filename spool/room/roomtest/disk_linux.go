package roomtest

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"restante/spool/need"
)

// Disk mounts a file system of so many MB on a folder, which it makes where it is missing, for as long as the test takes. What has
// files open there is to be ended by a clean-up that was registered later. Without permission the test skips, or fails where
// everything is required.
func Disk(t *testing.T, dir string, mb int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("restante-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mb))
	if errors.Is(err, syscall.EPERM) {
		need.This(t, fmt.Errorf("a small disk needs root: mount: %w", err))
	}
	if err != nil {
		t.Fatal("mount:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
