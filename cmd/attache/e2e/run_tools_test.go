package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Tools under `attache run`, and clients that are tested by a tool that is made with them.

func phpUnderRun(code string) func(t *testing.T) {
	return func(t *testing.T) {
		php, r := need(t, "php"), plainRunner(t)
		if exec.Command(php, "-r", `exit(function_exists("curl_init") ? 0 : 1);`).Run() != nil {
			absent(t, "PHP's curl: not installed")
		}
		if strings.Contains(code, "Guzzle") {
			needFile(t, "/usr/share/php/GuzzleHttp/autoload.php")
		}
		out := r.run(php, "-r", code)
		for line := range strings.Lines(out) {
			r.prints(line)
		}
		if out == "" {
			t.Error("printed nothing")
		}
	}
}

const (
	phpCurl = `$c = curl_init("https://api.test/v1"); curl_setopt($c, CURLOPT_FAILONERROR, true); curl_exec($c) || die(curl_error($c));`

	phpGuzzle = `require "GuzzleHttp/autoload.php"; echo (new GuzzleHttp\Client)->get("https://api.test/v1")->getBody();`

	// As docs/clients.md has it.
	phpStreams = `echo file_get_contents("https://api.test/v1", false, stream_context_create(["http" =>
		["proxy" => "tcp://" . parse_url(getenv("HTTPS_PROXY"), PHP_URL_HOST) . ":" . parse_url(getenv("HTTPS_PROXY"), PHP_URL_PORT)]]));`
)

// reqwestUnderRun has Debian's tealdeer fetch its pages: it is made with reqwest and rustls-native-certs, of
// the releases that take a CA with name constraints for an unknown one (github.com/rustls/webpki/issues/3).
func reqwestUnderRun(t *testing.T) {
	tldr := need(t, "tldr")
	pages := zipped(t, map[string]string{"tldr-main/pages/common/left.md": "# left\n\n> Left one-point-nought.\n"})
	rule := strings.ReplaceAll(runRule, "api.test", "tldr.sh") + "ca: {constraints: off}\n"
	r := newRunner(t, rule, siteOptions{Names: []string{"tldr.sh"}, Handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, pages)
	}})
	if out := r.run(tldr, "--update"); !strings.Contains(out, "Successfully updated") {
		t.Errorf("printed %q", out)
	}
}

func kubectlUnderRun(t *testing.T) {
	kubectl, r := need(t, "kubectl"), plainRunner(t)
	r.write("kubeconfig", `apiVersion: v1
kind: Config
current-context: made-up
contexts: [{name: made-up, context: {cluster: made-up, user: made-up}}]
users: [{name: made-up, user: {token: placeholder}}]
clusters: [{name: made-up, cluster: {server: "https://api.test"}}]
`)
	r.prints(r.run(kubectl, "--kubeconfig", "kubeconfig", "get", "--raw", "/v1"))
}

func podmanUnderRun(t *testing.T) {
	podman := need(t, "podman")
	r := newRunner(t, runRule, siteOptions{Handler: imageRegistry})
	dir := shortDir(t)
	out := r.run(podman, "--root", dir+"/root", "--runroot", dir+"/run", "--storage-driver", "vfs", "pull", "--quiet", "api.test/left:1.0.0")
	if id := strings.TrimSpace(out); !strings.HasSuffix(id, fingerprint(imageConfig)) {
		t.Errorf("printed %q", out)
	}
}

// dockerdUnderRun has a daemon of its own pull.
func dockerdUnderRun(t *testing.T) {
	needRoot(t)
	need(t, "dockerd")
	need(t, "docker")
	r := newRunner(t, runRule, siteOptions{Handler: imageRegistry})
	r.write("pull.sh", fmt.Sprintf(`
cd %s
export DOCKER_HOST=unix://$PWD/s
echo '{"data-root": "'$PWD/data'", "exec-root": "'$PWD/exec'", "pidfile": "'$PWD/pid'", "storage-driver": "vfs",
	"bridge": "none", "iptables": false, "ip6tables": false}' >config
dockerd --host $DOCKER_HOST --config-file config >log 2>&1 &
until docker info >/dev/null 2>&1; do kill -0 $! || exit; sleep 0.2; done
docker pull -q api.test/left:1.0.0 && docker image inspect -f '{{.Id}}' api.test/left:1.0.0 || cat log
kill $!
wait
umount data 2>/dev/null || true # where the daemon could not tell that it had mounted it, as in a chroot
`, shortDir(t)))
	if out := r.run("sh", "pull.sh"); !strings.Contains(out, fingerprint(imageConfig)) {
		t.Errorf("printed %s", out)
	}
}

// shortDir is for sockets, whose paths are short, and for Podman, which therefore wants the same.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	ok(t, err)
	t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })
	return dir
}

const (
	imageConfig   = `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`
	imageManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// imageRegistry has the image left:1.0.0, of no layer.
func imageRegistry(w http.ResponseWriter, r *http.Request) {
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"layers":[],
		"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":%d,"digest":"sha256:%s"}}`,
		imageManifest, len(imageConfig), fingerprint(imageConfig))
	text := ""
	switch r.URL.Path {
	case "/v2/":
		text = "{}"
	case "/v2/left/manifests/1.0.0", "/v2/left/manifests/sha256:" + fingerprint(manifest):
		text = manifest
		w.Header().Set("Content-Type", imageManifest)
		w.Header().Set("Docker-Content-Digest", "sha256:"+fingerprint(manifest))
	case "/v2/left/blobs/sha256:" + fingerprint(imageConfig):
		text = imageConfig
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	_, _ = io.WriteString(w, text)
}
