package source_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/watcher/source"
)

var update = flag.Bool("update", false, "write the documentation that is made from the code")

func build(t testing.TB, name, options string, env source.Env) source.Source {
	t.Helper()
	s, err := tryBuild(name, options, env)
	if err != nil {
		t.Fatalf("%s %s: %v", name, options, err)
	}
	return s
}

func tryBuild(name, options string, env source.Env) (source.Source, error) {
	for _, k := range source.Kinds() {
		if k.Name == name {
			return k.New(func(o any) error {
				d := json.NewDecoder(strings.NewReader(options))
				d.DisallowUnknownFields()
				return d.Decode(o)
			}, env)
		}
	}
	return nil, fmt.Errorf("no kind %q", name)
}

func file(t testing.TB, path string) source.Source {
	t.Helper()
	return build(t, "file", fmt.Sprintf(`{"path":%q}`, path), source.Env{})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFileIsReadWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	s := file(t, path)
	for _, text := range []string{"x", "", "abc\r\n", strings.Repeat("k", source.MaxSize), strings.Repeat("k", 600)} {
		check(t, os.WriteFile(path, []byte(text), 0o600))
		got, err := s.Read(t.Context())
		if err != nil || string(got) != text {
			t.Errorf("%d bytes read as %d, %v", len(text), len(got), err)
		}
	}
	if s.Describe() != "file" || !reflect.DeepEqual(s.Paths(), []string{path}) {
		t.Errorf("%s %v", s.Describe(), s.Paths())
	}
}

func TestOneMiBSecretFile(t *testing.T) {
	for _, size := range []int{source.MaxSize + 1, 1 << 20} {
		path := filepath.Join(t.TempDir(), "s")
		check(t, os.WriteFile(path, bytes.Repeat([]byte("k"), size), 0o600))
		got, err := file(t, path).Read(t.Context())
		if len(got) > 0 || err == nil || err.Error() != "over 64 KiB (file "+path+")" {
			t.Errorf("%d bytes: %d read, %v", size, len(got), err)
		}
	}
}

func TestKubernetesLinksAreFollowed(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "..1"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "..1", "s"), []byte("k"), 0o600))
	if err := os.Symlink("..1", filepath.Join(dir, "..data")); err != nil {
		t.Skip(err)
	}
	check(t, os.Symlink(filepath.Join("..data", "s"), filepath.Join(dir, "s")))
	if got, err := file(t, filepath.Join(dir, "s")).Read(t.Context()); err != nil || string(got) != "k" {
		t.Errorf("%q %v", got, err)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := file(t, dir).Read(t.Context())
	if err == nil || err.Error() != "is a directory (file "+dir+")" {
		t.Errorf("a directory: %v", err)
	}
	gone := filepath.Join(dir, "gone")
	_, err = file(t, gone).Read(t.Context())
	if err == nil || err.Error() != "not found (file "+gone+")" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if runtime.GOOS == "linux" {
		_, err = file(t, "/dev/zero").Read(t.Context())
		if err == nil || err.Error() != "is no regular file (file /dev/zero)" {
			t.Errorf("a device: %v", err)
		}
		if os.Getuid() != 0 {
			check(t, os.WriteFile(gone, nil, 0))
			_, err = file(t, gone).Read(t.Context())
			if err == nil || err.Error() != "permission denied (file "+gone+")" {
				t.Errorf("an unreadable file: %v", err)
			}
		}
	}
}

func TestEnv(t *testing.T) {
	getenv := func(name string) (string, bool) {
		switch name {
		case "KEY":
			return "k", true
		case "EMPTY":
			return "", true
		case "BIG":
			return strings.Repeat("k", source.MaxSize+1), true
		}
		return "", false
	}
	for name, want := range map[string]string{
		"KEY": "k", "EMPTY": "", "BIG": "over 64 KiB (env BIG)", "GONE": "not set (env GONE)",
	} {
		s := build(t, "env", fmt.Sprintf(`{"name":%q}`, name), source.Env{Getenv: getenv})
		got, err := s.Read(t.Context())
		if err != nil && err.Error() != want || err == nil && string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
		if len(s.Paths()) > 0 || s.Describe() != "env "+name {
			t.Errorf("%s %v", s.Describe(), s.Paths())
		}
	}
	if _, err := build(t, "env", `{"name":"KEY"}`, source.Env{}).Read(t.Context()); err == nil {
		t.Error("without an environment a variable is set")
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, c := range []struct{ kind, options, option string }{
		{"file", `{}`, "path"},
		{"file", `{"path":"a\u0000b"}`, "path"},
		{"env", `{}`, "name"},
		{"env", `{"name":"A=B"}`, "name"},
		{"env", `{"name":"$A"}`, "name"},
	} {
		_, err := tryBuild(c.kind, c.options, source.Env{})
		if o, ok := errors.AsType[*source.OptionError](err); !ok || o.Option != c.option {
			t.Errorf("%s %s: %v", c.kind, c.options, err)
		}
	}
}

func TestRelativePathStartsAtDir(t *testing.T) {
	dir := t.TempDir()
	s := build(t, "file", `{"path":"x/../s"}`, source.Env{Dir: dir})
	if got := s.Paths()[0]; got != filepath.Join(dir, "s") {
		t.Error(got)
	}
	s = build(t, "file", `{"path":"~/keys/s"}`, source.Env{Dir: "/elsewhere", Getenv: func(string) (string, bool) { return dir, true }})
	if got := s.Paths()[0]; got != filepath.Join(dir, "keys", "s") {
		t.Error(got)
	}
	if _, err := build(t, "file", `{"path":"~/s"}`, source.Env{}).Read(t.Context()); err == nil || !strings.Contains(err.Error(), "is not set (file ~/s)") {
		t.Errorf("a home directory where there is none: %v", err)
	}
	t.Chdir(dir)
	s = file(t, "s")
	if got := s.Paths()[0]; !filepath.IsAbs(got) || filepath.Base(got) != "s" {
		t.Error(got)
	}
}

// TestSourcesDocumented holds docs/sources.md to the table of kinds. To write it:
// go test ./watcher/source -run TestSourcesDocumented -update
func TestSourcesDocumented(t *testing.T) {
	const doc = "../../docs/sources.md"
	want := documentation(t)
	if *update {
		check(t, os.WriteFile(doc, []byte(want), 0o644))
	}
	got, err := os.ReadFile(doc)
	check(t, err)
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Error("docs/sources.md is not current: go test ./watcher/source -run TestSourcesDocumented -update")
	}
}

func documentation(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# Sources of secrets

<!-- Made from the code by: go test ./watcher/source -run TestSourcesDocumented -update -->

Where secrets are kept. The scalar form sets the option marked with a star:
` + "`stripe-key: {file: /run/secrets/stripe}`" + ` is ` + "`stripe-key: {file: {path: /run/secrets/stripe}}`" + `.

One trailing newline is trimmed. Refused, and the last good version kept: what is empty, over 64 KiB, begins with a
byte order mark, or holds a control byte (PEM may hold line breaks). ` + "`field`" + ` takes one member of a JSON or YAML document:
` + "`field: api_key`" + `, or a JSON pointer (RFC 6901) such as ` + "`field: /data/0/key`" + `; it must be a string or a number.

| source | what it is |
|---|---|
`)
	for _, k := range source.Kinds() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", k.Name, k.Doc)
	}
	for _, k := range source.Kinds() {
		fmt.Fprintf(&b, "\n## %s\n\n| option | |\n|---|---|\n", k.Name)
		options := reflect.TypeOf(k.Options()).Elem()
		main := false
		for i := range options.NumField() {
			tag := options.Field(i).Tag
			name, rest, _ := strings.Cut(tag.Get("json"), ",")
			star, optional := "", ""
			if name == k.Main {
				star, main = " *", true
			}
			if strings.Contains(rest, "omitempty") {
				optional = "optional; "
			}
			if name == "" || tag.Get("jsonschema") == "" {
				t.Errorf("%s: field %s lacks its tags", k.Name, options.Field(i).Name)
			}
			fmt.Fprintf(&b, "| `%s`%s | %s%s |\n", name, star, optional, tag.Get("jsonschema"))
		}
		if !main {
			t.Errorf("%s: main option %q is none of its options", k.Name, k.Main)
		}
	}
	return b.String()
}

func TestForbiddenImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	check(t, err)
	for dep := range strings.FieldsSeq(string(out)) {
		for _, never := range []string{"attache/proxy", "attache/identity", "attache/cmd", "yaml"} {
			if strings.Contains(dep, never) {
				t.Errorf("imports %s", dep)
			}
		}
	}
}
