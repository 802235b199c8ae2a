package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSystemdUnits: systemd finds no fault in the units, and they are exposed no more than their
// README says.
func TestSystemdUnits(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd-analyze")
	dir := t.TempDir()
	const service, socket = "attache.service", "attache.socket"
	unit := string(mustRead(t, root+"/deploy/systemd/"+service))
	if !strings.Contains(unit, "ExecStart=/usr/local/bin/attache ") {
		t.Fatalf("%s starts something else", service)
	}
	ok(t, os.WriteFile(filepath.Join(dir, service), []byte(strings.ReplaceAll(unit, "/usr/local/bin/attache", os.Getenv(envBinary))), 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, socket), mustRead(t, root+"/deploy/systemd/"+socket), 0o644))
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(analyze, args...)
		cmd.Dir, cmd.Env = dir, append(cleanEnv(t), "SYSTEMD_COLORS=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
		return string(out)
	}
	if out := run("verify", "--man=no", service, socket); strings.Contains(out, "attache") {
		t.Errorf("verify:\n%s", out)
	}
	exposure := regexp.MustCompile(`exposure level for attache\.service: ([0-9.]+)`)
	level := func(where, text string) float64 {
		m := exposure.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s names no exposure level:\n%s", where, text)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		ok(t, err)
		return v
	}
	got := level("systemd-analyze", run("security", "--offline=yes", "--no-pager", service))
	want := level("deploy/systemd/README.md", string(mustRead(t, root+"/deploy/systemd/README.md")))
	if got > want {
		t.Errorf("exposure level %v, and the README says %v", got, want)
	}
}

// TestSystemdFilesBelongTogether: the configuration has the sockets' addresses and the credentials
// that the units name.
func TestSystemdFilesBelongTogether(t *testing.T) {
	config := string(mustRead(t, root+"/deploy/systemd/attache.yaml"))
	units := string(mustRead(t, root+"/deploy/systemd/attache.service")) + string(mustRead(t, root+"/deploy/systemd/attache.socket"))
	for _, pattern := range []string{`(?m)^ListenStream=(.+)$`, `(?m)^LoadCredential=([^:]+):`} {
		all := regexp.MustCompile(pattern).FindAllStringSubmatch(units, -1)
		if len(all) == 0 {
			t.Errorf("the units have no %s", pattern)
		}
		for _, m := range all {
			if !regexp.MustCompile(`: ` + regexp.QuoteMeta(m[1]) + `\b`).MatchString(config) {
				t.Errorf("attache.yaml does not name %s", m[1])
			}
		}
	}
}
