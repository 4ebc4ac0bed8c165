//go:build !linux

package roomtest

import "testing"

// Disk skips: a small disk is mounted on Linux only.
func Disk(t *testing.T, _ string, _ int) { t.Skip("a small disk is mounted on Linux only") }
