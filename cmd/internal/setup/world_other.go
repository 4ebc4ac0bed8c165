//go:build !linux

package setup

import "errors"

func synced() (bool, error) { return false, errors.ErrUnsupported }

func space(string) (free, total int64, err error) { return 0, 0, errors.ErrUnsupported }
