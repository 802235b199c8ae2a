//go:build unix

package project_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/project"
)

// tree makes directories and empty files.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte("version: 1\n"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindLooksUpwards(t *testing.T) {
	root := tree(t, "attache.yaml", "home/src/shop/attache.yaml", "home/src/shop/a/b/", "home/src/other/", "home/dir/attache.yaml/", "elsewhere/x/")
	if err := os.Symlink(filepath.Join(root, "home/src/shop/a"), filepath.Join(root, "home/link")); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(root, "home")
	for from, want := range map[string]string{
		"home/src/shop":     "home/src/shop/attache.yaml",
		"home/src/shop/a/b": "home/src/shop/attache.yaml",
		"home/link/b":       "home/src/shop/attache.yaml", // where it is, not how it was reached
		"home/src/other":    "",                           // not above home
		"home/dir":          "",                           // a directory of that name is none
		"elsewhere/x":       "attache.yaml",
	} {
		got, err := project.Find(filepath.Join(root, from), home)
		if want == "" && !errors.Is(err, project.ErrNone) || want != "" && (err != nil || got != filepath.Join(root, want)) {
			t.Errorf("from %s: %s %v", from, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "attache.yaml"), []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := project.Find(filepath.Join(home, "src/other"), home); err != nil || got != filepath.Join(home, "attache.yaml") {
		t.Errorf("at home: %s %v", got, err)
	}
}

func TestFindFollowsNobodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	root := tree(t, "attache.yaml", "theirs/mine/x/", "shared/attache.yaml", "shared/mine/", "laid/attache.yaml", "laid/attache.local.yaml")
	for _, name := range []string{"theirs", "shared/attache.yaml", "laid/attache.local.yaml"} {
		if err := os.Chown(filepath.Join(root, name), 4711, 4711); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := project.Find(filepath.Join(root, "theirs/mine/x"), ""); !errors.Is(err, project.ErrNone) {
		t.Errorf("past another user's directory: %s %v", got, err)
	}
	if got, err := project.Find(filepath.Join(root, "shared/mine"), ""); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("another user's file: %s %v", got, err)
	}
	// Named, it may be allowed: by its content. Its commands do not run even then.
	store := project.Store{Dir: filepath.Join(t.TempDir(), "allowed")}
	for path, mayRun := range map[string]bool{"laid/attache.yaml": false, "shared/attache.yaml": false, "attache.yaml": true} {
		path = filepath.Join(root, path)
		if _, err := store.Allow(path, "", config.Env{}); err != nil {
			t.Fatal(err)
		}
		if p, _, err := store.Open(path, "", config.Env{}); err != nil || p.Frozen.MayRun != mayRun {
			t.Errorf("%s: %v, its commands may run: %v", path, err, p.Frozen.MayRun)
		}
	}
}

func TestPipesAreNotOpened(t *testing.T) {
	root := tree(t, "a/", "b/attache.yaml")
	store := project.Store{Dir: filepath.Join(t.TempDir(), "allowed")}
	for _, name := range []string{"a/attache.yaml", "b/attache.local.yaml"} {
		path := filepath.Join(root, name)
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		base := filepath.Join(filepath.Dir(path), project.Name)
		if _, err := store.Allow(base, "", config.Env{}); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRecordsArePrivate: nobody else can allow something for this user.
func TestRecordsArePrivate(t *testing.T) {
	w := newWorld(t)
	w.allow("")
	info, err := os.Stat(w.store.Dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal(info.Mode(), err)
	}
	entries, err := os.ReadDir(w.store.Dir)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o770, 0o707} {
		if err := os.Chmod(w.store.Dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.store.Open(w.path, "", w.env); err == nil {
			t.Errorf("mode %o: opened", mode)
		}
		if _, err := w.store.Allow(w.path, "", w.env); err == nil {
			t.Errorf("mode %o: allowed", mode)
		}
	}
	if err := os.Chmod(w.store.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.store.Dir, entries[0].Name()), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.store.Open(w.path, "", w.env); err == nil {
		t.Error("half a record allows")
	}
}

// TestTheSystemsConfigurationOnly: where it lies is not enough, nor who owns it.
func TestTheSystemsConfigurationOnly(t *testing.T) {
	root := tree(t, "attache.yaml")
	if project.System(filepath.Join(root, "attache.yaml")) || project.System(root) {
		t.Error("a file elsewhere is taken for the system's")
	}
}
