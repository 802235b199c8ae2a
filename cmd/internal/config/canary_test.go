package config

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/inject/secret"
)

// TestPastedSecretIsNeverTold puts a canary in place of every value of a whole
// configuration, one after the other: no message may repeat it. Hosts, paths
// and methods are excepted: what is wrong with a pattern is told by showing it.
func TestPastedSecretIsNeverTold(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/good/whole.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{`canary/+=%&<made-up`, "canary00112233445566778899aabbccddeeff", "CANARY-7f7f7f7f7f7f7f7f"} {
		for i := 0; ; i++ {
			root := parse(newFile("a.yaml", data), newReport(nil))
			path, ok := plant(root, "", &i, canary)
			if !ok {
				break
			}
			if strings.Contains(path, ".hosts") || strings.Contains(path, ".paths") || strings.Contains(path, ".methods") ||
				strings.Contains(path, ".permit") {
				continue
			}
			cfg, err := load([]file{newFile("a.yaml", []byte(root.yaml()))}, testEnv(), sampleKinds())
			told := ""
			if err != nil {
				told = err.Error()
			} else {
				for _, w := range cfg.Warnings {
					told += w.String() + "\n"
				}
			}
			if strings.Contains(strings.ToLower(told), strings.ToLower(canary)) {
				t.Errorf("%s: %s", path, told)
			}
		}
	}
}

// plant replaces the i-th scalar value below n.
func plant(n *node, path string, i *int, canary string) (string, bool) {
	left := *i
	var walk func(n *node, path string) (string, bool)
	walk = func(n *node, path string) (string, bool) {
		for _, e := range n.entries {
			if p, ok := walk(e.value, path+"."+e.key.text); ok {
				return p, true
			}
		}
		for _, item := range n.items {
			if p, ok := walk(item, path); ok {
				return p, true
			}
		}
		if n.shape == list || n.shape == dict {
			return "", false
		}
		if left == 0 {
			n.shape, n.text = text, canary
			return path, true
		}
		left--
		return "", false
	}
	return walk(n, path)
}

// yaml writes n in flow style.
func (n *node) yaml() string {
	var parts []string
	switch n.shape {
	case dict:
		for _, e := range n.entries {
			parts = append(parts, `"`+e.key.text+`": `+e.value.yaml())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case list:
		for _, item := range n.items {
			parts = append(parts, item.yaml())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case text:
		return "'" + strings.ReplaceAll(n.text, "'", "''") + "'"
	case null:
		return "~"
	}
	return n.text
}

// TestNoSecretBytesInConfig walks the types: a Config has no place for a
// secret's bytes, so no dump of one can show them.
func TestNoSecretBytesInConfig(t *testing.T) {
	banned := reflect.TypeFor[secret.Value]()
	seen := map[reflect.Type]bool{}
	var walk func(ty reflect.Type, path string)
	walk = func(ty reflect.Type, path string) {
		if seen[ty] {
			return
		}
		seen[ty] = true
		if ty == banned || ty == reflect.TypeFor[secret.Set]() {
			t.Errorf("%s holds a %v", path, ty)
		}
		switch ty.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(ty.Elem(), path)
		case reflect.Map:
			walk(ty.Key(), path)
			walk(ty.Elem(), path)
		case reflect.Struct:
			for f := range ty.Fields() {
				walk(f.Type, path+"."+f.Name)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "Config")
}

// TestLoadingReadsNoSecret: the sample source panics when it is read, and the
// environment is asked for variables only.
func TestLoadingReadsNoSecret(t *testing.T) {
	env := testEnv()
	env.Getenv = func(name string) (string, bool) {
		if !strings.HasPrefix(name, varPrefix) {
			t.Errorf("%s was read", name)
		}
		return "", false
	}
	for _, f := range goodFiles(t) {
		if _, err := load([]file{f}, env, sampleKinds()); err != nil {
			if _, ok := errors.AsType[Errors](err); !ok {
				t.Error(err)
			}
		}
	}
}
