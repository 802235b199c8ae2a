package e2e

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func basicAuth(user, password string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
}

func TestProxyTokenTimingAndLeak(t *testing.T) {
	t.Parallel()
	s, up, key := serveTokens(t)
	for _, wrong := range []string{
		"", basicAuth("ci", "wrong"), basicAuth("ci", ""), basicAuth("other", ciToken), basicAuth("ci", ciToken+"x"),
		basicAuth("ci", ciToken[:len(ciToken)-1]), "Proxy-Authorization: Basic !!!\r\n", "Proxy-Authorization: Digest x\r\n",
		basicAuth("ci", ciToken) + basicAuth("ci", "wrong"),
	} {
		a := s.dial().connect("api.test:443", wrong)
		if a.StatusCode != http.StatusProxyAuthRequired && a.StatusCode != http.StatusBadRequest {
			t.Errorf("with %q: %s", wrong, a.Status)
		}
		if a.StatusCode == http.StatusProxyAuthRequired && a.Header.Get("Proxy-Authenticate") == "" {
			t.Errorf("with %q: a 407 without Proxy-Authenticate", wrong)
		}
	}
	up.untouched(t)
	for _, h1 := range []bool{true, false} {
		c := s.client(clientOptions{H1: h1, User: url.UserPassword("ci", ciToken)})
		req := s.request(http.MethodGet, "https://api.test/", nil)
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ci:"+ciToken)))
		s.do(c, req).fine(t)
		for name, values := range attached(t, up, key).Header {
			text := strings.Join(values, ",")
			if strings.HasPrefix(name, "Proxy-") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("ci:"+ciToken))) {
				t.Errorf("the upstream got %s", name)
			}
		}
	}
	s.await("who called by which proof in the audit", func() bool {
		return slices.ContainsFunc(s.audit(), func(e event) bool {
			caller, _ := e["caller"].(map[string]any)
			return caller["name"] == "ci" && caller["proof"] == "token"
		})
	})
}

// TestWrongTokenInClear holds the same for calls outside a tunnel.
func TestWrongTokenInClear(t *testing.T) {
	t.Parallel()
	up := newSite(t, siteOptions{Clear: true})
	s := serve(t, serveOptions{Vars: siteVars(up), Secrets: map[string]string{"ci-token": ciToken}, Config: `
secrets: {ci-token: {file: @dir/ci-token}}
callers: {ci: {token: ci-token}}
rules: [{id: clear, hosts: "http://clear.test", callers: ci, upstream: {connect_to: "@site"}}]
`})
	head := "GET http://clear.test/ HTTP/1.1\r\nHost: clear.test\r\n"
	if a := s.dial().send(head, "\r\n").response(http.MethodGet); a.StatusCode != http.StatusProxyAuthRequired {
		t.Errorf("without a token: %s", a.Status)
	}
	if a := s.dial().send(head, basicAuth("ci", "wrong"), "\r\n").response(http.MethodGet); a.StatusCode != http.StatusProxyAuthRequired {
		t.Errorf("with a wrong token: %s", a.Status)
	}
	up.untouched(t)
	s.dial().send(head, basicAuth("ci", ciToken), "\r\n").response(http.MethodGet).fine(t)
	if got := up.last(t).Header.Get("Proxy-Authorization"); got != "" {
		t.Error("the upstream got Proxy-Authorization")
	}
}

func TestCallerExpiresInTunnel(t *testing.T) {
	t.Parallel()
	up, key := newSite(t, siteOptions{Names: []string{"api.test", "pass.test"}}), newCanary()
	s := serve(t, serveOptions{
		Vars: siteVars(up), Secrets: map[string]string{"key": key, "ci-token": ciToken},
		Config: tokenRule + `
  - {id: pass, hosts: pass.test, callers: ci, tunnel: true, upstream: {connect_to: "@site"}}
`})
	opened := s.dial()
	opened.connect("api.test:443", basicAuth("ci", ciToken)).fine(t)
	inner, err := opened.over(tlsFor("api.test"))
	ok(t, err)
	get := crlf("GET / HTTP/1.1", "Host: api.test")
	inner.send(get).response(http.MethodGet).fine(t)

	passed := s.dial()
	passed.connect("pass.test:443", basicAuth("ci", ciToken)).fine(t)
	cfg := tlsFor("pass.test")
	cfg.RootCAs = newPool(t, up.ca)
	through, err := passed.over(cfg)
	ok(t, err)
	through.send(crlf("GET / HTTP/1.1", "Host: pass.test")).response(http.MethodGet).fine(t)

	requests := len(up.requests())
	rotated := "e2e-ci-token-rotated"
	s.secret(rotated)
	s.write("ci-token", rotated)
	s.await("the new token to be in force", func() bool {
		return s.dial().connect("api.test:443", basicAuth("ci", rotated)).StatusCode == http.StatusOK
	})
	inner.send(get).response(http.MethodGet).refused(t, http.StatusForbidden, "caller_expired")
	inner.closed()
	through.closed()
	s.refusal("caller_expired")
	if n := len(up.requests()); n != requests {
		t.Errorf("the upstream got %d requests after the token was rotated", n-requests)
	}
}
