package e2e

import (
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

const (
	gatewayID = "spiffe://acme.example/ns/attache/sa/gateway"
	edgeID    = "spiffe://acme.example/ns/shop/sa/edge"
)

// gatewayConfig gives the key to what is behind the edge, and to one caller there by its own name.
const gatewayConfig = `
listen:
  proxy: {address: "@proxy", tls: spiffe, audience: attache}
  admin: "@admin"
identity: {spiffe: "@agent"}
secrets: {key: {file: @dir/key}}
callers:
  checkout: {spiffe: "` + checkoutID + `"}
  edge: {spiffe: "` + edgeID + `"}
rules:
  - {id: refunds, hosts: api.test, paths: /v1/refunds, callers: [checkout], attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
  - {id: api, hosts: api.test, paths: /v1/charges, callers: [checkout, edge], attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
`

// edgeConfig holds no secret at all.
const edgeConfig = `
listen: {proxy: "@proxy", admin: "@admin"}
identity: {files: @svid}
gateway: {address: "@gateway", peer: "` + gatewayID + `", audience: attache}
rules: [{id: no, hosts: evil.test, deny: "Not from here."}]
`

// TestEdgeAndGateway: curl behind an edge, which passes on what it does not decide: to the one gateway that it
// knows by its SPIFFE ID, with the proof of who calls.
func TestEdgeAndGateway(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	api := identitytest.Start(t, gatewayID)
	up, key := newSite(t, siteOptions{Names: []string{"api.test"}}), newCanary()
	vars := siteVars(up)
	vars["agent"] = api.Addr()
	gateway := serve(t, serveOptions{Config: gatewayConfig, Vars: vars, Secrets: map[string]string{"key": key}})
	svid := edgeSVID(t, api)
	edge := serve(t, serveOptions{Config: edgeConfig, Vars: map[string]string{"svid": svid, "gateway": gateway.proxy}})
	call := func(path string, args ...string) (string, error) {
		return edge.program(nil, curl, append([]string{"-sS", "-q", "--proxy", "http://" + edge.proxy, "--cacert", gateway.caFile(),
			"-w", " %{http_code}", "https://api.test" + path}, args...)...)
	}

	out, err := call("/v1/charges")
	ok(t, err)
	if !strings.HasSuffix(out, " 200") || !strings.Contains(out, fingerprint("Bearer "+key)) {
		t.Errorf("curl printed %q", out)
	}
	attached(t, up, key)
	if out, err := call("/v1/refunds"); err != nil || !strings.HasSuffix(out, " 403") || !strings.Contains(out, "caller_not_allowed") {
		t.Errorf("what the edge alone may not: %q, %v", out, err)
	}
	token := api.Token(checkoutID, "attache", time.Minute)
	edge.secret(token)
	gateway.secret(token)
	out, err = call("/v1/refunds", "--proxy-user", "jwt:"+token)
	if err != nil || !strings.HasSuffix(out, " 200") {
		t.Errorf("with the caller's own proof: %q, %v", out, err)
	}
	calls := len(up.requests())
	for name, c := range map[string]struct{ url, want string }{
		"not the gateway's": {"https://unknown.test/", "403"},
		"not the edge's":    {"https://evil.test/", "403"},
		"in clear":          {"http://api.test/", "only calls that come as a CONNECT"},
	} {
		out, err := edge.program(nil, curl, "-sS", "-q", "--proxy", "http://"+edge.proxy, "--cacert", gateway.caFile(), c.url)
		text := out
		if err != nil {
			text += err.Error()
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %s", name, text, c.want)
		}
	}
	if n := len(up.requests()); n != calls {
		t.Errorf("the upstream got %d more requests", n-calls)
	}
	edge.await("the audit of what was left to the gateway, and of its refusal", func() bool {
		return slices.ContainsFunc(edge.audit(), func(e event) bool { return e["decision"] == "gateway" && e["type"] == "request" }) &&
			slices.ContainsFunc(edge.audit(), func(e event) bool { return e["reason"] == "gateway_refused" })
	})
}

// edgeSVID writes the edge's SVID, key and roots as one file.
func edgeSVID(t *testing.T, api *identitytest.API) string {
	t.Helper()
	cert, key, err := api.Issue(edgeID, time.Hour).Marshal()
	ok(t, err)
	text := append(cert, key...)
	for _, c := range api.CA("acme.example").Bundle().X509Authorities() {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	file := t.TempDir() + "/svid.pem"
	ok(t, os.WriteFile(file, text, 0o600))
	return file
}
