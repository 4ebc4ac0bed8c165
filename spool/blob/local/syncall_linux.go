package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncAll makes everything on the file system of this folder durable.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return closing(f, unix.Syncfs(int(f.Fd())))
}
