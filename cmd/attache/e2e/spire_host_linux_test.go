package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const envSPIRE = "ATTACHE_E2E_SPIRE" // run against the spire-server and spire-agent on PATH, as root

const (
	spireServer = `
server {
  bind_address = "127.0.0.1", bind_port = "@port", socket_path = "@dir/server.sock", data_dir = "@dir"
  trust_domain = "acme.example", default_x509_svid_ttl = "1m"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3", connection_string = "@dir/db" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}`
	spireAgent = `
agent {
  server_address = "127.0.0.1", server_port = "@port", socket_path = "@dir/agent.sock", data_dir = "@dir"
  trust_domain = "acme.example", trust_bundle_path = "@dir/bundle.pem"
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "@dir" } }
  WorkloadAttestor "unix" { plugin_data {} }
}`
	spireProxy = `
listen: {proxy: {address: "@proxy", tls: spiffe, audience: "` + proxyID + `"}, admin: "@admin"}
identity: {spiffe: "unix:@sock"}
secrets: {key: {file: @dir/key}}
callers: {checkout: {spiffe: "` + checkoutID + `"}, partner: {spiffe: "` + partnerID + `"}}
rules:
  - {id: api, hosts: api.test, callers: [checkout, partner], attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
  - {id: vault, hosts: vault.test, callers: checkout, attach: {jwt_svid: vault}, upstream: {connect_to: "@site", ca: @siteca}}
  - {id: billing, hosts: billing.test, callers: checkout, upstream: {connect_to: "@billing", peer: "spiffe://acme.example/ns/*/sa/billing"}}
`
	spireCheckout, spireBilling = "4201", "4202" // users; the proxy is root
)

// spire is a SPIRE server with one agent, and a proxy beside them.
type spire struct {
	*server
	dir   string // that every user can enter
	agent *exec.Cmd
	roots atomic.Pointer[x509.CertPool] // of the trust domain, as the agent has just told
}

// await has the patience for SPIRE's intervals: agents ask their server every 5 s, and renew at half of an SVID's life.
func (sp *spire) await(message string, what func() bool) {
	sp.t.Helper()
	if !sp.eventually(time.Minute, what) {
		sp.t.Fatalf("not so within a minute: %s\n%s", message, tail(sp.err.Bytes()))
	}
}

func (sp *spire) run(name string, args ...string) string {
	sp.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		sp.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ctl is a command of the server's.
func (sp *spire) ctl(args ...string) string {
	return sp.run("spire-server", append(args, "-socketPath", sp.dir+"/server.sock")...)
}

// fetch asks the agent as a user.
func (sp *spire) fetch(user string, args ...string) string {
	return sp.run("setpriv", append([]string{"--reuid", user, "--regid", user, "--clear-groups", "spire-agent", "api", "fetch"},
		append(args, "-socketPath", sp.dir+"/agent.sock")...)...)
}

// svid is what the agent gives to a user now.
func (sp *spire) svid(user string) *tls.Certificate {
	sp.t.Helper()
	dir := filepath.Join(sp.dir, user)
	sp.fetch(user, "x509", "-write", dir)
	c, err := tls.LoadX509KeyPair(dir+"/svid.0.pem", dir+"/svid.0.key")
	ok(sp.t, err)
	sp.roots.Store(newPool(sp.t, dir+"/bundle.0.pem"))
	return &c
}

// token is checkout's.
func (sp *spire) token(audience string) string {
	return regexp.MustCompile(`eyJ[\w.-]+`).FindString(sp.fetch(spireCheckout, "jwt", "-audience", audience))
}

// start runs a program until the test ends.
func (sp *spire) start(name string, args ...string) *exec.Cmd {
	cmd, log := exec.Command(name, args...), &recorder{}
	cmd.Stdout, cmd.Stderr = log, log
	ok(sp.t, cmd.Start())
	sp.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if sp.t.Failed() {
			sp.t.Logf("%s:\n%s", name, tail(log.Bytes()))
		}
	})
	return cmd
}

func (sp *spire) startAgent(args ...string) {
	sp.agent = sp.start("spire-agent", append([]string{"run", "-config", sp.dir + "/agent.conf"}, args...)...)
}

// entry registers an ID for a user, or changes that, and returns the entry's own.
func (sp *spire) entry(id, user, what string, args ...string) string {
	out := sp.ctl(append([]string{"entry", what, "-parentID", "spiffe://acme.example/host", "-spiffeID", id, "-selector", "unix:uid:" + user}, args...)...)
	return regexp.MustCompile(`Entry ID +: (\S+)`).FindStringSubmatch(out)[1]
}

// rotate prepares and activates another authority, then taints and revokes the former one. renewed tells that the agent has heard of the former.
func (sp *spire) rotate(kind string, renewed func() bool) {
	id := func(args ...string) string {
		return regexp.MustCompile(`Authority ID: (\w+)`).FindStringSubmatch(sp.ctl(append([]string{"localauthority", kind}, args...)...))[1]
	}
	known := func() string {
		return sp.metric(`attache_trust_bundle_authorities{profile="` + kind + `",trust_domain="acme.example"}`)
	}
	before := known()
	former, next := id("show"), id("prepare")
	sp.await("the prepared authority is in the bundle", func() bool { return known() != before })
	id("activate", "-authorityID", next)
	id("taint", "-authorityID", former)
	sp.await("the agent renews what is tainted", renewed)
	id("revoke", "-authorityID", former)
}

// caller is a client that shows an SVID in TLS, or nothing; and in the proxy's URL a user, or nobody.
func (sp *spire) caller(show *tls.Certificate, user *url.Userinfo, keep bool) *http.Client {
	c := sp.client(clientOptions{User: user})
	tr := c.Transport.(*http.Transport)
	tr.DisableKeepAlives = !keep
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		cfg := &tls.Config{RootCAs: sp.roots.Load(), ServerName: "localhost"}
		if show != nil {
			cfg.Certificates = []tls.Certificate{*show}
		}
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, addr)
	}
	return c
}

// code is what a call gives: its status and reason, or 0 and an error.
func (sp *spire) code(c *http.Client, host string) (int, string) {
	a, err := sp.try(c, sp.request(http.MethodGet, "https://"+host+"/", nil))
	if err != nil {
		return 0, err.Error()
	}
	return a.StatusCode, a.reason()
}

// calls makes calls until stop. None may fail.
func (sp *spire) calls(c *http.Client, host string) (stop func()) {
	var calling sync.WaitGroup
	n, done := 0, make(chan struct{})
	calling.Go(func() {
		for ; sp.t.Context().Err() == nil; n++ {
			if code, why := sp.code(c, host); code != http.StatusOK {
				sp.t.Errorf("call %d of %s: %d %s", n, host, code, why)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	return func() { close(done); calling.Wait(); sp.t.Logf("%s: %d calls", host, n) }
}

// says reports whether the proxy says something about its identity.
func (sp *spire) says(text string) bool {
	_, got := sp.adminCall(http.MethodGet, "/api/identity", nil)
	return strings.Contains(got, text)
}

// until is when the proxy's SVID expires.
func (sp *spire) until() string { return sp.metric("attache_svid_expiry_timestamp_seconds") }

func newSPIRE(t *testing.T, vars map[string]string, key string) *spire {
	dir, err := os.MkdirTemp("", "attache-spire-") // t.TempDir is closed to other users
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ok(t, os.Chmod(dir, 0o755))
	for _, user := range []string{spireCheckout, spireBilling} {
		ok(t, os.Mkdir(filepath.Join(dir, user), 0o777))
		ok(t, os.Chmod(filepath.Join(dir, user), 0o777))
	}
	_, port, _ := strings.Cut(freePort(t), ":")
	for name, text := range map[string]string{"server.conf": spireServer, "agent.conf": spireAgent} {
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer("@dir", dir, "@port", port).Replace(text)), 0o600))
	}
	vars["sock"] = dir + "/agent.sock"
	return &spire{dir: dir, server: serve(t, serveOptions{Config: spireProxy, Vars: vars, Secrets: map[string]string{"key": key}, NoWait: true})}
}
