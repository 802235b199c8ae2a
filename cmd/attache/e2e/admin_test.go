package e2e

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// adminCall sends a request to the admin listener.
func (s *server) adminCall(method, path string, change func(*http.Request)) (int, string) {
	s.t.Helper()
	req := s.request(method, "http://"+s.admin+path, nil)
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	ok(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.TeeReader(resp.Body, s.received))
	ok(s.t, err)
	return resp.StatusCode, string(body)
}

// TestAdminFromApp: the application shares the loopback interface, so that
// admin on TCP is read-only for whoever has no token.
func TestAdminFromApp(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{})
	for _, token := range []string{"", "Bearer guessed", "Basic Z3Vlc3NlZDpndWVzc2Vk", "Bearer "} {
		status, _ := s.adminCall(http.MethodPost, "/-/reload", func(r *http.Request) {
			if token != "" {
				r.Header.Set("Authorization", token)
			}
		})
		if status < 400 {
			t.Errorf("POST /-/reload with %q: %d", token, status)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
		if status, _ := s.adminCall(method, "/api/rules", nil); status < 400 {
			t.Errorf("%s /api/rules: %d", method, status)
		}
	}
	// By way of the proxy it is no nearer.
	s.dial().send(crlf("POST http://"+s.admin+"/-/reload HTTP/1.1", "Host: "+s.admin, "Content-Length: 0")).response(http.MethodPost).not2xx(t, "through the proxy")
	if n := s.auditCount("config.reloaded", "config.rejected"); n > 1 {
		t.Errorf("%d configuration events", n)
	}
}

// TestAdminToken: with a token, and on a unix socket, a reload is possible.
func TestAdminToken(t *testing.T) {
	t.Parallel()
	s := serve(t, serveOptions{Secrets: map[string]string{"admin-token": "e2e-admin-token-9d2b"}, Config: `
listen: {proxy: @proxy, admin: @admin, admin_token: admin-token}
secrets: {admin-token: {file: @dir/admin-token}}
rules: [{id: deny, hosts: api.test, deny: true}]
`})
	status, body := s.adminCall(http.MethodPost, "/-/reload", func(r *http.Request) { r.Header.Set("Authorization", "Bearer e2e-admin-token-9d2b") })
	if status >= 300 {
		t.Errorf("POST /-/reload with the token: %d %s", status, body)
	}
	status, _ = s.adminCall(http.MethodPost, "/-/reload", func(r *http.Request) { r.Header.Set("Authorization", "Bearer e2e-admin-token-9d2c") })
	if status < 400 {
		t.Errorf("POST /-/reload with another token: %d", status)
	}
}

// TestAdminFromBrowser: a page that the developer visits cannot change
// anything, nor read anything by having its name resolve to loopback.
func TestAdminFromBrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{})
	_, port, err := net.SplitHostPort(s.admin)
	ok(t, err)
	for _, host := range []string{"evil.test", "evil.test:" + port, "localhost.evil.test"} {
		for _, path := range []string{"/api/rules", "/", "/metrics"} {
			if status, _ := s.adminCall(http.MethodGet, path, func(r *http.Request) { r.Host = host }); status < 400 {
				t.Errorf("GET %s on host %s: %d", path, host, status)
			}
		}
	}
	for name, value := range map[string]string{"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"} {
		status, _ := s.adminCall(http.MethodPost, "/-/reload", func(r *http.Request) { r.Header.Set(name, value) })
		if status < 400 {
			t.Errorf("POST /-/reload with %s: %d", name, status)
		}
	}
	resp, err := http.Get("http://" + s.admin + "/api/rules")
	ok(t, err)
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("Access-Control-Allow-Origin: %s", got)
	}
}

// TestHTTP2Debug: net/http logs Authorization under this setting.
func TestHTTP2Debug(t *testing.T) {
	t.Parallel()
	for _, debug := range []string{"http2debug=1", "http2debug=2", "madvdontneed=1,http2debug=2"} {
		up, key := newSite(t, siteOptions{}), newCanary()
		s := serve(t, serveOptions{
			Config: oneRule, Vars: siteVars(up), Secrets: map[string]string{"key": key}, Env: []string{"GODEBUG=" + debug}, NoWait: true,
		})
		s.dirty = true
		<-s.exited
		if s.exit == nil || !strings.Contains(s.err.String(), "http2debug") {
			t.Errorf("GODEBUG=%s: %v, %s", debug, s.exit, s.err)
		}
	}
}
