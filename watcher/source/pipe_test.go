//go:build linux || darwin

package source_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A named pipe without a writer would block whoever opens it.
func TestNamedPipeDoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(path, 0o600))
	_, err := file(t, path).Read(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "is a named pipe") {
		t.Error(err)
	}
}
