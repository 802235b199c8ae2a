package source_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/watcher/source"
)

func TestCredential(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "stripe"), []byte("k"), 0o400))
	env := source.Env{Getenv: func(name string) (string, bool) { return dir, name == "CREDENTIALS_DIRECTORY" }}
	s := build(t, "credential", `{"name":"stripe"}`, env)
	if got := settledRead(t, s); got != "k" || s.Describe() != "credential stripe" || len(s.Paths()) != 1 {
		t.Errorf("%q, %s, %v", got, s.Describe(), s.Paths())
	}
	if _, err := build(t, "credential", `{"name":"other"}`, env).Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../stripe", "/etc/passwd", `a\b`, "a:b", "a\x00"} {
		if _, err := tryBuild("credential", `{"name":"`+strings.NewReplacer(`\`, `\\`, "\x00", `\u0000`).Replace(name)+`"}`, env); err == nil {
			t.Errorf("%q is taken as a name", name)
		}
	}
	// Outside a service the configuration can be checked, and reading says what is missing.
	for _, env := range []source.Env{{}, {Getenv: func(string) (string, bool) { return "relative", true }}} {
		s := build(t, "credential", `{"name":"stripe"}`, env)
		if _, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY is not set") || s.Describe() != "credential stripe" || s.Paths() != nil {
			t.Errorf("%v", err)
		}
	}
}
