package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// composed is one of deploy/compose's files, running for real: its apps and the APIs are played by
// testdata/peer, in containers of their own.
type composed struct {
	t       *testing.T
	ctx     context.Context
	project string
	dir     string   // of the copy
	base    []string // docker compose with its files
	env     []string
	secrets []string
}

// composeCommand is Compose as a plugin of docker, or the program of old.
func composeCommand(t *testing.T) []string {
	t.Helper()
	docker := need(t, "docker")
	if exec.Command(docker, "compose", "version").Run() == nil {
		return []string{docker, "compose"}
	}
	return []string{need(t, "docker-compose")}
}

// compose brings up a copy of deploy/compose/VARIANT with the overlay. The host's rule goes to the
// upstream's container; files are written beside compose.yaml. Whatever happens, it is taken down.
func compose(t *testing.T, variant, overlay, host string, files map[string]string, secrets ...string) *composed {
	t.Helper()
	image := os.Getenv("ATTACHE_E2E_IMAGE")
	if image == "" {
		absent(t, "ATTACHE_E2E_IMAGE: no image was built; .ci/image builds one")
	}
	source := filepath.Join(root, "deploy/compose", variant)
	project := "attache-e2e-" + filepath.Base(source)
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	t.Cleanup(cancel)
	c := &composed{t: t, ctx: ctx, project: project, dir: t.TempDir(), secrets: secrets}
	c.prepare(source, host, files)
	c.write("compose.yaml", string(mustRead(t, filepath.Join(source, "compose.yaml"))))
	c.write("overlay.yaml", overlay)
	c.base = append(composeCommand(t), "--project-name", project,
		"--file", filepath.Join(c.dir, "compose.yaml"), "--file", filepath.Join(c.dir, "overlay.yaml"))
	c.env = append(os.Environ(), "ATTACHE_IMAGE="+image, "PEER_IMAGE="+peerImage(t), "COMPOSE_HTTP_TIMEOUT=120")
	down := func() { // of an earlier run that was killed, too
		cmd := exec.Command(c.base[0], append(slices.Clone(c.base[1:]), "down", "--volumes", "--remove-orphans", "--timeout", "5")...)
		cmd.Env = c.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	}
	down()
	t.Cleanup(down)
	c.compose("up", "--detach", "--no-build")
	return c
}

// prepare writes what is mounted: the shipped configuration with its way to the upstream added, the
// upstream's certificate, and the secrets.
func (c *composed) prepare(source, host string, files map[string]string) {
	c.t.Helper()
	ca := newAuthority(c.t)
	cert, key := pemPair(c.t, ca.leaf(c.t, time.Now().Add(24*time.Hour), host, "pinned.test"))
	config := string(mustRead(c.t, filepath.Join(source, "config", "attache.yaml")))
	const way = `upstream: {connect_to: "upstream:8443", ca: /etc/attache/upstream-ca.pem}}`
	lines := strings.Split(config, "\n")
	for i, line := range lines {
		if strings.Contains(line, "hosts: "+host) && strings.Contains(line, "attach:") {
			lines[i] = strings.TrimSuffix(line, "}") + ", " + way
		}
	}
	if config = strings.Join(lines, "\n"); !strings.Contains(config, way) {
		c.t.Fatalf("no rule of %s attaches for %s", source, host)
	}
	if files["pinned"] != "" {
		config = strings.Replace(config, "secrets: {", "secrets: {pinned: {file: /run/pinned}, ", 1)
		config = strings.Replace(config, "rules:\n", "rules:\n  - {id: pinned, hosts: pinned.test, callers: app, attach: {bearer: pinned}, "+way+"\n", 1)
	}
	c.write("config/attache.yaml", config)
	c.write("config/upstream-ca.pem", string(mustRead(c.t, ca.file)))
	c.write("tls/cert.pem", string(cert))
	c.write("tls/key.pem", string(key))
	for name, content := range files {
		c.write(name, content)
	}
}

// write replaces a file as careful writers do, readable by the containers' users.
func (c *composed) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	ok(c.t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(c.t, os.WriteFile(path+".new", []byte(content), 0o644))
	ok(c.t, os.Chmod(path+".new", 0o644))
	ok(c.t, os.Rename(path+".new", path))
}

// run runs a program and returns what it printed.
func (c *composed) run(args ...string) (string, error) {
	cmd := exec.CommandContext(c.ctx, args[0], args[1:]...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (c *composed) compose(args ...string) string {
	c.t.Helper()
	out, err := c.run(append(slices.Clone(c.base), args...)...)
	if err != nil {
		logs, _ := c.run(append(slices.Clone(c.base), "logs", "--no-color", "--tail", "40")...)
		c.t.Fatalf("docker compose %s: %v\n%s\n%s", strings.Join(args, " "), err, out, logs)
	}
	return out
}

func (c *composed) docker(args ...string) string {
	c.t.Helper()
	out, err := c.run(append([]string{"docker"}, args...)...)
	if err != nil {
		c.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// container is the id of a service's container.
func (c *composed) container(service string) string {
	c.t.Helper()
	id := c.compose("ps", "--quiet", service)
	if id == "" {
		c.t.Fatalf("%s has no container", service)
	}
	return id
}

// peer runs one command of testdata/peer in a service's container.
func (c *composed) peer(service string, args ...string) string {
	c.t.Helper()
	out, err := c.run(append([]string{"docker", "exec", c.container(service), "/peer"}, args...)...)
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		c.t.Fatal(err)
	}
	return out
}

// says fails the test unless a command of the peer prints something that holds want.
func (c *composed) says(want, service string, args ...string) {
	c.t.Helper()
	if out := c.peer(service, args...); !strings.Contains(out, want) {
		c.t.Errorf("%s %s: %q, want %q", service, strings.Join(args, " "), out, want)
	}
}

// await waits for what to hold, a minute at most.
func (c *composed) await(message string, what func() bool) {
	c.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !what() {
		select {
		case <-deadline:
			c.t.Fatalf("not so within a minute: %s\n%s", message, tail([]byte(c.logs("attache"))))
		case <-tick.C:
		}
	}
}

func (c *composed) logs(service string) string {
	c.t.Helper()
	return c.compose("logs", "--no-color", service)
}

// finish takes it down and looks for the secrets in all that was logged, and for anything left behind.
func (c *composed) finish() {
	c.t.Helper()
	logs := c.compose("logs", "--no-color")
	for _, secret := range c.secrets {
		searchCanary(c.t, "the containers' logs", []byte(logs), secret)
	}
	c.compose("down", "--volumes", "--timeout", "10")
	for what, list := range map[string][]string{
		"containers": {"ps", "--all"}, "volumes": {"volume", "ls"}, "networks": {"network", "ls"},
	} {
		if left := c.docker(append(list, "--quiet", "--filter", "label=com.docker.compose.project="+c.project)...); left != "" {
			c.t.Errorf("%s left behind: %s", what, left)
		}
	}
}

// peerImage makes an image of testdata/peer and nothing else.
func peerImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "peer"), "./testdata/peer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name := "attache-e2e-peer:" + strings.ToLower(filepath.Base(filepath.Dir(dir)))
	pack := exec.Command("tar", "-C", dir, "-c", "peer")
	archive, err := pack.Output()
	ok(t, err)
	load := exec.Command("docker", "import", "--change", `ENTRYPOINT ["/peer"]`, "--change", "USER 1000:1000", "-", name)
	load.Stdin = bytes.NewReader(archive)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", name).Run() })
	return name
}

// upstreamService is the API of every variant, on the network that only Attaché is on too.
const upstreamService = `
  upstream:
    image: ${PEER_IMAGE}
    command: [upstream, /tls/cert.pem, /tls/key.pem]
    volumes: ["./tls:/tls:ro"]
`

// TestCompose is the life of deploy/compose: up, a request, refusals, rotations, restarts of Attaché
// alone under requests, a stop while an answer streams, and down.
func TestCompose(t *testing.T) {
	t.Parallel()
	token, pinned := newCanary(), newCanary()
	c := compose(t, ".", `
services:
  app:
    image: ${PEER_IMAGE}
    command: [loop, "https://api.github.com/user"]
  attache:
    image: ${ATTACHE_IMAGE}
    volumes: ["./pinned:/run/pinned:ro"]
`+upstreamService+`    networks: [outside]
`, "api.github.com", map[string]string{"secrets/github-token": token + "\n", "pinned": pinned}, token, pinned)

	const url = "https://api.github.com/user"
	answer := func(token string) string { return "200 " + fingerprint("Bearer "+token) }
	c.says(answer(token), "app", "get", "GET", url)
	c.says("method_not_allowed", "app", "get", "DELETE", url)
	c.says("attache no_rule", "app", "get", "GET", "https://example.com/")
	c.noOtherWay("app", url)
	c.confined()
	c.rotates(url, token, answer)
	c.pinnedInode()
	c.restarts()
	c.stopsWhileStreaming()
	c.finish()
}

// noOtherWay: the app's only network is internal, and a direct call fails by name and by address, while
// a container on the upstream's network gets as far as its certificate.
func (c *composed) noOtherWay(app, url string) {
	c.t.Helper()
	c.says("error: ", app, "direct", "GET", url)
	direct := "https://" + c.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.container("upstream")) + ":8443/"
	c.says("certificate", "upstream", "direct", "GET", direct)
	if out := c.peer(app, "direct", "GET", direct); !strings.HasPrefix(out, "error: ") || strings.Contains(out, "certificate") {
		c.t.Errorf("%s reached the upstream around Attaché: %s", app, out)
	}
	networks := strings.Fields(c.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.NetworkID}} {{end}}", c.container(app)))
	if len(networks) != 1 || c.docker("network", "inspect", "--format", "{{.Internal}}", networks[0]) != "true" {
		c.t.Errorf("%s has %d networks, want one that is internal", app, len(networks))
	}
}

// confined: Attaché's container can do little, and the app's cannot reach the CA's key nor change
// what it trusts.
func (c *composed) confined() {
	c.t.Helper()
	const format = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.Config.User}} {{.State.Health.Status}}"
	if got, want := c.docker("inspect", "--format", format, c.container("attache")), "true [ALL] [no-new-privileges] 65532:65532 healthy"; got != want {
		c.t.Errorf("attache: %s, want %s", got, want)
	}
	if got, want := c.docker("inspect", "--format", "{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}", c.container("app")), "[ALL] [no-new-privileges]"; got != want {
		c.t.Errorf("app: %s, want %s", got, want)
	}
	c.says("read-only file system", "app", "write", "/trust/ca.pem")
	c.says("no such file", "app", "read", "/run/attache/ca")
	if got := c.docker("inspect", "--format", "{{range .Mounts}}{{.Destination}} {{.RW}};{{end}}", c.container("app")); got != "/trust false;" {
		c.t.Errorf("the app's volumes: %s", got)
	}
}

// rotates: three rotations in the mounted directory arrive, and no call of the app's loop fails.
func (c *composed) rotates(url, old string, answer func(string) string) {
	c.t.Helper()
	for range 3 {
		next := newCanary()
		c.secrets = append(c.secrets, next)
		c.write("secrets/github-token", next+"\n")
		c.await("the new token is used", func() bool {
			got := c.peer("app", "get", "GET", url)
			if got != answer(old) && got != answer(next) {
				c.t.Fatalf("during a rotation: %s", got)
			}
			return got == answer(next)
		})
		old = next
	}
	if out := c.logs("app"); strings.Contains(out, "error:") || !strings.Contains(out, answer(old)) {
		c.t.Errorf("the app's calls so far:\n%s", tail([]byte(out)))
	}
}

// pinnedInode: a file that is mounted by itself cannot rotate, and that is told.
func (c *composed) pinnedInode() {
	c.t.Helper()
	c.write("pinned", newCanary())
	c.await("the single-file mount is reported", func() bool {
		return strings.Contains(c.logs("attache"), "pinned_inode")
	})
}

// restarts: the app goes on with the roots that it read at its start when Attaché alone is restarted
// or made anew, since the CA's key outlives the container.
func (c *composed) restarts() {
	c.t.Helper()
	for _, how := range [][]string{
		{"restart", "--timeout", "30", "attache"},
		{"up", "--detach", "--no-build", "--no-deps", "--force-recreate", "attache"},
	} {
		c.compose(how...)
		before := len(c.logs("app"))
		c.await("the app's calls work after "+how[0], func() bool {
			return strings.Contains(c.logs("app")[before:], " 200 ")
		})
	}
	if out := c.logs("app"); strings.Contains(out, "x509") || strings.Contains(out, "certificate") {
		c.t.Errorf("the app lost its trust:\n%s", tail([]byte(out)))
	}
}

// stopsWhileStreaming: at SIGTERM the answer under way is let finish, and the exit code is 0.
func (c *composed) stopsWhileStreaming() {
	c.t.Helper()
	app, attache, upstream := c.container("app"), c.container("attache"), c.container("upstream")
	cmd := exec.CommandContext(c.ctx, "docker", "exec", app, "/peer", "stream", "https://api.github.com/stream")
	out := &recorder{}
	cmd.Stdout, cmd.Stderr = out, out
	ok(c.t, cmd.Start())
	c.await("the stream begins", func() bool { return strings.Contains(out.String(), "data: event") })
	stopped := make(chan error, 1)
	go func() {
		_, err := c.run(append(slices.Clone(c.base), "stop", "attache")...)
		stopped <- err
	}()
	c.await("attache heard of it", func() bool { return strings.Contains(c.logs("attache"), "msg=stopping signal=terminated") })
	c.docker("kill", "--signal", "USR1", upstream)
	if err := cmd.Wait(); err != nil {
		c.t.Errorf("the stream: %v\n%s", err, tail(out.Bytes()))
	}
	ok(c.t, <-stopped)
	if code := c.docker("inspect", "--format", "{{.State.ExitCode}}", attache); code != "0" {
		c.t.Errorf("exit code %s", code)
	}
}

// TestComposeSeveral: one Attaché for several apps; each calls what its token allows.
func TestComposeSeveral(t *testing.T) {
	t.Parallel()
	shop, reports, key := "shop-"+fingerprint(newCanary())[:32], "reports-"+fingerprint(newCanary())[:32], newCanary()
	c := compose(t, "several", `
services:
  shop:
    image: ${PEER_IMAGE}
    command: [loop, "https://api.stripe.com/v1/balance"]
  reports:
    image: ${PEER_IMAGE}
    command: [loop, "https://api.stripe.com/v1/balance"]
  attache:
    image: ${ATTACHE_IMAGE}
`+upstreamService+`    networks: [outside]
`, "api.stripe.com", map[string]string{
		"secrets/shop-token": shop, "secrets/reports-token": reports, "secrets/stripe-key": key, "secrets/github-token": newCanary(),
		"shop.env": "HTTPS_PROXY=http://shop:" + shop + "@attache:15001\n", "reports.env": "HTTPS_PROXY=http://reports:" + reports + "@attache:15001\n",
	}, shop, reports, key)
	const url = "https://api.stripe.com/v1/balance"
	c.says("200 "+fingerprint("Bearer "+key), "shop", "get", "GET", url)
	c.says("denied_by_rule", "shop", "get", "POST", "https://api.stripe.com/v1/refunds")
	c.says("caller_not_allowed", "reports", "get", "GET", url)
	c.noOtherWay("shop", url)
	c.finish()
}

// TestComposeShared: an app in Attaché's network is known by its user.
func TestComposeShared(t *testing.T) {
	t.Parallel()
	token := newCanary()
	c := compose(t, "shared", `
services:
  app:
    image: ${PEER_IMAGE}
    command: [loop, "https://api.github.com/user"]
  attache:
    image: ${ATTACHE_IMAGE}
`+upstreamService, "api.github.com", map[string]string{"secrets/github-token": token}, token)
	const url = "https://api.github.com/user"
	c.says("200 "+fingerprint("Bearer "+token), "app", "get", "GET", url)
	other, err := c.run("docker", "exec", "--user", "1001", c.container("app"), "/peer", "get", "GET", url)
	if err != nil || !strings.Contains(other, "caller_not_allowed") {
		t.Errorf("another user: %s, %v", other, err)
	}
	c.finish()
}
