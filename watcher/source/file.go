package source

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

type fileOptions struct {
	Path string `json:"path" jsonschema:"path of the file; a relative one starts from the directory of the process, or of the project that a command runs in; ~/ is the home directory"`
}

func fileKind() Kind {
	return kind(Kind{
		Name: "file",
		Main: "path",
		Doc:  "A file, such as a mounted Kubernetes or Docker secret. Symlinks are followed; a change is noticed at once.",
	}, newFile)
}

func newFile(o fileOptions, env Env) (Source, error) {
	switch {
	case o.Path == "":
		return nil, &OptionError{Option: "path", Problem: "required", Hint: "for example /run/secrets/stripe"}
	case strings.ContainsRune(o.Path, 0):
		return nil, &OptionError{Option: "path", Problem: "holds a NUL byte"}
	}
	path := o.Path
	if below, ok := strings.CutPrefix(path, "~/"); ok {
		home := ""
		if env.Getenv != nil {
			home, _ = env.Getenv(homeVariable())
		}
		if !filepath.IsAbs(home) {
			return &homeless{path}, nil // valid elsewhere
		}
		path = filepath.Join(home, below)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.Dir, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &OptionError{Option: "path", Problem: err.Error(), Hint: "write an absolute path"}
	}
	return &file{abs}, nil
}

// File is the file at an absolute path, for what is no configured secret.
func File(path string) Source { return &file{path} }

// homeVariable names the home directory, as os.UserHomeDir has it.
func homeVariable() string {
	if runtime.GOOS == "windows" {
		return "USERPROFILE"
	}
	return "HOME"
}

// homeless is a file in the home directory of someone who has none.
type homeless struct{ path string }

func (h *homeless) Paths() []string  { return nil }
func (h *homeless) Describe() string { return "file" }

func (h *homeless) Read(context.Context) ([]byte, error) {
	return nil, &ReadError{Problem: homeVariable() + " is not set", Where: "file " + h.path}
}

type file struct{ path string }

func (f *file) Paths() []string  { return []string{f.path} }
func (f *file) Describe() string { return "file" }

// Read returns the content of the file, of [MaxSize] bytes at most. What is no
// regular file is refused without being opened, and without blocking if one
// comes in between.
func (f *file) Read(context.Context) ([]byte, error) { return readFile(f.path) }

// Inspect implements [Inspector].
func (f *file) Inspect() []Trouble { return inspect(f.path) }

// readFile reads a regular file, and returns an [*UnsettledError] beside its
// content while someone writes to it.
func readFile(path string) ([]byte, error) {
	where := "file " + path
	info, err := os.Stat(path)
	if err != nil {
		return nil, readError(where, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &ReadError{Problem: notRegular(info), Where: where}
	}
	in, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, readError(where, err)
	}
	defer in.Close()
	if info, err = in.Stat(); err != nil {
		return nil, readError(where, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &ReadError{Problem: notRegular(info), Where: where}
	}
	if info.Size() > MaxSize {
		return nil, &ReadError{Problem: "over 64 KiB", Where: where}
	}
	text, err := io.ReadAll(io.LimitReader(in, MaxSize+1))
	switch {
	case err != nil:
		return nil, readError(where, err)
	case len(text) > MaxSize:
		return nil, &ReadError{Problem: "over 64 KiB", Where: where}
	}
	if info, err = in.Stat(); err != nil {
		return nil, readError(where, err)
	}
	if !settled(in, info) {
		return text, &UnsettledError{where}
	}
	return text, nil
}

func notRegular(info os.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "is a directory"
	case mode&os.ModeNamedPipe != 0:
		return "is a named pipe, which can be read once only"
	default:
		return "is no regular file"
	}
}
