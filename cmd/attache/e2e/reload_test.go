package e2e

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const denyAll = "rules: [{id: closed, hosts: other.test, deny: true}]\n"

func TestRuleRemovedUnderTunnel(t *testing.T) {
	t.Parallel()
	up, key := newSite(t, siteOptions{Names: []string{"api.test", "pass.test"}}), newCanary()
	s := serve(t, serveOptions{Vars: siteVars(up), Secrets: map[string]string{"key": key}, Config: oneRule + `
  - {id: pass, hosts: pass.test, tunnel: true, upstream: {connect_to: "@site"}}
`})
	get := crlf("GET / HTTP/1.1", "Host: api.test")
	inner, h2 := s.tunnel("api.test"), s.h2("api.test")
	inner.send(get).response(http.MethodGet).fine(t)
	fields := []string{":method: GET", ":scheme: https", ":path: /", ":authority: api.test"}
	if a := h2.ask(fields...); a.status != "200" {
		t.Fatalf("HTTP/2: %v", a)
	}
	passed := s.dial()
	passed.connect("pass.test:443", "").fine(t)
	cfg := tlsFor("pass.test")
	cfg.RootCAs = newPool(t, up.ca)
	through, err := passed.over(cfg)
	ok(t, err)
	through.send(crlf("GET / HTTP/1.1", "Host: pass.test")).response(http.MethodGet).fine(t)
	before := len(up.requests())

	s.reconfigure(denyAll, nil)
	s.reload()
	through.closed()
	inner.send(get).response(http.MethodGet).refused(t, http.StatusForbidden, "no_rule")
	if a := h2.ask(fields...); a.status != "403" {
		t.Errorf("HTTP/2 after the reload: %v", a)
	}
	if n := len(up.requests()); n != before {
		t.Errorf("the upstream got %d requests after its rule was gone", n-before)
	}
}

func TestConfigReloadBroken(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	c := s.client(clientOptions{})
	const good = `attache_config_last_reload_successful`
	if got := s.metric(good); got != "1" {
		t.Errorf("%s is %q at the start", good, got)
	}
	for _, broken := range []string{
		"rules: [", "ruless: []\n", oneRule + "  - {id: api, hosts: api.test, deny: true}\n", // an id twice
		strings.Replace(oneRule, "bearer: key", "bearer: nokey", 1), "version: 2\n",
		"listen:\n  routes:\n    -\n", // as an editor may save it halfway
	} {
		s.reconfigure(broken, siteVars(up))
		s.reload()
		s.get(c, "https://api.test/").fine(t)
		attached(t, up, key)
		if got := s.metric(good); got != "0" {
			t.Errorf("%s is %q after %q", good, got, broken)
		}
	}
	s.reconfigure(strings.Replace(oneRule, "hosts: api.test", "hosts: api.test, paths: /only", 1), siteVars(up))
	s.reload()
	if got := s.metric(good); got != "1" {
		t.Errorf("%s is %q after it was mended", good, got)
	}
	s.get(c, "https://api.test/").refused(t, http.StatusForbidden, "path_not_allowed")
	s.get(c, "https://api.test/only").fine(t)
	if s.auditCount("config.rejected") == 0 || s.auditCount("config.reloaded") == 0 {
		t.Error("the audit does not tell of the reloads")
	}
}

// TestHostAddedByReload: a client that trusts what ca.pem then holds reaches a
// host that the first CA was not made for, and one with the old file still reaches the old host.
func TestHostAddedByReload(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, oneRule, siteOptions{Names: []string{"api.test", "new.test"}})
	old := s.client(clientOptions{})
	s.get(old, "https://api.test/").fine(t)
	s.reconfigure(strings.Replace(oneRule, "hosts: api.test", "hosts: [api.test, new.test]", 1), siteVars(up))
	s.reload()
	s.get(s.client(clientOptions{}), "https://new.test/").fine(t)
	attached(t, up, key)
	old.CloseIdleConnections()
	s.get(old, "https://api.test/").fine(t)
	s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
}

// TestShutdownUnderLoad: what is in flight at SIGTERM finishes, what never
// would is cut at the end of the grace, and the exit code is 0.
func TestShutdownUnderLoad(t *testing.T) {
	t.Parallel()
	var inFlight sync.WaitGroup
	release := make(chan struct{})
	up := newSite(t, siteOptions{Names: []string{"api.test", "pass.test"}, Handler: func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			_ = http.NewResponseController(w).Flush()
			inFlight.Done()
			<-r.Context().Done()
		case "/slow":
			inFlight.Done()
			<-release
			who(w, r)
		}
	}})
	s := serve(t, serveOptions{Vars: siteVars(up), Secrets: map[string]string{"key": newCanary()}, Config: `
limits: {shutdown_grace: 3s}` + oneRule + `
  - {id: pass, hosts: pass.test, tunnel: true, upstream: {connect_to: "@site"}}
`})
	const n = 20
	var clients sync.WaitGroup
	var failed atomic.Int32
	inFlight.Add(n + 1)
	for i := range n {
		c := s.client(clientOptions{H1: i%2 == 0})
		clients.Go(func() {
			a, err := s.try(c, s.request(http.MethodPost, "https://api.test/slow", strings.NewReader("body")))
			if err != nil || a.StatusCode != http.StatusOK {
				failed.Add(1)
				t.Logf("in flight at SIGTERM: %v", err)
			}
		})
	}
	endless := s.tunnel("api.test").send(crlf("GET /endless HTTP/1.1", "Host: api.test"))
	idle := s.tunnel("api.test")
	idle.send(crlf("GET / HTTP/1.1", "Host: api.test")).response(http.MethodGet).fine(t)
	passed := s.dial()
	passed.connect("pass.test:443", "").fine(t)
	cfg := tlsFor("pass.test")
	cfg.RootCAs = newPool(t, up.ca)
	_, err := passed.over(cfg)
	ok(t, err)
	inFlight.Wait()

	began := time.Now()
	s.signal(syscall.SIGTERM)
	s.await("/readyz to fail", func() bool {
		r, err := http.Get("http://" + s.admin + "/readyz")
		return err != nil || r.Body.Close() == nil && r.StatusCode != http.StatusOK
	})
	idle.closed()
	close(release)
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests in flight failed", failed.Load(), n)
	}
	<-s.exited
	if s.exit != nil {
		t.Errorf("exit: %v", s.exit)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the shutdown took %v, of a grace of 3 s", took)
	}
	if _, err := endless.r.ReadString(0); err == nil {
		t.Error("the endless answer ended with a byte 0")
	}
	if s.auditCount("stopped") == 0 {
		t.Error("no stopped event")
	}
}
