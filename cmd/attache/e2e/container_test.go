package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestContainer sends a request through the image that ATTACHE_E2E_IMAGE
// names: read-only, not root, without capabilities.
func TestContainer(t *testing.T) {
	t.Parallel()
	image := os.Getenv("ATTACHE_E2E_IMAGE")
	if image == "" {
		absent(t, "ATTACHE_E2E_IMAGE: no image was built; .ci/image builds one")
	}
	docker := need(t, "docker")
	up, key := newSite(t, siteOptions{}), newCanary()

	// The server's own user must be able to read what is mounted.
	s := &server{t: t, dir: t.TempDir(), received: &recorder{}, out: &recorder{}, err: &recorder{}, exited: make(chan struct{})}
	s.proxy, s.admin = freePort(t), freePort(t)
	s.config = filepath.Join(s.dir, "attache.yaml")
	s.secret(key)
	s.write("key", key)
	s.write("upstream-ca.pem", string(mustRead(t, up.ca)))
	s.reconfigure(strings.NewReplacer("@dir", "/etc/attache", "@siteca", "/etc/attache/upstream-ca.pem").Replace(oneRule+`
ca: {publish: @dir/trust}
audit: {file: "-"}
`), siteVars(up))
	for name, mode := range map[string]os.FileMode{"": 0o755, "key": 0o644, "upstream-ca.pem": 0o644, "attache.yaml": 0o644, "trust": 0o777} {
		if name == "trust" {
			ok(t, os.Mkdir(filepath.Join(s.dir, name), mode))
		}
		ok(t, os.Chmod(filepath.Join(s.dir, name), mode))
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(docker, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	id := run("run", "--detach", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--network", "host", "--volume", s.dir+":/etc/attache:ro", "--volume", filepath.Join(s.dir, "trust")+":/etc/attache/trust", image)
	t.Cleanup(func() { _ = exec.Command(docker, "rm", "--force", id).Run() })

	if !s.ready() {
		t.Fatalf("the container did not get ready\n%s", run("logs", id))
	}
	c := s.client(clientOptions{})
	for _, h1 := range []bool{true, false} {
		c = s.client(clientOptions{H1: h1})
		s.get(c, "https://api.test/").fine(t)
		attached(t, up, key)
	}
	if !s.eventually(time.Minute, func() bool {
		return run("inspect", "--format", "{{.State.Health.Status}}", id) == "healthy"
	}) {
		t.Errorf("not healthy: %s", run("inspect", "--format", "{{json .State.Health}}", id))
	}
	// There is no curl in it: the binary tells how it is doing.
	if text := run("exec", id, "/attache", "status", "--config", "/etc/attache/attache.yaml"); !strings.Contains(text, "READY   config g1") || !strings.Contains(text, "api ") {
		t.Errorf("attache status in the container:\n%s", text)
	}
	if user := run("inspect", "--format", "{{.Config.User}}", id); slices.Contains([]string{"", "0", "root"}, user) {
		t.Errorf("it runs as %q", user)
	}
	run("stop", "--time", "30", id)
	if code := run("inspect", "--format", "{{.State.ExitCode}}", id); code != "0" {
		t.Errorf("exit code %s", code)
	}
	logs := run("logs", id)
	if !strings.Contains(logs, `"decision":"allow"`) {
		t.Errorf("its standard output holds no audit:\n%s", logs)
	}
	searchCanary(t, "the container's logs", []byte(logs), key)
	searchCanary(t, "what clients got", s.received.Bytes(), key)
	if a, err := s.try(c, s.request(http.MethodGet, "https://api.test/", nil)); err == nil && a.StatusCode == http.StatusOK {
		t.Error("it still serves")
	}
}
