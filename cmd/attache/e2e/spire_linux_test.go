package e2e

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// TestSPIRE: a proxy and its callers with a real SPIRE server and agent: entries that come and go, rotations, authorities
// that are revoked, a federation that ends, an agent that is killed.
func TestSPIRE(t *testing.T) {
	if os.Getenv(envSPIRE) == "" {
		t.Skip(envSPIRE + ": not set")
	}
	for _, name := range []string{"spire-server", "spire-agent", "setpriv"} {
		need(t, name)
	}
	needRoot(t)
	up, key := newSite(t, siteOptions{Names: []string{"api.test", "vault.test"}}), newCanary()
	var billing atomic.Pointer[tls.Certificate]
	peer := newSite(t, siteOptions{TLS: func(c *tls.Config) {
		c.Certificates, c.ClientAuth = nil, tls.RequireAnyClientCert
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return billing.Load(), nil }
	}})
	vars := siteVars(up)
	vars["billing"] = peer.addr
	sp := newSPIRE(t, vars, key)

	sp.await("it listens", sp.listens)
	sp.await("the lack of an agent shows", func() bool { return sp.says("the agent cannot be reached") })
	sp.start("spire-server", "run", "-config", sp.dir+"/server.conf")
	sp.await("the server runs", func() bool {
		return exec.Command("spire-server", "healthcheck", "-socketPath", sp.dir+"/server.sock").Run() == nil
	})
	ok(t, os.WriteFile(sp.dir+"/bundle.pem", []byte(sp.ctl("bundle", "show")), 0o600))
	sp.startAgent("-joinToken", strings.Fields(sp.ctl("token", "generate", "-spiffeID", "spiffe://acme.example/host"))[1])
	sp.await("the lack of an entry shows", func() bool { return sp.says("the agent denies: no identity issued") })
	sp.entry(checkoutID, spireCheckout, "create", "-x509SVIDTTL", "3600")
	sp.entry("spiffe://acme.example/ns/pay/sa/billing", spireBilling, "create", "-x509SVIDTTL", "3600")
	entry := sp.entry(proxyID, "0", "create", "-dns", "localhost")
	sp.await("ready with an entry", sp.ready)
	billing.Store(sp.svid(spireBilling))

	checkout := sp.caller(sp.svid(spireCheckout), nil, false)
	sp.get(checkout, "https://api.test/").fine(t)
	attached(t, up, key)
	sp.get(checkout, "https://billing.test/").fine(t)
	if got := peer.requests(); len(got) != 1 || !got[0].ClientCert {
		t.Errorf("the upstream of the mesh got %+v", got)
	}
	sp.get(sp.caller(nil, url.UserPassword("jwt", sp.token(proxyID)), false), "https://api.test/").fine(t)
	if code, why := sp.code(sp.caller(nil, url.UserPassword("jwt", sp.token("other")), false), "api.test"); code != 0 || !strings.Contains(why, "proxy_auth_invalid") {
		t.Errorf("a token for another audience: %d %s", code, why)
	}

	stops := []func(){sp.calls(checkout, "api.test"), sp.calls(checkout, "billing.test"), sp.calls(checkout, "vault.test")}
	until := sp.until()
	ok(t, sp.agent.Process.Kill())
	sp.await("the agent's end shows", func() bool { return sp.says("the agent cannot be reached") })
	sp.startAgent()
	sp.await("the agent is back", func() bool { return sp.until() != until && !sp.says(`"problem"`) })
	until = sp.until()
	sp.await("a rotation", func() bool { return sp.until() != until })
	signed := func(token string) string { head, _, _ := strings.Cut(token, "."); return head }
	attachedKey := func() string { // that signed the last token which the vault got
		sp.get(checkout, "https://vault.test/").fine(t)
		all := up.requests()
		for i := len(all) - 1; ; i-- {
			if token, is := strings.CutPrefix(all[i].Header.Get("Authorization"), "Bearer eyJ"); is {
				return signed(token)
			}
		}
	}
	attachedBefore, before := attachedKey(), signed(sp.token("any"))
	sp.rotate("jwt", func() bool { return signed(sp.token("any")) != before })
	sp.await("the revoked key is no longer used", func() bool { return attachedKey() != attachedBefore })
	for _, stop := range stops {
		stop()
	}

	partner := identitytest.NewCA("partner.example")
	roots, err := partner.Bundle().Marshal()
	ok(t, err)
	ok(t, os.WriteFile(sp.dir+"/partner.pem", roots, 0o600))
	sp.ctl("bundle", "set", "-id", "spiffe://partner.example", "-path", sp.dir+"/partner.pem")
	sp.entry(proxyID, "0", "update", "-entryID", entry, "-dns", "localhost", "-federatesWith", "spiffe://partner.example")
	foreign := partner.Issue(partnerID, time.Hour)
	kept := sp.caller(&tls.Certificate{PrivateKey: foreign.PrivateKey, Certificate: [][]byte{foreign.Certificates[0].Raw}}, nil, true)
	sp.await("a caller of the federation is let in", func() bool { n, _ := sp.code(kept, "api.test"); return n == http.StatusOK })
	sp.ctl("bundle", "delete", "-id", "spiffe://partner.example", "-mode", "dissociate")
	sp.await("its session ends with the federation", func() bool { _, why := sp.code(kept, "api.test"); return why == "caller_expired" })

	until = sp.until()
	sp.rotate("x509", func() bool { return sp.until() != until })
	sp.await("whom a revoked authority vouched for is refused", func() bool { n, _ := sp.code(checkout, "api.test"); return n != http.StatusOK })
	checkout = sp.caller(sp.svid(spireCheckout), nil, false)
	sp.get(checkout, "https://api.test/").fine(t)

	sp.ctl("entry", "delete", "-entryID", entry)
	sp.await("the entry is gone", func() bool { return sp.says("the agent denies") })
	if n, why := sp.code(checkout, "api.test"); n != 0 {
		t.Errorf("without an identity: %d %s", n, why)
	}
	sp.refusal("no_identity")
	sp.entry(proxyID, "0", "create", "-dns", "localhost")
	sp.await("it is back", func() bool { n, _ := sp.code(checkout, "api.test"); return n == http.StatusOK })
}
