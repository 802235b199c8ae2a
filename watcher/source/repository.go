package source

import (
	"os"
	"path/filepath"
)

// Repository is the outermost directory under version control that dir lies in, "" if there is none. It is the
// outermost, since what a repository holds may look like one itself. A home is none, though some keep their settings in
// one, and nor is the root of a file system.
func Repository(dir, home string) string {
	dir, home = real(dir), real(home)
	outermost := ""
	for up := filepath.Dir(dir); dir != home && dir != up; dir, up = up, filepath.Dir(up) {
		for _, mark := range []string{".git", ".hg", ".jj", ".svn"} {
			if _, err := os.Lstat(filepath.Join(dir, mark)); err == nil {
				outermost = dir
			}
		}
	}
	return outermost
}

// real is a path, absolute and without symlinks as far as it is there; "" stays.
func real(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	return path
}
