//go:build unix

package source

import (
	"fmt"
	"os"
	"syscall"
)

// nonblocking keeps an open from waiting for the other end of a named pipe.
const nonblocking = syscall.O_NONBLOCK

// inspect tells of a file that others may read, and of one whose name is gone
// though its path leads to it: a file that was mounted by itself stays the old
// one for ever once its host replaces it.
func inspect(path string) []Trouble {
	info, err := os.Stat(path)
	if err != nil {
		return nil // reading tells
	}
	var found []Trouble
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink == 0 {
		found = append(found, Trouble{
			PinnedInode, "the mounted file was replaced on its host, and no rotation reaches this one (file " + path + ")",
			"mount its directory instead of the file, and start again",
		})
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		found = append(found, Trouble{
			"permissions", fmt.Sprintf("mode %04o lets other users at it (file %s)", mode, path), "0600 is enough, or 0400",
		})
	}
	return found
}
