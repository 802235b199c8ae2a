package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLocalByDefault: a listener that others can reach, and that asks nobody
// who they are, is refused at the start.
func TestLocalByDefault(t *testing.T) {
	t.Parallel()
	rules := "rules: [{id: api, hosts: api.test}]\n"
	for config, wants := range map[string]string{
		`listen: {proxy: "0.0.0.0:0"}`:                                         "loopback",
		`listen: {proxy: "[::]:0"}`:                                            "loopback",
		`listen: {routes: [{listen: "0.0.0.0:0", to: "https://api.test"}]}`:    "loopback",
		"listen: {proxy: \"0.0.0.0:0\"}\ncallers: {all: {network: 0.0.0.0/0}}": "address space",
	} {
		file := filepath.Join(t.TempDir(), "attache.yaml")
		ok(t, os.WriteFile(file, []byte("version: 1\n"+config+"\n"+rules), 0o600))
		for _, command := range []string{"serve", "check"} {
			cmd := exec.CommandContext(t.Context(), os.Getenv(envBinary), command, "--config", file)
			cmd.Env = cleanEnv(t)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(strings.Join(strings.Fields(string(out)), " "), wants) {
				t.Errorf("%s of %s: %v\n%s", command, config, err, out)
			}
		}
	}
}

// TestWarmRequestsNeedNoDisk: once it runs, everything on disk may go; what
// was read last serves on.
func TestWarmRequestsNeedNoDisk(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	clients := []*http.Client{s.client(clientOptions{H1: true}), s.client(clientOptions{})}
	s.get(clients[0], "https://api.test/").fine(t)
	for _, gone := range []string{s.config, filepath.Join(s.dir, "key"), filepath.Join(s.dir, "trust"), filepath.Join(s.dir, "ca"), up.ca} {
		ok(t, os.RemoveAll(gone))
	}
	s.await("the loss to be noticed", func() bool { return s.auditCount("secret.stale") > 0 })
	for _, c := range clients {
		c.CloseIdleConnections()
		for range 10 {
			s.get(c, "https://api.test/").fine(t)
			attached(t, up, key)
		}
	}
}
