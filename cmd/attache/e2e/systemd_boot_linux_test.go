package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const envSystemd = "ATTACHE_E2E_SYSTEMD" // boot systemd in a container

// host is a container in which this machine's systemd runs the units of deploy/systemd.
type host struct {
	t  *testing.T
	id string
}

// bootHost boots systemd in a container without a network. /usr is this machine's, so nothing is
// installed; of /etc there is what the service needs.
func bootHost(t *testing.T, files map[string]string) *host {
	t.Helper()
	docker := need(t, "docker")
	for _, path := range []string{"/usr/lib/systemd/systemd", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s: not there", path)
		}
	}
	dir := t.TempDir()
	put := func(name, content string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(t, os.WriteFile(path, []byte(content), mode))
	}
	for _, name := range []string{"usr", "run", "tmp", "proc", "sys", "dev", "root", "var/lib", "var/log"} {
		ok(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		ok(t, os.Symlink("usr/"+name, filepath.Join(dir, name)))
	}
	for _, name := range []string{"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/usr/lib/os-release", "/etc/ssl/certs/ca-certificates.crt"} {
		put("etc/"+strings.TrimPrefix(strings.TrimPrefix(name, "/etc/"), "/usr/lib/"), string(mustRead(t, name)), 0o644)
	}
	put("etc/machine-id", "", 0o644)
	for name, content := range files {
		mode := os.FileMode(0o644)
		if strings.Contains(name, "secrets/") {
			mode = 0o600
		}
		put(name, content, mode)
	}
	for name, what := range map[string]string{"attache": "github.com/attache-proxy/attache/cmd/attache", "peer": "./testdata/peer"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "opt", name), what)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	archive, err := exec.Command("tar", "-C", dir, "--owner=0", "--group=0", "-c", ".").Output()
	ok(t, err)
	image := "attache-e2e-systemd"
	h := &host{t: t}
	run := func(in io.Reader, args ...string) string {
		cmd := exec.Command(docker, args...)
		cmd.Stdin = in
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run(bytes.NewReader(archive), "import", "-", image)
	h.id = run(nil, "run", "--detach", "--network", "none", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined",
		"--security-opt", "apparmor=unconfined", "--tmpfs", "/run", "--tmpfs", "/tmp", "--volume", "/usr:/usr:ro",
		"--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro", "--volume", "/sys/fs/cgroup/systemd:/sys/fs/cgroup/systemd",
		"--env", "container=docker", image,
		// Credentials are mounted for the service and must be seen outside its namespace.
		"sh", "-c", "mount --make-rshared / && exec /usr/lib/systemd/systemd --unit=basic.target")
	t.Cleanup(func() {
		_ = exec.Command(docker, "rm", "--force", h.id).Run()
		_ = exec.Command(docker, "rmi", "--force", image).Run()
	})
	h.await("systemd runs", func() bool { out, _ := h.try("systemctl is-system-running"); return out == "running" })
	return h
}

func (h *host) try(command string) (string, error) {
	out, err := exec.Command("docker", "exec", h.id, "sh", "-c", command).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (h *host) run(command string) string {
	h.t.Helper()
	out, err := h.try(command)
	if err != nil {
		log, _ := h.try("journalctl --no-pager --lines 40")
		h.t.Fatalf("%s: %v\n%s\n%s", command, err, out, log)
	}
	return out
}

// get is what a user's call gives.
func (h *host) get(uid, method string) string {
	out, _ := h.try(asUser(uid) + "/opt/peer get " + method + " https://api.github.com/user")
	return out
}

// asUser begins a command of another user that is set up to call through Attaché.
func asUser(uid string) string {
	return "HTTPS_PROXY=http://127.0.0.1:15001 SSL_CERT_FILE=/run/attache/trust/bundle.pem setpriv --reuid " + uid + " --clear-groups "
}

func (h *host) await(message string, what func() bool) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !what() {
		select {
		case <-deadline:
			log, _ := h.try("journalctl --no-pager --lines 40")
			h.t.Fatalf("not so within a minute: %s\n%s", message, log)
		case <-tick.C:
		}
	}
}

// TestSystemdService: deploy/systemd under a real systemd. In its sandbox the service gets ready,
// knows callers by user, keeps key and secret to itself, and no call fails while it is reloaded and
// restarted; when it hangs, the watchdog restarts it.
func TestSystemdService(t *testing.T) {
	t.Parallel()
	if os.Getenv(envSystemd) == "" {
		t.Skip(envSystemd + ": not set")
	}
	ca, one, two := newAuthority(t), newCanary(), newCanary()
	cert, key := pemPair(t, ca.leaf(t, time.Now().Add(24*time.Hour), "api.github.com"))
	unit := func(name string) string { return string(mustRead(t, root+"/deploy/systemd/"+name)) }
	const attach = "attach: {bearer: github-token}"
	h := bootHost(t, map[string]string{
		"etc/systemd/system/attache.service": strings.ReplaceAll(unit("attache.service"), "/usr/local/bin/attache", "/opt/attache"),
		"etc/systemd/system/attache.socket":  unit("attache.socket"),
		"etc/systemd/system/api.service":     "[Service]\nExecStart=/opt/peer upstream /opt/cert.pem /opt/key.pem\n",
		"etc/attache.sysusers":               unit("attache.sysusers"),
		"etc/attache/attache.yaml":           strings.Replace(unit("attache.yaml"), attach, attach+`, upstream: {connect_to: "127.0.0.1:8443", ca: /etc/attache/ca.pem}`, 1),
		"etc/attache/ca.pem":                 string(mustRead(t, ca.file)),
		"etc/attache-secrets/github-token":   one,
		"opt/cert.pem":                       string(cert), "opt/key.pem": string(key),
	})
	h.run("systemd-sysusers /etc/attache.sysusers && systemctl start api attache.socket attache")
	answer := func(token string) string { return "200 " + fingerprint("Bearer "+token) }
	h.says(answer(one), h.get("1000", "GET"))
	h.says("method_not_allowed", h.get("1000", "DELETE"))
	h.says("caller_not_allowed", h.get("1001", "GET"))
	for _, path := range []string{"/run/credentials/attache.service/github-token", "/etc/attache-secrets/github-token", "/var/lib/attache/ca"} {
		out, _ := h.try(asUser("1000") + "/opt/peer read " + path)
		h.says("permission denied", out)
	}

	h.run(asUser("1000") + "/opt/peer loop https://api.github.com/user >/tmp/loop 2>&1 &")
	h.run("systemctl reload attache && echo version: 2 >/etc/attache/wrong.yaml && systemctl reload attache")
	status := func() string { return h.run("systemctl show --property StatusText attache") }
	h.await("the status says what is wrong", func() bool { return strings.Contains(status(), "the last reload was rejected") })
	h.run("rm /etc/attache/wrong.yaml && systemctl reload attache && printf %s '" + two + "' >/etc/attache-secrets/github-token && systemctl restart attache")
	h.await("the loop uses the new version", func() bool { return strings.HasSuffix(h.run("tail -n 1 /tmp/loop"), answer(two)) })
	if bad := h.run("grep -v '^200 ' /tmp/loop || true"); bad != "" {
		t.Errorf("calls failed during reloads and a restart:\n%s", bad)
	}

	h.run("mkdir /run/systemd/system/attache.service.d && printf '[Service]\\nWatchdogSec=2s\\n' >/run/systemd/system/attache.service.d/soon.conf && systemctl daemon-reload && systemctl restart attache")
	h.run("kill -STOP $(systemctl show --property MainPID --value attache)")
	h.await("the watchdog restarts it", func() bool {
		return h.run("systemctl show --property NRestarts --property ActiveState attache") == "NRestarts=1\nActiveState=active"
	})
	h.says(answer(two), h.get("1000", "GET"))
	h.run("systemctl stop attache.socket attache")
	h.says("Result=success", h.run("systemctl show --property Result attache"))
	log := h.run("journalctl --no-pager")
	for _, secret := range []string{one, two} {
		searchCanary(t, "the journal", []byte(log), secret)
	}
}

func (h *host) says(want, got string) {
	h.t.Helper()
	if !strings.Contains(got, want) {
		h.t.Errorf("%q, want %q", got, want)
	}
}
