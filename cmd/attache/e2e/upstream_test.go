package e2e

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRedirectToOtherHost(t *testing.T) {
	t.Parallel()
	up := newSite(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://evil.test/next?a=1")
		w.WriteHeader(http.StatusFound)
	}})
	evil, key := newSite(t, siteOptions{Names: []string{"evil.test"}}), newCanary()
	vars := siteVars(up)
	vars["evil"], vars["evilca"] = evil.addr, evil.ca
	s := serve(t, serveOptions{Config: twoRules, Vars: vars, Secrets: map[string]string{"key": key}})
	for _, h1 := range []bool{true, false} {
		a := s.get(s.client(clientOptions{H1: h1}), "https://api.test/")
		if a.StatusCode != http.StatusFound || a.Header.Get("Location") != "https://evil.test/next?a=1" {
			t.Errorf("answer %s, Location %q", a.Status, a.Header.Get("Location"))
		}
	}
	evil.untouched(t)
}

func TestAltSvcEscape(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Alt-Svc", `h3=":443"; ma=86400`)
		w.Header().Set("Alt-Used", "other.test")
		who(w, r)
	}})
	for _, h1 := range []bool{true, false} {
		if a := s.get(s.client(clientOptions{H1: h1}), "https://api.test/").fine(t); a.Header.Get("Alt-Svc") != "" {
			t.Errorf("%s: Alt-Svc %q came through", a.Proto, a.Header.Get("Alt-Svc"))
		}
	}
}

func TestUpstreamWrongCertificate(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]siteOptions{
		"another name": {Names: []string{"evil.test"}},
		"an address":   {Names: []string{"127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, up, _ := serveOne(t, o)
			s.get(s.client(clientOptions{}), "https://api.test/").refused(t, http.StatusBadGateway, "upstream_unverified")
			if n := len(up.requests()); n != 0 {
				t.Errorf("the upstream got %d requests", n)
			}
		})
	}
	t.Run("another authority", func(t *testing.T) {
		up, key := newSite(t, siteOptions{}), newCanary()
		s := serve(t, serveOptions{
			Config: oneRule, Secrets: map[string]string{"key": key},
			Vars: map[string]string{"site": up.addr, "siteca": newAuthority(t).file},
		})
		s.get(s.client(clientOptions{}), "https://api.test/").refused(t, http.StatusBadGateway, "upstream_unverified")
		if n := len(up.requests()); n != 0 {
			t.Errorf("the upstream got %d requests", n)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		s, up, _ := serveOne(t, siteOptions{Clear: true})
		if a := s.get(s.client(clientOptions{}), "https://api.test/"); a.StatusCode != http.StatusBadGateway {
			t.Errorf("answer %s", a.Status)
		}
		if n := len(up.requests()); n != 0 {
			t.Errorf("the upstream got %d requests", n)
		}
	})
}

func TestUpstreamExpired(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{NotAfter: time.Now().Add(-time.Hour)})
	s.get(s.client(clientOptions{}), "https://api.test/").refused(t, http.StatusBadGateway, "upstream_unverified")
	if n := len(up.requests()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// TestPoolCrossesRules: http.Transport pools by scheme and host, so that a
// connection one rule trusts could serve another that would not.
func TestPoolCrossesRules(t *testing.T) {
	t.Parallel()
	a := newSite(t, siteOptions{TLS: func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }})
	b, key := newSite(t, siteOptions{}), newCanary()
	cert, private := pemPair(t, newAuthority(t).leaf(t, time.Now().Add(time.Hour), "client.test"))
	s := serve(t, serveOptions{
		Secrets: map[string]string{"key": key, "pair": string(cert) + string(private)},
		Vars:    map[string]string{"a": a.addr, "ca": a.ca, "b": b.addr, "cb": b.ca},
		Config: `
secrets: {key: {file: @dir/key}, pair: {file: @dir/pair}}
rules:
  - {id: client, hosts: api.test, paths: /client, attach: {bearer: key}, upstream: {connect_to: "@a", ca: "@ca", client: pair}}
  - {id: a, hosts: api.test, paths: /a, attach: {bearer: key}, upstream: {connect_to: "@a", ca: "@ca"}}
  - {id: b, hosts: api.test, paths: /b, upstream: {connect_to: "@b", ca: "@cb"}}
  - {id: wrong-ca, hosts: api.test, paths: /wrong-ca, attach: {bearer: key}, upstream: {connect_to: "@a", ca: "@cb"}}
  - {id: wrong-name, hosts: api.test, paths: /wrong-name, attach: {bearer: key}, upstream: {connect_to: "@a", ca: "@ca", server_name: other.test}}
  - {id: forbidden, hosts: 127.0.0.1, attach: {bearer: key}, upstream: {ca: "@ca"}}
`})
	for _, h1 := range []bool{true, false} {
		c := s.client(clientOptions{H1: h1})
		for range 2 {
			s.get(c, "https://api.test/a").fine(t)
			s.get(c, "https://api.test/client").fine(t)
			s.get(c, "https://api.test/b").fine(t)
			s.get(c, "https://api.test/wrong-ca").refused(t, http.StatusBadGateway, "upstream_unverified")
			s.get(c, "https://api.test/wrong-name").refused(t, http.StatusBadGateway, "upstream_unverified")
		}
	}
	s.get(s.client(clientOptions{}), "https://127.0.0.1/").refused(t, http.StatusForbidden, "address_forbidden")
	for _, r := range b.requests() {
		if r.URI != "/b" || r.Header.Get("Authorization") != "" {
			t.Errorf("b got %s with credentials %v", r.URI, r.Header.Get("Authorization") != "")
		}
	}
	for _, r := range a.requests() {
		if r.URI != "/a" && r.URI != "/client" || r.ClientCert != (r.URI == "/client") {
			t.Errorf("a got %s, with a client certificate: %v", r.URI, r.ClientCert)
		}
	}
}

func TestUpstream407(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="gotcha"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}})
	for _, h1 := range []bool{true, false} {
		a := s.get(s.client(clientOptions{H1: h1}), "https://api.test/")
		a.refused(t, http.StatusBadGateway, "upstream_proxy_auth")
		if got := a.Header.Get("Proxy-Authenticate"); got != "" {
			t.Errorf("Proxy-Authenticate %q came through", got)
		}
	}
}

func TestProxyLoop(t *testing.T) {
	t.Parallel()
	up, key := newSite(t, siteOptions{}), newCanary()
	proxy := freePort(t)
	s := serve(t, serveOptions{
		Secrets: map[string]string{"key": key}, Vars: map[string]string{"site": up.addr, "siteca": up.ca, "self": proxy},
		Env: []string{"HTTPS_PROXY=http://" + proxy, "HTTP_PROXY=http://" + proxy, "ALL_PROXY=http://" + proxy},
		Config: strings.Replace(oneRule, "rules:", `listen: {proxy: "@self", admin: @admin}
rules:
  - {id: self, hosts: "http://@self", upstream: {allow: 127.0.0.0/8}}
  - {id: back, hosts: "http://back.test", upstream: {connect_to: "@self"}}`, 1),
	})
	s.proxy = proxy
	s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
	if n := up.connections(); n != 1 {
		t.Errorf("%d connections to the upstream", n)
	}
	// Not by way of http.Transport, which leaves loopback alone.
	s.dial().send(crlf("GET http://"+proxy+"/ HTTP/1.1", "Host: "+proxy)).response(http.MethodGet).not2xx(t, "the proxy's own address")
	s.dial().send(crlf("GET http://back.test/ HTTP/1.1", "Host: back.test")).response(http.MethodGet).not2xx(t, "connect_to its own address")
	for _, e := range s.audit() {
		if e.str("reason") == "misdirected" || e.str("reason") == "not_a_proxy_request" {
			t.Errorf("a request came round: %v", e)
		}
	}
}
