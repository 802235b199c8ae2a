package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: whatever a file holds, loading it ends, does not panic, and tells
// the place of everything that is wrong.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.txtar", "testdata/warn/*.txtar"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				f.Fatal(err)
			}
			for _, file := range archive.Files {
				if !strings.HasSuffix(file.Name, ".want") {
					f.Add(file.Data)
				}
			}
		}
	}
	paths, _ := filepath.Glob("testdata/good/*.yaml")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, odd := range []string{
		"", "\xef\xbb\xbf", "\x00", "a: \xff", "- - - - -", "{{{{", "[[[[", "a: |\n", "a: >-\n  b\n c", "? ?", "&a *a", "!!x", "---\n---", "...", "%",
		"a:\n - b:\n   - c", "'", "\"\\u", "\"\\", "a: \"\\x", "{a: b, : c}", "{,}", "[,]", "a: 'b\n\n c'", "<<: a", "\r", "a:\r b", "\t", "a: \t b",
		"version: 1\nrules: [~]", "version: 1\nvars: {a: b}\nx: ${a}${a}", "? a\n: b\n? c", "a: # b\n  c", "a: b: c", "@", "`",
	} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := load([]file{newFile("fuzz.yaml", data)}, testEnv(), sampleKinds())
		if (cfg == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", cfg, err)
		}
		if err == nil {
			cfg.RunTests()
			return
		}
		problems, ok := errors.AsType[Errors](err)
		if !ok || len(problems) == 0 {
			t.Fatalf("no Errors: %v", err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, p := range problems {
			if p.File != "fuzz.yaml" || p.Line < 1 || p.Column < 1 || p.Line > lines || p.Message == "" {
				t.Errorf("no place: %+v", p)
			}
		}
	})
}
