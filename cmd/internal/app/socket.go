package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unixListener removes its socket when it is closed, unless another process has replaced it since.
type unixListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// Addr is the path that clients connect to; the socket was bound under another name.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if now, e := os.Lstat(l.path); e == nil && os.SameFile(now, l.made) {
		_ = os.Remove(l.path)
	}
	return err
}

// listenUnix listens at path with mode 0600. The socket is bound in a private directory and renamed
// into place with its mode set, so there is no moment at which others could connect. A socket that
// nobody listens on any more is replaced.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if path == "" || strings.HasPrefix(path, "@") || strings.HasPrefix(path, "\x00") {
		return nil, fmt.Errorf("unix:%s: abstract names have no owner and no mode; give a path", strings.Trim(path, "\x00"))
	}
	if err := stale(ctx, path); err != nil {
		return nil, err
	}
	dir, err := privateDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bound := filepath.Join(dir, "s")
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", bound)
	if err != nil {
		return nil, err
	}
	l := ln.(*net.UnixListener)
	l.SetUnlinkOnClose(false)
	err = os.Chmod(bound, 0o600)
	if err == nil {
		err = os.Rename(bound, path)
	}
	var made fs.FileInfo
	if err == nil {
		made, err = os.Lstat(path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return &unixListener{l, path, made}, nil
}

// privateDir makes a directory of mode 0700. Its name is shorter than os.MkdirTemp's would be: a
// socket's path may have about a hundred bytes.
func privateDir(parent string) (string, error) {
	for {
		dir := filepath.Join(parent, ".a"+rand.Text()[:5])
		if err := os.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
}

// stale is nil where path is free, or a socket that nobody listens on.
func stale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: something that is not a socket is in the way", path)
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: another process is listening there", path)
	}
	return nil
}
