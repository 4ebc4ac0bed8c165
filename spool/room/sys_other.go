//go:build !unix

package room

import "errors"

// Free isn't known here, so that there is no reserve.
func Free(string) (left, total int64, err error) { return 0, 0, errors.ErrUnsupported }
