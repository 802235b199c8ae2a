package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/watcher/source"
)

func TestFilesAreReadAsOne(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	put("..1/tls.crt", "cert1\n")
	put("..1/tls.key", "key1\n")
	put("..2/tls.crt", "cert2\n")
	put("..2/tls.key", "key2\n")
	if err := os.Symlink("..1", filepath.Join(dir, "..data")); err != nil {
		t.Skip(err)
	}
	for _, n := range []string{"tls.crt", "tls.key"} {
		check(t, os.Symlink("..data/"+n, filepath.Join(dir, n)))
	}
	put("user", "u\n")
	put("password", "p\"\r\n")
	env := source.Env{Dir: dir}
	tls := build(t, "files", `{"dir":"."}`, env)
	both := build(t, "files", `{"user":"user","password":"password"}`, env)
	for s, want := range map[source.Source]string{tls: "cert1\nkey1\n", both: `{"password":"p\"","user":"u"}`} {
		if got := settledRead(t, s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if n := len(s.Paths()); n != 2 {
			t.Errorf("%d paths", n)
		}
	}
	// While the links swap, either version is read, never half of each.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			link := filepath.Join(dir, "..data")
			_ = os.Symlink([]string{"..2", "..1"}[i%2], link+"_tmp")
			_ = os.Rename(link+"_tmp", link)
		}
	}()
	for swapping := true; swapping; {
		select {
		case <-done:
			swapping = false
		default:
		}
		got, err := tls.Read(t.Context())
		if _, writing := errors.AsType[*source.UnsettledError](err); writing {
			continue
		}
		check(t, err)
		if s := string(got); s != "cert1\nkey1\n" && s != "cert2\nkey2\n" {
			t.Fatalf("%q", s)
		}
	}
	loop := filepath.Join(dir, "loop")
	check(t, os.Symlink(loop, loop))
	if _, err := build(t, "files", `{"user":"loop","password":"password"}`, env).Read(t.Context()); err == nil {
		t.Error("a loop of links was read")
	}
	put("password", "\xffhunter-two")
	if _, err := both.Read(t.Context()); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("bytes that JSON does not keep: %v", err)
	}
	check(t, os.Remove(filepath.Join(dir, "password")))
	if _, err := both.Read(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// settledRead reads until nobody is taken to be writing.
func settledRead(t *testing.T, s source.Source) string {
	t.Helper()
	for {
		got, err := s.Read(t.Context())
		if _, writing := errors.AsType[*source.UnsettledError](err); writing {
			continue
		}
		check(t, err)
		return string(got)
	}
}
