//go:build !unix

package spool

import (
	"errors"
	"os"
	"runtime"
)

var errSystem = errors.New("data_dir needs flock, which " + runtime.GOOS + " lacks")

func lockFile(string) (*os.File, error) { return nil, errSystem }

func lockID(*os.File) string { return "" }
