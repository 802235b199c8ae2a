package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runner starts commands by `attache run`, in an environment whose variables would all lead clients astray.
type runner struct {
	t      *testing.T
	dir    string
	site   *site
	key    string
	config string
	env    []string
}

const runRule = `version: 1
secrets: {key: {file: key}}
rules:
  - {id: api, hosts: api.test, attach: {bearer: key}, client_env: {API_TEST_KEY: placeholder}, upstream: {connect_to: "@site", ca: "@siteca"}}
`

// newRunner makes a project whose configuration is allowed.
func newRunner(t *testing.T, config string, o siteOptions) *runner {
	t.Helper()
	r := &runner{t: t, dir: t.TempDir(), site: newSite(t, o), key: newCanary()}
	r.config = strings.NewReplacer("@siteca", r.site.ca, "@site", r.site.addr).Replace(config)
	r.write("attache.yaml", r.config)
	r.write("key", r.key+"\n")
	r.env = append(cleanEnv(t), "XDG_STATE_HOME="+filepath.Join(r.dir, "state"), "TMPDIR="+r.dir)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "npm_config_https_proxy"} {
		r.env = append(r.env, name+"=http://127.0.0.1:1")
	}
	r.env = append(r.env, "NO_PROXY=*", "no_proxy=*", "SSL_CERT_FILE=/nowhere", "REQUESTS_CA_BUNDLE=/nowhere", "PIP_CERT=/nowhere")
	out, err := r.attache("allow")
	if err != nil {
		t.Fatalf("allow: %v\n%s", err, out)
	}
	return r
}

func (r *runner) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	ok(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(r.t, os.WriteFile(path, []byte(content), 0o600))
}

// attache runs the binary and returns all that it printed. None of it may hold the key.
func (r *runner) attache(args ...string) (string, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Getenv(envBinary), args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = r.dir, r.env, 5*time.Second
	b, err := cmd.CombinedOutput()
	searchCanary(r.t, "what attache run printed", b, r.key)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, b)
	}
	return string(b), err
}

// run runs a command that must succeed, and holds that its calls carried the key.
func (r *runner) run(command ...string) string {
	r.t.Helper()
	out, err := r.attache(append([]string{"run", "-q", "--"}, command...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	all := r.site.requests()
	if len(all) == 0 {
		r.t.Fatalf("no call reached the API\n%s", out)
	}
	for _, s := range all {
		if got := s.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+r.key {
			r.t.Errorf("%s %s: the API got %d Authorization values, or another one", s.Method, s.URI, len(got))
		}
	}
	return out
}

// prints holds that what was printed holds what the API answered to the key.
func (r *runner) prints(out string) {
	r.t.Helper()
	if want := "auth-sha256=" + fingerprint("Bearer "+r.key); !strings.Contains(out, want) {
		r.t.Errorf("printed %q, want %q in it", out, want)
	}
}
