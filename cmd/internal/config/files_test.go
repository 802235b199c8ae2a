package config

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Paths of this module that the configuration may use (DESIGN §3).
func TestImports(t *testing.T) {
	const module = "github.com/attache-proxy/attache/"
	allowed := []string{"inject", "inject/secret", "watcher/source", "proxy/policy", "identity"}
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pkg.Imports {
		if inner, ok := strings.CutPrefix(path, module); ok && !slices.Contains(allowed, inner) {
			t.Errorf("imports %s", path)
		}
		if slices.Contains([]string{"net/http", "os/exec", "syscall"}, path) {
			t.Errorf("imports %s: loading contacts nothing", path)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rule(id string) string {
	return "version: 1\nrules: [{id: " + id + ", hosts: " + id + ".example}]\n"
}

func ids(cfg *Config) (ids []string) {
	for _, r := range cfg.Rules {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestDirectoryInOrderOfName(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "20-b.yml"), rule("b"))
	write(t, filepath.Join(dir, "10-a.yaml"), rule("a"))
	write(t, filepath.Join(dir, "30-c.yaml"), rule("c"))
	write(t, filepath.Join(dir, "40-empty.yaml"), "# later\n")
	write(t, filepath.Join(dir, ".hidden.yaml"), "rubbish: [")
	write(t, filepath.Join(dir, "notes.txt"), "rubbish: [")
	write(t, filepath.Join(dir, "50-dir.yaml", "inner.yaml"), "rubbish: [")
	cfg, err := Load(dir, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(cfg); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("rules %v", got)
	}
	if cfg.Rules[1].Pos != "20-b.yml:2" || len(cfg.Files) != 4 || cfg.Files[0] != filepath.Join(dir, "10-a.yaml") {
		t.Errorf("pos %s, files %v", cfg.Rules[1].Pos, cfg.Files)
	}
}

// TestConfigMapDirectory: as Kubernetes mounts it, behind a link as well.
func TestConfigMapDirectory(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "mount")
	write(t, filepath.Join(dir, "..2026_1", "a.yaml"), rule("old"))
	write(t, filepath.Join(dir, "..2026_2", "a.yaml"), rule("new"))
	link := func(target, name string) {
		if err := os.Symlink(target, name); err != nil {
			t.Skipf("symlinks: %v", err)
		}
	}
	link("..2026_1", filepath.Join(dir, "..data"))
	link(filepath.Join("..data", "a.yaml"), filepath.Join(dir, "a.yaml"))
	link(dir, filepath.Join(root, "etc"))
	for i, want := range []string{"old", "new"} {
		if i == 1 {
			link("..2026_2", filepath.Join(dir, "..tmp"))
			if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{dir, filepath.Join(root, "etc"), filepath.Join(dir, "a.yaml")} {
			cfg, err := Load(path, testEnv())
			if err != nil {
				t.Fatal(err)
			}
			if got := ids(cfg); !slices.Equal(got, []string{want}) {
				t.Errorf("%s: rules %v, want %s", path, got, want)
			}
		}
	}
}

func TestNothingToLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir, testEnv()); err == nil || !strings.Contains(err.Error(), "no *.yaml file") {
		t.Errorf("empty directory: %v", err)
	}
	_, err := Load(filepath.Join(dir, "none.yaml"), testEnv())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, filepath.Join(dir, "a.yaml"), "# nothing\n")
	if _, err := Load(dir, testEnv()); err == nil || !strings.Contains(err.Error(), "holds no configuration") {
		t.Errorf("empty file: %v", err)
	}
}

// Files that would cost the parser its stack or its time are refused before it runs.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	wide := strings.Builder{}
	for range maxKeys + 1 {
		wide.WriteString("a: 1\n")
	}
	for name, c := range map[string]struct{ text, want string }{
		"large":      {strings.Repeat("# padding\n", maxFileBytes/10+1), "larger than 1 MiB"},
		"brackets":   {"a: " + strings.Repeat("[", maxFileBytes/8), "nested deeper"},
		"braces":     {strings.Repeat("{a: ", maxFileBytes/32), "nested deeper"},
		"dashes":     {strings.Repeat("- ", maxFileBytes/16), "nested deeper"},
		"questions":  {strings.Repeat("? ", 100), "not supported"},
		"keys":       {wide.String(), "more than 20000 keys"},
		"laughs":     {"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "not supported"},
		"latin":      {"version: 1\nx-owner: \"caf\xe9\"\n", "attache.yaml:2:14: not UTF-8"},
		"nul":        {"version: 1\n\x00", "control character"},
		"escape":     {"version: 1\nx-a: \x1b[2J", "control character"},
		"escaped":    {"version: 1\nrules: [{id: a, hosts: a.example, deny: \"\\e[2J\"}]\n", "attache.yaml:2:41: a control character (U+001B)"},
		"C1":         {"version: 1\nrules: [{id: a, hosts: a.example, \"de\\u009bny\": true}]\n", "a control character (U+009B)"},
		"byte order": {"version: 1\n\ufeffrules: []\n", "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadCase([]file{newFile("attache.yaml", []byte(c.text))})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %.300v, want %s", err, c.want)
			}
		})
	}
	var steps strings.Builder
	for i := range maxNesting + 2 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	if _, err := loadCase([]file{newFile("attache.yaml", []byte(steps.String()))}); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("indentation: %v", err)
	}
}

func TestByteOrderMarkAndLineEndings(t *testing.T) {
	cfg := loadText(t, "\ufeffversion: 1\r\nrules:\r\n  - id: a\r\n    hosts: a.example\r\n")
	if !slices.Equal(ids(cfg), []string{"a"}) || cfg.Rules[0].Pos != "attache.yaml:3" {
		t.Errorf("%+v", cfg.Rules)
	}
}

func TestRequires(t *testing.T) {
	for _, c := range []struct {
		version, required string
		older             bool
	}{
		{"1.3.0", "1.4", true}, {"1.4.0", "1.4", false}, {"v1.4.0-rc.1", "1.4", false}, {"1.10.0", "1.9", false},
		{"1.9.9", "1.10", true}, {"1.4.1", "1.4.2", true}, {"2.0.0", "1.4", false}, {"1.4.0", "2", true},
		{"", "9.9", false}, {"devel", "9.9", false}, {"(devel)", "9.9", false},
		{"v0.0.0-20261123204316-6108f1e83302", "9.9", false}, {"1.3.0+dirty", "1.4", true},
	} {
		if older(c.version, c.required) != c.older {
			t.Errorf("%s for a file of %s: older is %v", c.version, c.required, !c.older)
		}
	}
}

func TestSuggestions(t *testing.T) {
	keys := []string{"paths", "hosts", "methods", "attach", "id"}
	for word, want := range map[string]string{
		"path": "paths", "host": "hosts", "metohds": "methods", "atach": "attach", "banana": "", "x": "", "": "",
		strings.Repeat("a", 10_000): "",
	} {
		if got := Nearest(word, keys); got != want {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile("testdata/good/whole.yaml")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := loadCase([]file{newFile("a.yaml", data)}); err != nil {
			b.Fatal(err)
		}
	}
}
