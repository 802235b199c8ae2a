//go:build unix

package app

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnixSocketIsPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "proxy.sock")
	l, err := openListener(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, want a socket of 0600", got)
	}
	if got := l.Addr().String(); got != path {
		t.Errorf("address %q, want %q", got, path)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket outlives its listener")
	}
}

func TestUnixSocketStaleIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close() // as a process that was killed leaves it
	l, err := openListener(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestUnixSocketInUseIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.sock")
	first, err := openListener(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if l, err := openListener(t.Context(), "unix:"+path); err == nil {
		l.Close()
		t.Error("a socket in use was taken")
	}
}

func TestUnixSocketFileInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := openListener(t.Context(), "unix:"+path); err == nil {
		l.Close()
		t.Error("a file was replaced by a socket")
	}
	if b, _ := os.ReadFile(path); string(b) != "x" {
		t.Error("the file is gone")
	}
}

func TestUnixSocketAbstractRefused(t *testing.T) {
	for _, path := range []string{"@attache", "\x00attache", ""} {
		l, err := openListener(t.Context(), "unix:"+path)
		if err == nil {
			l.Close()
			t.Errorf("%q: opened", path)
		} else if !strings.Contains(err.Error(), "abstract") {
			t.Errorf("%q: %v", path, err)
		}
	}
}
