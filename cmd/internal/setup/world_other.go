//go:build !linux

package setup

import "errors"

func synced() (bool, error) { return false, errors.ErrUnsupported }
