//go:build !unix

package local

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
)

var errSystem = errors.New("a folder as a store needs flock and link(2), which " + runtime.GOOS + " lacks: use s3://")

func lock(string) (*os.File, bool, error) { return nil, false, errSystem }

func unlock(f *os.File) error { return f.Close() }

func syncAll(string) error { return errSystem }

var errNotFolder = errors.New("not a folder")

func etag(fs.FileInfo) string { return "" }

func full(error) bool { return false }

func undone(error) bool { return false }
