package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shipped is one configuration of deploy/: a file, or a directory.
type shipped struct {
	path       string
	warnings   int  // that it teaches to live with
	experiment bool // not for production, on purpose
}

// examples are deploy/examples, in the order of its README.
func examples() []shipped {
	const dir = root + "/deploy/examples/"
	return []shipped{
		{path: dir + "one-api-key.yaml"},
		{path: dir + "github.yaml"},
		{path: dir + "teams"},
		{path: dir + "corporate-proxy.yaml"},
		{path: dir + "partner-mtls.yaml"},
		{path: dir + "spiffe-callers.yaml"},
		{path: dir + "observe.yaml", experiment: true},
		{path: dir + "gateway.yaml", warnings: 1}, // a CA that is given cannot be renewed
		{path: dir + "gateway-edge.yaml"},
		{path: dir + "ci-runner.yaml"},
		{path: dir + "ai-agent.yaml"},
	}
}

// TestExamples: every configuration under deploy/ is valid, its tests hold, and but for those that
// say otherwise it is fit for production.
func TestExamples(t *testing.T) {
	all := append(examples(),
		shipped{path: root + "/deploy/compose/config", warnings: 1}, // a caller known by its network
		shipped{path: root + "/deploy/compose/several/config"},
		shipped{path: root + "/deploy/compose/shared/config"},
		shipped{path: root + "/deploy/systemd/attache.yaml"},
	)
	// What the configurations call /etc/attache/NAME.pem.
	etc := t.TempDir()
	pem := mustRead(t, newAuthority(t).file)
	for _, x := range all {
		t.Run(filepath.Base(x.path), func(t *testing.T) {
			config := x.copy(t, etc, pem)
			args := []string{"check", "--output", "json", "--config", config}
			if !x.experiment {
				args = append(args, "--production")
			}
			cmd := exec.Command(os.Getenv(envBinary), args...)
			cmd.Env = cleanEnv(t)
			out, err := cmd.Output()
			var got struct {
				Warnings []any
				Tests    []struct{ Holds bool }
			}
			if err != nil || json.Unmarshal(out, &got) != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if len(got.Warnings) != x.warnings {
				t.Errorf("warnings %v, want %d", got.Warnings, x.warnings)
			}
			if len(got.Tests) < 2 {
				t.Errorf("%d tests", len(got.Tests))
			}
		})
	}
}

// copy copies a configuration, with /etc/attache/ led to etc and the roots that it names put there.
func (x shipped) copy(t *testing.T, etc string, pem []byte) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(x.path))
	ok(t, filepath.WalkDir(x.path, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(x.path, path)
		if err != nil || d.IsDir() {
			return err
		}
		text := string(mustRead(t, path))
		for _, m := range regexp.MustCompile(`/etc/attache/([\w-]+\.pem)`).FindAllStringSubmatch(text, -1) {
			ok(t, os.WriteFile(filepath.Join(etc, m[1]), pem, 0o644))
		}
		file := filepath.Join(to, rel)
		ok(t, os.MkdirAll(filepath.Dir(file), 0o755))
		return os.WriteFile(file, []byte(strings.ReplaceAll(text, "/etc/attache/", etc+"/")), 0o644)
	}))
	return to
}

// TestExamplesAreAllThere: what lies in deploy/examples is tested, and in the README's table.
func TestExamplesAreAllThere(t *testing.T) {
	const dir = root + "/deploy/examples"
	files, err := filepath.Glob(dir + "/*")
	ok(t, err)
	known := map[string]bool{"README.md": true}
	readme := string(mustRead(t, dir+"/README.md"))
	for _, x := range examples() {
		name := filepath.Base(x.path)
		known[name] = true
		if !strings.Contains(readme, "]("+name+")") {
			t.Errorf("README.md does not link to %s", name)
		}
	}
	for _, file := range files {
		if !known[filepath.Base(file)] {
			t.Errorf("%s is not tested", filepath.Base(file))
		}
	}
}
