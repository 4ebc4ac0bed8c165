//go:build unix

package room

import "golang.org/x/sys/unix"

// Free returns the octets left for us on the disk of the folder, and those in all.
func Free(folder string) (left, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}
