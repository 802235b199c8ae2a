package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity/identitytest"
)

const (
	proxyID    = "spiffe://acme.example/ns/edge/sa/attache"
	checkoutID = "spiffe://acme.example/ns/shop/sa/checkout"
	reportsID  = "spiffe://acme.example/ns/shop/sa/reports"
	partnerID  = "spiffe://partner.example/app"
)

// spiffeConfig knows two callers by SPIFFE ID, of whom one may use the key.
const spiffeConfig = `
listen:
  proxy: {address: "@proxy", tls: spiffe, audience: "` + proxyID + `"}
  admin: "@admin"
identity: {spiffe: "@agent"}
secrets: {key: {file: @dir/key}}
callers:
  checkout: {spiffe: "` + checkoutID + `"}
  reports: {spiffe: "` + reportsID + `"}
  partner: {spiffe: "` + partnerID + `"}
rules:
  - {id: api, hosts: api.test, callers: [checkout, partner], attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
  - {id: pass, hosts: pass.test, callers: [partner], tunnel: true, upstream: {connect_to: "@site"}}
`

// agent is a Workload API whose SVIDs for the proxy also have the name localhost, as a registration entry
// with -dns gives it: curl verifies a proxy by name.
func agent(t *testing.T) *identitytest.API {
	api := identitytest.Start(t)
	api.RegisterEntries(identitytest.Entry{ID: proxyID, DNS: []string{"localhost"}})
	return api
}

func serveSPIFFE(t *testing.T, api *identitytest.API) (*server, *site, string) {
	t.Helper()
	up, key := newSite(t, siteOptions{Names: []string{"api.test", "pass.test"}}), newCanary()
	vars := siteVars(up)
	vars["agent"] = api.Addr()
	s := serve(t, serveOptions{Config: spiffeConfig, Vars: vars, Secrets: map[string]string{"key": key}})
	return s, up, key
}

// putSVID writes an SVID as spire-agent api fetch -write does.
func (s *server) putSVID(svid *x509svid.SVID, name string) (cert, key string) {
	s.t.Helper()
	c, k, err := svid.Marshal()
	ok(s.t, err)
	s.write(name+".pem", string(c))
	s.write(name+".key", string(k))
	return s.dir + "/" + name + ".pem", s.dir + "/" + name + ".key"
}

// bundle writes the bundle of the proxy's trust domain.
func (s *server) bundle(api *identitytest.API) string {
	s.t.Helper()
	var text strings.Builder
	for _, c := range api.CA("acme.example").Bundle().X509Authorities() {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	s.write("bundle.pem", text.String())
	return s.dir + "/bundle.pem"
}

// TestCurlBySPIFFEID: curl shows an X509-SVID to the proxy, or a JWT-SVID as the password of user jwt, and
// rights follow the ID.
func TestCurlBySPIFFEID(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	api := agent(t)
	s, up, key := serveSPIFFE(t, api)
	proxy := "https://localhost:" + s.proxy[strings.LastIndexByte(s.proxy, ':')+1:]
	bundle := s.bundle(api)
	call := func(args ...string) (string, error) {
		return s.program(nil, curl, append([]string{"-sS", "-q", "--proxy", proxy, "--proxy-cacert", bundle, "--cacert", s.caFile(),
			"-w", " %{http_code}", "https://api.test/v1/charges"}, args...)...)
	}
	cert, private := s.putSVID(api.Issue(checkoutID, time.Hour), "checkout")
	out, err := call("--proxy-cert", cert, "--proxy-key", private)
	ok(t, err)
	if !strings.HasSuffix(out, " 200") || !strings.Contains(out, fingerprint("Bearer "+key)) {
		t.Errorf("curl printed %q", out)
	}
	attached(t, up, key)
	out, err = call("--proxy-user", "jwt:"+api.Token(checkoutID, proxyID, time.Minute))
	ok(t, err)
	if !strings.HasSuffix(out, " 200") {
		t.Errorf("curl printed %q", out)
	}
	calls := len(up.requests())

	cert, private = s.putSVID(api.Issue(reportsID, time.Hour), "reports")
	if out, err := call("--proxy-cert", cert, "--proxy-key", private); err != nil || !strings.Contains(out, "caller_not_allowed") || !strings.HasSuffix(out, " 403") {
		t.Errorf("as another caller: %q, %v", out, err)
	}
	for name, args := range map[string][]string{
		"nobody":             nil,
		"wrong audience":     {"--proxy-user", "jwt:" + api.Token(checkoutID, "https://api.test", time.Minute)},
		"as bearer, expired": {"--proxy-header", "Proxy-Authorization: Bearer " + api.Token(checkoutID, proxyID, -time.Second)},
	} {
		if out, err := call(args...); err == nil || !strings.Contains(err.Error(), "407") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	cert, private = s.putSVID(api.Issue("spiffe://acme.example/ns/shop/sa/checkout-admin", time.Hour), "stranger")
	if out, err := call("--proxy-cert", cert, "--proxy-key", private); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("an ID that no caller has: %q, %v", out, err)
	}
	cert, private = s.putSVID(api.Issue("spiffe://evil.example/ns/shop/sa/checkout", time.Hour), "evil")
	if out, err := call("--proxy-cert", cert, "--proxy-key", private); err == nil {
		t.Errorf("of another trust domain: %q", out)
	}
	if n := len(up.requests()); n != calls {
		t.Errorf("the upstream got %d more requests", n-calls)
	}
	for _, proof := range []string{"mtls", "jwt"} {
		s.await("the proof "+proof+" in the audit", func() bool {
			return slices.ContainsFunc(s.audit(), func(e event) bool {
				caller, _ := e["caller"].(map[string]any)
				return caller["id"] == checkoutID && caller["proof"] == proof
			})
		})
	}
	if e := s.refusal("caller_unknown"); !strings.Contains(e.callerID(), "checkout-admin") {
		t.Errorf("the audit says %v", e)
	}
	s.refusal("caller_handshake")
}

// nodeTunnels opens tunnels to each of HOSTS in one HTTP/2 connection of another implementation than Go's, and calls through them.
const nodeTunnels = `
const http2 = require('http2'), tls = require('tls'), fs = require('fs'), env = process.env
const session = http2.connect(env.PROXY, {ca: fs.readFileSync(env.BUNDLE), cert: fs.readFileSync(env.CERT), key: fs.readFileSync(env.KEY)})
const call = host => new Promise((done, fail) => {
  const stream = session.request({':method': 'CONNECT', ':authority': host + ':443'})
  let text = ''
  stream.on('error', fail)
  stream.on('response', h => {
    const got = h[':status'] === 200 ? tls.connect({socket: stream, servername: host, ca: fs.readFileSync(env.CA)}) : stream
    if (got !== stream) got.write('GET / HTTP/1.1\r\nHost: ' + host + '\r\nConnection: close\r\n\r\n')
    got.on('error', fail).on('data', b => text += b).on('end', () => done(host + ' ' + h[':status'] + ' ' + text))
  })
})
session.on('error', e => { console.log(e); process.exit(1) })
Promise.all(env.HOSTS.split(' ').map(call)).then(all => { console.log(all.join('\n')); session.close() }, e => { console.log(e); process.exit(1) })
`

// TestTunnelsOfAnotherHTTP2: Node's HTTP/2 has several tunnels in one connection to the TLS listener.
func TestTunnelsOfAnotherHTTP2(t *testing.T) {
	t.Parallel()
	node := need(t, "node")
	api := agent(t)
	s, up, key := serveSPIFFE(t, api)
	cert, private := s.putSVID(api.Issue(checkoutID, time.Hour), "checkout")
	s.write("client.js", nodeTunnels)
	out, err := s.program([]string{
		"PROXY=https://localhost:" + s.proxy[strings.LastIndexByte(s.proxy, ':')+1:], "BUNDLE=" + s.bundle(api), "CERT=" + cert, "KEY=" + private,
		"CA=" + s.caFile(), "HOSTS=api.test api.test unknown.test",
	}, node, s.dir+"/client.js")
	ok(t, err)
	if strings.Count(out, fingerprint("Bearer "+key)) != 2 || !strings.Contains(out, "unknown.test 403") || !strings.Contains(out, `"reason":"no_rule"`) {
		t.Errorf("node printed %q", out)
	}
	attached(t, up, key)
}

func (e event) callerID() string {
	caller, _ := e["caller"].(map[string]any)
	id, _ := caller["id"].(string)
	return id
}

// TestPodProofInWrongPod: a configuration that was copied to a pod with another SVID attaches nothing.
func TestPodProofInWrongPod(t *testing.T) {
	t.Parallel()
	api := identitytest.Start(t, reportsID)
	up, key := newSite(t, siteOptions{}), newCanary()
	vars := siteVars(up)
	vars["agent"] = api.Addr()
	s := serve(t, serveOptions{Vars: vars, Secrets: map[string]string{"key": key}, Config: `
identity: {spiffe: "@agent"}
secrets: {key: {file: @dir/key}}
callers: {pod: {spiffe: "` + checkoutID + `", proof: pod}}
rules: [{id: api, hosts: api.test, callers: pod, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}]
`})
	s.get(s.client(clientOptions{}), "https://api.test/").refused(t, http.StatusForbidden, "caller_not_allowed")
	up.untouched(t)
	api.Register(checkoutID) // now it is the right one
	s.await("the new SVID to be in force", func() bool {
		return s.get(s.client(clientOptions{}), "https://api.test/").StatusCode == http.StatusOK
	})
	attached(t, up, key)
	s.await("the caller in the audit", func() bool {
		return slices.ContainsFunc(s.audit(), func(e event) bool { return e.callerID() == checkoutID })
	})
	inner, get := s.tunnel("api.test"), crlf("GET / HTTP/1.1", "Host: api.test")
	inner.send(get).response(http.MethodGet).fine(t)
	api.Register(reportsID)
	s.await("the SVID to be taken away", func() bool {
		return s.get(s.client(clientOptions{}), "https://api.test/").StatusCode == http.StatusForbidden
	})
	inner.send(get).response(http.MethodGet).refused(t, http.StatusForbidden, "caller_expired")
	inner.closed()
}

// enter connects to the TLS listener with an SVID.
func (s *server) enter(api *identitytest.API, svid *x509svid.SVID) *wire {
	s.t.Helper()
	cert := tls.Certificate{PrivateKey: svid.PrivateKey, Certificate: [][]byte{svid.Certificates[0].Raw}}
	roots := x509.NewCertPool()
	for _, c := range api.CA("acme.example").Bundle().X509Authorities() {
		roots.AddCert(c)
	}
	c, err := tls.Dial("tcp", s.proxy, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{cert}})
	ok(s.t, err)
	return s.newWire(c)
}

// TestFederationRevokedEndsLiveSessions: through the Workload API, from the bundle's disappearance to the end
// of what was open.
func TestFederationRevokedEndsLiveSessions(t *testing.T) {
	t.Parallel()
	api := agent(t)
	api.Federate("partner.example")
	s, up, key := serveSPIFFE(t, api)
	get := func(host string) string { return crlf("GET / HTTP/1.1", "Host: "+host) }
	opened := s.enter(api, api.Issue(partnerID, time.Hour))
	opened.connect("api.test:443", "").fine(t)
	inner, err := opened.over(tlsFor("api.test"))
	ok(t, err)
	inner.send(get("api.test")).response(http.MethodGet).fine(t)
	attached(t, up, key)
	passed := s.enter(api, api.Issue(partnerID, time.Hour))
	passed.connect("pass.test:443", "").fine(t)
	cfg := tlsFor("pass.test")
	cfg.RootCAs = newPool(t, up.ca)
	through, err := passed.over(cfg)
	ok(t, err)
	through.send(get("pass.test")).response(http.MethodGet).fine(t)
	calls := len(up.requests())
	api.Unfederate("partner.example")
	through.closed() // as soon as the Workload API has told
	inner.send(get("api.test")).response(http.MethodGet).refused(t, http.StatusForbidden, "caller_expired")
	inner.closed()
	if n := len(up.requests()); n != calls {
		t.Errorf("the upstream got %d more requests", n-calls)
	}
	if e := s.refusal("caller_expired"); e.callerID() != partnerID {
		t.Errorf("the audit says %v", e)
	}
}
