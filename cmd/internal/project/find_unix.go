//go:build unix

package project

import (
	"io/fs"
	"os"
	"syscall"
)

// ours reports whether a file belongs to this user, or to the system.
func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && (s.Uid == 0 || int(s.Uid) == os.Geteuid())
}

// climbable reports whether the search may go on from dir to the directory above it.
func climbable(dir, up string) bool {
	from, err := os.Stat(dir)
	if err != nil {
		return false
	}
	to, err := os.Stat(up)
	if err != nil || !ours(to) {
		return false
	}
	a, ok := from.Sys().(*syscall.Stat_t)
	b, fine := to.Sys().(*syscall.Stat_t)
	return ok && fine && a.Dev == b.Dev
}

// private reports whether only this user can have written below a directory.
func private(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid() && unshared(info)
}

// unshared reports whether only its owner can write to a file.
func unshared(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 == 0 }

// systems reports whether a file belongs to the system and nobody else can write to it.
func systems(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == 0 && unshared(info)
}
