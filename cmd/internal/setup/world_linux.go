package setup

import "golang.org/x/sys/unix"

// synced asks the kernel, which a time service tells (adjtimex(2)).
func synced() (bool, error) {
	state, err := unix.Adjtimex(&unix.Timex{})
	return state != unix.TIME_ERROR, err
}

// space is what a disk has left for those who aren't root, and its size, in octets.
func space(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}
