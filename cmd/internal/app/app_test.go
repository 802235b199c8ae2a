package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// patience is how long a test waits for what must come: only what fails waits for its end.
const patience = 30 * time.Second

// site is an upstream on loopback with TLS for example.com.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	auth []string
}

func newSite(t *testing.T, h http.HandlerFunc) *site {
	s := &site{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.auth = append(s.auth, r.Header.Get("Authorization"))
		s.mu.Unlock()
		if h != nil {
			h(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.auth)
}

// running is an App in a directory of its own.
type running struct {
	*App
	t      *testing.T
	dir    string
	cancel context.CancelFunc
	done   chan error
	events events
}

type events struct {
	mu  sync.Mutex
	all []audit.Event
}

func (e *events) Record(ev *audit.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, *ev)
}

func (e *events) types() []audit.Type {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []audit.Type
	for _, ev := range e.all {
		all = append(all, ev.Type)
	}
	return all
}

// launch runs an App on config, in which @dir and @site are replaced.
func launch(t *testing.T, s *site, config string, files map[string]string) *running {
	t.Helper()
	return launchPrepared(t, s, config, files, func(*App) {})
}

// launchPrepared is launch with a look at the App before it runs.
func launchPrepared(t *testing.T, s *site, config string, files map[string]string, prepare func(*App)) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), done: make(chan error, 1)}
	if s != nil {
		r.write("site.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	}
	for name, content := range files {
		r.write(name, content)
	}
	r.configure(s, config)
	a, err := New(filepath.Join(r.dir, "attache.yaml"), Options{
		Sink: &r.events, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		Getenv: func(string) (string, bool) { return "", false },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.App = a
	prepare(a)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.done <- a.Run(ctx) }()
	select {
	case <-a.Ready():
	case err := <-r.done:
		t.Fatalf("did not start: %v", err)
	}
	t.Cleanup(func() { r.end() })
	if _, ok := files["key"]; ok {
		await(t, "started", a.Started) // a busy machine may take longer than listening waits
	}
	return r
}

// end stops the App and gives what Run returned.
func (r *running) end() error {
	r.cancel()
	err := <-r.done
	r.done <- err
	return err
}

func (r *running) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) configure(s *site, config string) {
	r.t.Helper()
	addr := ""
	if s != nil {
		addr = s.Listener.Addr().String()
	}
	r.write("attache.yaml", strings.NewReplacer("@dir", r.dir, "@site", addr).Replace(config))
}

// client calls through the proxy.
func (r *running) client() *http.Client {
	r.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CAPEM())
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: r.Addr("proxy").String()}),
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// get gives status and body.
func get(t *testing.T, c *http.Client, address string) (int, string) {
	t.Helper()
	res, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// await waits for what to hold.
func await(t *testing.T, message string, what func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !what() {
		select {
		case <-limit:
			t.Fatalf("not so within %s: %s", patience, message)
		case <-tick.C:
		}
	}
}

const basic = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0"}
secrets: {key: {file: @dir/key}}
audit: {file: @dir/audit.jsonl}
rules:
  - {id: site, hosts: example.com, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @dir/site.pem}}
`

func TestCallLeavesWithCredential(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one\n"})
	if status, body := get(t, r.client(), "https://example.com/"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if got := s.received(); !slices.Equal(got, []string{"Bearer made-up-key-one"}) {
		t.Errorf("received %q", got)
	}
	if status, _ := get(t, http.DefaultClient, "http://"+r.Addr("admin").String()+"/readyz"); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	types := r.events.types()
	if !slices.Contains(types, audit.Started) || types[len(types)-1] != audit.Stopped {
		t.Errorf("events %v: want started, and stopped last", types)
	}
	if c, err := net.Dial("tcp", r.Addr("proxy").String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

func TestMissingSecretDoesNotHoldUpListening(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, nil)
	admin := "http://" + r.Addr("admin").String()
	status, body := get(t, r.client(), "https://example.com/")
	if status != 503 || !strings.Contains(body, "credential_missing") {
		t.Errorf("%d %s, want 503 credential_missing", status, body)
	}
	if status, _ := get(t, http.DefaultClient, admin+"/readyz"); status != 503 {
		t.Errorf("readyz %d, want 503", status)
	}
	if got := s.received(); len(got) != 0 {
		t.Errorf("the upstream received %q", got)
	}
	r.write("key", "made-up-key-one")
	await(t, "ready", func() bool {
		status, _ := get(t, http.DefaultClient, admin+"/readyz")
		return status == 200
	})
	if status, body := get(t, r.client(), "https://example.com/"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// slowSource answers when released.
type slowSource struct{ release chan struct{} }

func (s slowSource) Read(ctx context.Context) ([]byte, error) {
	select {
	case <-s.release:
		return []byte("made-up-key-one"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (slowSource) Paths() []string  { return nil }
func (slowSource) Describe() string { return "slow" }

func TestSlowSecretDoesNotHoldUpListening(t *testing.T) {
	s, src := newSite(t, nil), slowSource{make(chan struct{})}
	r := launchPrepared(t, s, basic, nil, func(a *App) { a.now.cfg.Secrets[0].Source = src })
	admin := "http://" + r.Addr("admin").String()
	status, body := get(t, r.client(), "https://example.com/")
	if status != 503 || !strings.Contains(body, "credential_missing") || !strings.Contains(body, "not read yet") {
		t.Errorf("%d %s, want 503 credential_missing, not read yet", status, body)
	}
	if status, _ := get(t, http.DefaultClient, admin+"/readyz"); status != 503 {
		t.Errorf("readyz %d, want 503", status)
	}
	close(src.release)
	await(t, "ready", func() bool {
		status, _ := get(t, http.DefaultClient, admin+"/readyz")
		return status == 200
	})
	if status, body := get(t, r.client(), "https://example.com/"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestSecretRotationIsUsed(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-1"})
	c := r.client()
	for _, key := range []string{"made-up-key-2", "made-up-key-3", "made-up-key-4"} { // never one alone
		r.replace("key", key)
		await(t, key+" is used", func() bool {
			get(t, c, "https://example.com/")
			got := s.received()
			return got[len(got)-1] == "Bearer "+key
		})
	}
}
