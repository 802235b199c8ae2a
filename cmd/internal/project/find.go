package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

// Name is what a project's configuration is called.
const Name = "attache.yaml"

// ErrNone is what [Find] returns where there is no configuration.
var ErrNone = errors.New("no " + Name + " here or above")

// Find looks for attache.yaml in dir and then in the directories above it, and returns its path without
// symlinks in its directories. It stops at home, at the edge of the file system, and at a directory
// that belongs to another user. A file of another user is an error: it is not ours to follow.
func Find(dir, home string) (string, error) {
	dir, err := resolved(dir)
	if err != nil {
		return "", err
	}
	if home, err = resolved(home); err != nil {
		home = ""
	}
	for {
		path := filepath.Join(dir, Name)
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir(), errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", err
		default:
			return path, owned(path, info)
		}
		up := filepath.Dir(dir)
		if dir == home || up == dir || !climbable(dir, up) {
			return "", ErrNone
		}
		dir = up
	}
}

// resolved is the absolute path of a directory without symlinks.
func resolved(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// locate is [Find] for a path that someone names: symlinks in its directories are resolved, so that
// one file has one name.
func locate(path string) (string, error) {
	dir, err := resolved(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

// owned refuses files of others.
func owned(path string, info fs.FileInfo) error {
	if ours(info) {
		return nil
	}
	return fmt.Errorf("%s belongs to another user; name it with --config if you mean it", path)
}

// SystemPath is where the system's administrator puts a configuration for everyone.
func SystemPath() string { return filepath.FromSlash("/etc/attache") }

// System reports whether a configuration is the system's, and only its administrator can have written it: it
// needs not be allowed.
func System(path string) bool {
	if filepath.Clean(path) != SystemPath() {
		return false
	}
	paths := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		inside, err := filepath.Glob(filepath.Join(path, "*.y*ml"))
		if err != nil {
			return false
		}
		paths = append(paths, inside...)
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil || !systems(info) {
			return false
		}
	}
	return true
}

// Private reports whether nobody but this user and the system can write to the files.
func Private(files []config.File) bool {
	return all(files, func(info fs.FileInfo) bool { return ours(info) && unshared(info) })
}

// allOurs reports whether the files belong to this user or the system.
func allOurs(files []config.File) bool { return all(files, ours) }

func all(files []config.File, is func(fs.FileInfo) bool) bool {
	return !slices.ContainsFunc(files, func(f config.File) bool {
		info, err := os.Stat(f.Path)
		return err != nil || !is(info)
	})
}
