package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a running `attache serve`.
type server struct {
	t            *testing.T
	dir          string // of its configuration and secrets
	config       string // file
	proxy, admin string // host:port
	cmd          *exec.Cmd
	env, args    []string
	pass         []*os.File // listening sockets to pass on, as a service manager does
	out, err     *recorder
	received     *recorder     // what clients got, to be searched for secrets
	exited       chan struct{} // closed when the process is gone
	exit         error
	secrets      []string
	replace      *strings.Replacer
	dirty        bool // stop does not expect exit code 0
}

type serveOptions struct {
	Config  string // in which @dir, @proxy, @admin and Vars are replaced
	Vars    map[string]string
	Secrets map[string]string // files @dir/NAME; their contents are searched for everywhere
	Files   map[string]string // likewise, but not secret
	Env     []string
	Args    []string   // of serve
	Pass    []*os.File // listening sockets to pass on, as a service manager does
	NoWait  bool       // do not wait for /readyz
}

// serve starts Attaché with the configuration and, unless the configuration has
// its own, listeners, a published CA and an audit file. When the test ends, it is
// stopped, and all that came out of it is searched for the secrets.
func serve(t *testing.T, o serveOptions) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), received: &recorder{}}
	s.config = filepath.Join(s.dir, "attache.yaml")
	ok(t, os.MkdirAll(filepath.Join(s.dir, "trust"), 0o755))
	for name, content := range o.Secrets {
		s.write(name, content)
		s.secret(content)
	}
	for name, content := range o.Files {
		s.write(name, content)
	}
	s.env, s.args, s.pass = append(cleanEnv(t), o.Env...), o.Args, o.Pass
	for attempt := 1; ; attempt++ {
		s.proxy, s.admin = freePort(t), freePort(t)
		s.reconfigure(o.Config, o.Vars)
		s.launch()
		if o.NoWait || s.ready() {
			break
		}
		if attempt == 3 || !strings.Contains(s.err.String(), "address already in use") {
			t.Fatalf("attache serve did not get ready (%v)\n%s\n%s", s.exit, s.err, s.out)
		}
	}
	t.Cleanup(s.finish)
	return s
}

// secret has everything searched for a value, one trailing newline excepted.
func (s *server) secret(value string) { s.secrets = append(s.secrets, strings.TrimSuffix(value, "\n")) }

// write replaces a file of the server's directory as careful writers do.
func (s *server) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	ok(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(s.t, os.WriteFile(path+".new", []byte(content), 0o600))
	ok(s.t, os.Rename(path+".new", path))
}

// reconfigure writes the configuration; what it lacks of listeners, CA and audit is added.
func (s *server) reconfigure(config string, vars map[string]string) {
	s.t.Helper()
	for key, line := range map[string]string{
		"version": "1",
		"listen":  "{proxy: @proxy, admin: @admin}",
		"ca":      "{publish: @dir/trust, state: @dir/ca}",
		"audit":   "{file: @dir/audit.jsonl}",
	} {
		if !regexp.MustCompile(`(?m)^` + key + `:`).MatchString(config) {
			config = strings.TrimRight(config, "\n") + "\n" + key + ": " + line + "\n"
		}
	}
	pairs := []string{"@dir", s.dir, "@proxy", s.proxy, "@admin", s.admin}
	names := make([]string, 0, len(vars))
	for name := range vars {
		names = append(names, name)
	}
	// @siteca before @site: a Replacer takes the first that fits.
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	for _, name := range names {
		pairs = append(pairs, "@"+name, vars[name])
	}
	s.replace = strings.NewReplacer(pairs...)
	s.write("attache.yaml", s.replace.Replace(config))
}

func (s *server) launch() {
	s.t.Helper()
	s.out, s.err, s.exited = &recorder{}, &recorder{}, make(chan struct{})
	s.cmd = exec.Command(os.Getenv(envBinary), append([]string{"serve", "--config", s.config}, s.args...)...)
	if len(s.pass) > 0 { // the shell knows the process's number before it is attache
		s.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_FDS=$1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; shift; exec "$@"`, "sh", strconv.Itoa(len(s.pass))}, s.cmd.Args...)...)
		s.cmd.ExtraFiles = s.pass
	}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.env, s.out, s.err
	ok(s.t, s.cmd.Start())
	cmd, exited := s.cmd, s.exited
	go func() { // ends with the process, for which finish waits
		s.exit = cmd.Wait()
		close(exited)
	}()
}

// ready waits for /readyz and reports whether it came.
func (s *server) ready() bool {
	return s.eventually(patience, func() bool {
		r, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// eventually waits until what holds, for at most limit or the process's life.
func (s *server) eventually(limit time.Duration, what func() bool) bool {
	deadline := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if what() {
			return true
		}
		select {
		case <-deadline:
			return false
		case <-s.exited:
			return what()
		case <-tick.C:
		}
	}
}

// await fails the test unless what comes to hold.
func (s *server) await(message string, what func() bool) {
	s.t.Helper()
	if !s.eventually(patience, what) {
		s.t.Fatalf("not so within %s: %s\nstderr:\n%s", patience, message, s.err)
	}
}

// signal sends a signal to the process.
func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	ok(s.t, s.cmd.Process.Signal(sig))
}

// reload has the process read its configuration, and waits until generation or error changed.
func (s *server) reload() {
	s.t.Helper()
	before := s.auditCount("config.reloaded", "config.rejected")
	s.signal(syscall.SIGHUP)
	s.await("a configuration event in the audit after SIGHUP", func() bool {
		return s.auditCount("config.reloaded", "config.rejected") > before
	})
}

// finish stops the process and searches all that it has said.
func (s *server) finish() {
	s.collect()
	select {
	case <-s.exited:
	default:
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // its stacks
		<-s.exited
		s.t.Errorf("attache did not stop within %s of SIGTERM\n%s", patience, s.err)
	}
	if s.exit != nil && !s.dirty {
		s.t.Errorf("attache: %v", s.exit)
	}
	for _, sign := range []string{"DATA RACE", "panic:", "goroutine 1 ["} {
		if bytes.Contains(s.err.Bytes(), []byte(sign)) {
			s.t.Errorf("stderr holds %q", sign)
		}
	}
	audit, _ := os.ReadFile(filepath.Join(s.dir, "audit.jsonl"))
	for _, secret := range s.secrets {
		if len(secret) < 8 {
			continue // found by chance
		}
		searchCanary(s.t, "stdout", s.out.Bytes(), secret)
		searchCanary(s.t, "stderr", s.err.Bytes(), secret)
		searchCanary(s.t, "the audit", audit, secret)
		searchCanary(s.t, "what clients got", s.received.Bytes(), secret)
	}
	if s.t.Failed() {
		s.t.Logf("stderr:\n%s\naudit:\n%s", tail(s.err.Bytes()), tail(audit))
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-8000):] }

// collect reads what the admin listener tells, so that it is searched too.
func (s *server) collect() {
	for _, path := range []string{"/metrics", "/readyz?verbose", "/api/config", "/api/rules", "/api/secrets", "/api/decisions", "/api/ca", "/api/identity", "/api/summary",
		"/api/explain?url=https://api.test/", "/"} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+path, nil)
		req.Header.Set("Accept", "text/html, */*") // the page at /
		if r, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(s.received, r.Body)
			_ = r.Body.Close()
		}
		cancel()
	}
}

// caFile is the published CA.
func (s *server) caFile() string { return filepath.Join(s.dir, "trust", "ca.pem") }

func (s *server) caPool() *x509.CertPool {
	s.t.Helper()
	b, err := os.ReadFile(s.caFile())
	ok(s.t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		s.t.Fatal("ca.pem holds no certificate")
	}
	return pool
}

// event is one line of the audit.
type event map[string]any

func (e event) str(key string) string {
	v, _ := e[key].(string)
	return v
}

// audit is every event so far.
func (s *server) audit() []event {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "audit.jsonl"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ok(s.t, err)
	var all []event
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatalf("audit line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func (s *server) auditCount(types ...string) int {
	n := 0
	for _, e := range s.audit() {
		if slices.Contains(types, e.str("type")) {
			n++
		}
	}
	return n
}

// refusal waits for an audited refusal with the reason.
func (s *server) refusal(reason string) event {
	s.t.Helper()
	var found event
	s.await("an audited refusal "+reason, func() bool {
		for _, e := range s.audit() {
			if e.str("reason") == reason {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// metric reads one sample by its name and labels as the exposition writes them.
func (s *server) metric(sample string) string {
	s.t.Helper()
	r, err := http.Get("http://" + s.admin + "/metrics")
	ok(s.t, err)
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	ok(s.t, err)
	for line := range strings.Lines(string(b)) {
		if value, found := strings.CutPrefix(line, sample+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// cleanEnv is an environment without the variables by which machines preset
// proxies and trusted roots.
func cleanEnv(t *testing.T) []string {
	home := t.TempDir()
	env := []string{"HOME=" + home, "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "no_proxy=", "NO_PROXY="}
	for _, keep := range []string{"PATH", "TMPDIR", "SYSTEMROOT", "JAVA_HOME", "PYENV_ROOT", "PYENV_VERSION"} {
		if v, found := os.LookupEnv(keep); found {
			env = append(env, keep+"="+v)
		}
	}
	return env
}

// program runs a client program in a clean environment and returns what it
// printed, which is searched for secrets like everything clients get.
func (s *server) program(env []string, name string, args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.t.TempDir()
	cmd.Env = append(cleanEnv(s.t), env...)
	cmd.WaitDelay = 5 * time.Second
	b, err := cmd.CombinedOutput()
	_, _ = s.received.Write(b)
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", name, err, b)
	}
	return string(b), err
}
