// Package local is a blob.Store in a folder of a local disk.
//
// An object is a file at its key. Beside the objects the folder holds
//
//	.lock     held by flock(2) while a process has the store open; its text is that process's id
//	.tmp/     files being written; what a crash left in it is removed by the next Open
//	.reserve  room for Options.Reserve, given back when the disk is full; it may be removed while no process has the store open
//
// Put with Absent is: create a file in .tmp, write, fsync, link(2) it to its key (EEXIST is
// ErrPrecondition; a rename would overwrite), unlink the name in .tmp, fsync the folder of the key. Put
// with Match compares and renames under a mutex, which is enough since flock keeps other processes out.
// Folders are made as needed, each synced into the one above it before anything is linked in it,
// and removed with their last object.
//
// What a crash leaves: before the link nothing but a file in .tmp; after it the whole object, or, when the
// power failed before the folder was synced, nothing. Never a part, since the link comes after the file's fsync.
//
// A failed fsync can't be repeated (the kernel may have dropped the pages and says so once). When a file's
// fsync fails, the file is abandoned unlinked: ErrNotWritten. When a folder's fsync fails, nobody knows
// whether the link will survive: the outcome of that Put is unknown, and the key is poisoned until the store is opened
// again: Get says ErrUnreadable, Put says ErrPrecondition. Every Put of the same folder that was under way is poisoned with it.
//
// The folder must lie on one file system with hard links and honest fsync: ext4, xfs, btrfs, zfs. Not NFS, where
// link(2) may answer EEXIST to its own retry.
package local
