package source

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
)

type fileOptions struct {
	Path string `json:"path" jsonschema:"path of the file; a relative one starts from the directory of the process"`
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
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.Dir, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, &OptionError{Option: "path", Problem: err.Error(), Hint: "write an absolute path"}
	}
	return &file{abs}, nil
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
