package dirwatch

import "golang.org/x/sys/unix"

// isMountPoint reports whether something is mounted on the file itself, as
// container runtimes do with single files.
func isMountPoint(file string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, file, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
