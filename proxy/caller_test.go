package proxy

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// callers knows one by its SPIFFE ID.
func callers() []identity.Spec { return []identity.Spec{{Name: "checkout", SPIFFE: checkoutID}} }

// TestSVIDGivesTheCredential: a caller known by its X509-SVID, over HTTP/1.1 and over HTTP/2, with many
// tunnels on one connection.
func TestSVIDGivesTheCredential(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	c, err := s.enter(s.clientTLS(s.checkout(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	tc := s.tunnelBy(c, "api.test", "")
	for range 2 {
		if res, body := s.say(tc, get("/")); res.StatusCode != 200 || body != "paid" {
			t.Fatal(res.Status, body)
		}
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Method == "GET" })
	if e.Caller != "checkout" || e.CallerID != checkoutID || e.Proof != "mtls" || len(e.Credentials) != 1 {
		t.Errorf("the audit says %+v", e)
	}

	c, err = s.enter(s.clientTLS(s.checkout(time.Hour), "h2"))
	if err != nil || c.ConnectionState().NegotiatedProtocol != "h2" {
		t.Fatal(err, c.ConnectionState().NegotiatedProtocol)
	}
	cc := s.overH2(c)
	for _, host := range []string{"api.test", "api.test", "other.test"} {
		res, tunnel := s.connectH2(cc, c, host+":443", "")
		if res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		tc := s.inside(tunnel, host)
		for range 2 {
			text := strings.Replace(get("/"), "api.test", host, 1)
			if res, body := s.say(tc, text); res.StatusCode != 200 || body != "paid" {
				t.Fatal(host, res.Status, body)
			}
		}
		_ = tc.Close()
		_ = tunnel.Close()
	}
	if n := s.hits.Load(); n != 8 {
		t.Errorf("the upstream got %d requests, want 8", n)
	}
}

// TestProofByJWT: as a bearer and as a Basic password, in clear on loopback and over TLS without a
// client certificate.
func TestProofByJWT(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	token := s.trust.api.Token(checkoutID, audienceID, time.Minute)
	for _, shown := range []string{"Bearer " + token, "bearer  " + token, basicAuth("jwt", token)} {
		for _, secure := range []bool{false, true} {
			c := s.way(secure)
			if res, body := s.say(s.tunnelBy(c, "api.test", shown), get("/")); res.StatusCode != 200 || body != "paid" {
				t.Fatal(res.Status, body)
			}
		}
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Method == "GET" })
	if e.Caller != "checkout" || e.CallerID != checkoutID || e.Proof != "jwt" {
		t.Errorf("the audit says %+v", e)
	}
	if s.last.Load().Header.Get("Proxy-Authorization") != "" {
		t.Error("Proxy-Authorization was sent on")
	}
}

// way is a connection to the proxy by either listener, without a client certificate.
func (s *identified) way(secure bool) net.Conn {
	if !secure {
		return s.dial()
	}
	c, err := s.enter(s.clientTLS(nil))
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// refusedJWT expects a 407 for a token, over either protocol, and nothing upstream.
func refusedJWT(t *testing.T, s *identified, token string) {
	t.Helper()
	for _, shown := range []string{"Bearer " + token, basicAuth("jwt", token)} {
		for _, secure := range []bool{false, true} {
			res, err := connectTo(t, s.way(secure), "api.test:443", shown)
			if err != nil || res.StatusCode != 407 {
				t.Fatalf("%v, %v; want 407", res, err)
			}
			body, _ := io.ReadAll(res.Body)
			if got := reasonOf(t, string(body)); got != reasonAuthInvalid {
				t.Errorf("reason %q", got)
			}
			if v := res.Header.Values("Proxy-Authenticate"); len(v) != 2 || !strings.HasPrefix(v[1], "Bearer ") {
				t.Errorf("Proxy-Authenticate: %q", v)
			}
		}
	}
	if n := s.hits.Load(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	for _, e := range s.events.all {
		if e.Type == audit.Request && e.Decision != audit.Refuse {
			t.Errorf("the audit says %+v", e)
		}
	}
}

func TestJWTSVIDWrongAudience(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	refusedJWT(t, s, s.trust.api.Token(checkoutID, "spiffe://acme.example/other", time.Minute))
}

// TestJWTSVIDReplayedToOther: what a caller sent to some API with its JWT-SVID, that API cannot use here,
// nor can a token of a trust domain that is not trusted.
func TestJWTSVIDReplayedToOther(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	refusedJWT(t, s, s.trust.api.Token(checkoutID, "https://api.test", time.Minute))
	s.know(nil, "acme.example")
	refusedJWT(t, s, s.trust.api.Token(partnerID, audienceID, time.Minute))
}

func TestJWTSVIDExpired(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	refusedJWT(t, s, s.trust.api.Token(checkoutID, audienceID, -time.Second))
}

func TestJWTSVIDAlgNone(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	good := strings.Split(s.trust.api.Token(checkoutID, audienceID, time.Minute), ".")
	head := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for _, token := range []string{
		head(`{"alg":"none","typ":"JWT"}`) + "." + good[1] + ".",
		head(`{"alg":"none","typ":"JWT"}`) + "." + good[1] + "." + good[2],
		head(`{"alg":"HS256","typ":"JWT"}`) + "." + good[1] + "." + good[2],
		good[0] + "." + good[1] + ".",
		good[0] + "." + head(`{"sub":"`+checkoutID+`","aud":["`+audienceID+`"],"exp":9999999999}`) + "." + good[2],
		good[0] + "." + good[1], "x", "", "..",
	} {
		refusedJWT(t, s, token)
	}
	s.trust.api.RotateJWTKeys()
	refusedJWT(t, s, s.trust.api.Token(checkoutID, audienceID, time.Minute)) // a key that is in no bundle yet
}

// kept expects that a client with this SVID gets nowhere: neither in, nor, once in, to the API.
func kept(t *testing.T, s *identified, svid *x509svid.SVID) {
	t.Helper()
	for _, proto := range []string{"http/1.1", "h2"} {
		c, err := s.enter(s.clientTLS(svid, proto))
		if err != nil {
			continue
		}
		var res *http.Response
		var tunnel net.Conn = c
		if proto == "h2" {
			res, tunnel, err = s.tryH2(s.overH2(c), c, "api.test:443", "")
		} else {
			res, err = connectTo(t, c, "api.test:443", "")
		}
		if err != nil || res.StatusCode != 200 {
			continue
		}
		if res, body := s.say(s.inside(tunnel, "api.test"), get("/")); res.StatusCode != 403 {
			t.Errorf("%s: let through: %s %s", proto, res.Status, body)
		}
	}
	if n := s.hits.Load(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// handshakeRefused waits for the event of a client that did not get in.
func handshakeRefused(t *testing.T, s *identified) {
	t.Helper()
	e := s.events.wait(t, func(e audit.Event) bool { return e.Reason == reasonOuterHandshake })
	if e.Decision != audit.Refuse || e.Fault != "caller" || e.Listener != "proxy" || e.Detail == "" {
		t.Errorf("the audit says %+v", e)
	}
}

func TestExpiredSVID(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	kept(t, s, s.checkout(-time.Second))
	handshakeRefused(t, s)
}

func TestWrongTrustDomain(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	kept(t, s, s.trust.api.Issue("spiffe://evil.example/ns/shop/sa/checkout", time.Hour))
	handshakeRefused(t, s)
	kept(t, s, s.trust.api.Issue("spiffe://partner.example/ns/shop/sa/checkout", time.Hour))
	// A trusted authority that signs for another's trust domain.
	kept(t, s, s.trust.api.CA("partner.example").Issue(checkoutID, time.Hour))
}

func TestIDPrefixConfusion(t *testing.T) {
	s := newIdentified(t, []identity.Spec{
		{Name: "checkout", SPIFFE: checkoutID}, {Name: "below", SPIFFE: "spiffe://acme.example/ns/shop/jobs/**"}, {Name: "one", SPIFFE: "spiffe://acme.example/ns/*/cron"},
	})
	s.know(nil, "acme.example", "partner.example")
	next := *s.live.Load()
	other := s.snapshot(t, s.rules("checkout", "below", "one")...)
	next.Policy, next.Rules = other.Policy, other.Rules
	s.live.Publish(&next)
	for _, id := range []string{
		checkoutID + "-admin", checkoutID + "/admin", "spiffe://acme.example/ns/shop/sa/check", "spiffe://acme.example/ns/shop/sa",
		"spiffe://acme.example/ns/shop/jobs", "spiffe://acme.example/ns/shop/jobs-x/y", "spiffe://acme.example/ns/a/b/cron", "spiffe://acme.example/ns/cron",
		"spiffe://acme.example.evil.example/ns/shop/sa/checkout", "spiffe://acme.example/NS/shop/sa/checkout",
	} {
		kept(t, s, s.trust.api.Issue(id, time.Hour))
	}
	for _, id := range []string{checkoutID, "spiffe://acme.example/ns/shop/jobs/x", "spiffe://acme.example/ns/shop/jobs/x/y", "spiffe://acme.example/ns/a/cron"} {
		c, err := s.enter(s.clientTLS(s.trust.api.Issue(id, time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if res, _ := s.say(s.tunnelBy(c, "api.test", ""), get("/")); res.StatusCode != 200 {
			t.Errorf("%s: %s", id, res.Status)
		}
	}
}

// TestRootPathID: an SVID that names a trust domain and no workload is none, in X.509 and as a JWT.
func TestRootPathID(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	kept(t, s, s.trust.api.Issue("spiffe://acme.example", time.Hour))
	handshakeRefused(t, s)
	refusedJWT(t, s, s.trust.api.Token("spiffe://acme.example", audienceID, time.Minute))
}

// TestStrangerIsNamedInTheAudit: a verified ID for which no caller is configured gets nothing, and the audit
// says who it was.
func TestStrangerIsNamedInTheAudit(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	kept(t, s, s.trust.api.Issue(partnerID, time.Hour))
	s.events.wait(t, func(e audit.Event) bool {
		return e.Decision == audit.Refuse && e.Caller == "" && e.CallerID == partnerID && e.Proof == "mtls"
	})
}

// TestCertificateAskedForWhereNothingElseProves: a client without a certificate gets in only while some
// caller can prove itself otherwise, and one with a certificate that is not valid never does.
func TestCertificateAskedForWhereNothingElseProves(t *testing.T) {
	only := []identity.Spec{{Name: "checkout", SPIFFE: checkoutID, Proof: identity.ProofMTLS}}
	s := newIdentified(t, only, "checkout")
	kept(t, s, nil)
	handshakeRefused(t, s)
	s.know(append(only, identity.Spec{Name: "app", Token: "token"}), "acme.example")
	if res, err := connectTo(t, s.way(true), "api.test:443", basicAuth("app", "open-sesame")); err != nil || res.StatusCode != 200 {
		t.Errorf("%v, %v; want 200", res, err)
	}
	kept(t, s, nil)
	kept(t, s, s.checkout(-time.Second))
	kept(t, s, s.trust.api.Issue("spiffe://evil.example/x", time.Hour))
}

// TestTLSResumptionAfterRevocation: the server gives no session tickets, so there is nothing by which a
// client could come back without being looked at.
func TestTLSResumptionAfterRevocation(t *testing.T) {
	s := newIdentified(t, []identity.Spec{{Name: "partner", SPIFFE: partnerID}}, "partner")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s.know(nil, "acme.example", "partner.example")
		cfg := s.clientTLS(s.trust.api.Issue(partnerID, time.Hour))
		cfg.MaxVersion, cfg.ServerName = version, "attache.test"
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		for range 2 {
			c, err := s.enter(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if res, _ := s.say(s.tunnelBy(c, "api.test", ""), get("/")); res.StatusCode != 200 {
				t.Fatal(res.Status)
			}
			if c.ConnectionState().DidResume {
				t.Error("a session was resumed")
			}
			_ = c.Close()
		}
		s.know(nil, "acme.example") // the federation is over
		hits := s.hits.Load()
		c, err := s.enter(cfg)
		if err == nil {
			_, err = connectTo(t, c, "api.test:443", "")
		}
		if err == nil || s.hits.Load() != hits {
			t.Errorf("TLS %x: came in after the revocation: %v", version, err)
		}
	}
}

// TestNoIdentityLetsNobodyIn: without a valid SVID of its own the listener refuses, says why in the audit, and
// recovers by itself.
func TestNoIdentityLetsNobodyIn(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	own := s.trust.own
	for _, without := range []*x509svid.SVID{nil, s.trust.api.Issue(ownID, -time.Second)} {
		s.trust.own = without
		s.know(nil, "acme.example")
		if _, err := s.enter(s.clientTLS(s.checkout(time.Hour))); err == nil {
			t.Error("came in")
		}
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Reason == reasonNoIdentity })
	if e.Fault != "proxy" {
		t.Errorf("the audit says %+v", e)
	}
	s.trust.own = own
	s.know(nil, "acme.example")
	c, err := s.enter(s.clientTLS(s.checkout(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	if res, _ := s.say(s.tunnelBy(c, "api.test", ""), get("/")); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

// TestPodProofInWrongPod: a configuration copied to a pod with another SVID attaches nothing; and what the
// right pod had open ends when its SVID is taken away.
func TestPodProofInWrongPod(t *testing.T) {
	pod := []identity.Spec{{Name: "pod", SPIFFE: checkoutID, Proof: identity.ProofPod}}
	s := newIdentified(t, pod, "pod")
	if res, body := s.say(s.tunnelBy(s.dial(), "api.test", ""), get("/")); res.StatusCode != 403 || reasonOf(t, body) != "caller_not_allowed" {
		t.Error("in the wrong pod:", res.Status, body)
	}
	if s.hits.Load() != 0 {
		t.Fatal("the upstream got something")
	}
	other := s.trust.own
	s.trust.own = s.checkout(time.Hour)
	s.know(nil, "acme.example")
	inner, raw := s.tunnelBy(s.dial(), "api.test", ""), s.tunnelBy(s.dial(), "other.test", "")
	if res, _ := s.say(inner, get("/")); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Status == 200 })
	if e.Caller != "pod" || e.CallerID != checkoutID || e.Proof != "pod" {
		t.Errorf("the audit says %+v", e)
	}
	s.trust.own = s.checkout(2 * time.Hour) // rotated: nobody notices
	s.know(nil, "acme.example")
	if res, _ := s.say(inner, get("/")); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	s.ahead.Store(int64(3 * time.Hour)) // and expired without a successor
	if res, body := s.say(inner, get("/")); res.StatusCode != 403 || reasonOf(t, body) != reasonCallerExpired {
		t.Error(res.Status, body)
	}
	s.ahead.Store(0)
	s.trust.own = other
	s.know(nil, "acme.example")
	hungUp(t, raw)
}

// TestCallerHeaderForgery: what a client says of itself in headers proves nothing and goes no further.
func TestCallerHeaderForgery(t *testing.T) {
	s := newIdentified(t, callers())
	forged := "X-Forwarded-Client-Cert: By=" + ownID + ";URI=" + checkoutID + "\r\nX-Spiffe-Id: " + checkoutID +
		"\r\nForwarded: for=10.0.0.1;by=" + checkoutID + "\r\nX-Forwarded-For: 10.0.0.1\r\nX-Real-Ip: 10.0.0.1\r\n"
	c := s.dial()
	_, _ = io.WriteString(c, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n"+forged+"\r\n")
	if res, err := http.ReadResponse(newReader(c), nil); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	if res, body := s.say(s.inside(c, "api.test"), strings.Replace(get("/"), "\r\n\r\n", "\r\n"+forged+"\r\n", 1)); res.StatusCode != 200 {
		t.Fatal(res.Status, body)
	}
	got := s.last.Load()
	for _, name := range []string{"X-Forwarded-Client-Cert", "X-Spiffe-Id", "Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if v := got.Header.Values(name); len(v) > 0 {
			t.Errorf("%s was sent on: %q", name, v)
		}
	}
	next := *s.live.Load()
	other := s.snapshot(t, s.rules("checkout")...)
	next.Policy, next.Rules = other.Policy, other.Rules
	s.live.Publish(&next)
	hits := s.hits.Load()
	c = s.dial()
	_, _ = io.WriteString(c, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n"+forged+"\r\n")
	res, err := http.ReadResponse(newReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == 200 {
		if res, _ := s.say(s.inside(c, "api.test"), strings.Replace(get("/"), "\r\n\r\n", "\r\n"+forged+"\r\n", 1)); res.StatusCode != 403 {
			t.Error(res.Status)
		}
	}
	if s.hits.Load() != hits {
		t.Error("the upstream got something")
	}
}

// TestRecheckAllocatesNothing: a caller known by SPIFFE costs its inner requests no allocation.
func TestRecheckAllocatesNothing(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	a := s.live.Load().Callers
	leaf := s.checkout(time.Hour).Certificates
	o := a.Observe(identity.Conn{Local: &net.TCPAddr{}, Remote: &net.TCPAddr{}, Certificates: leaf})
	c := &conn{proxy: s.proxy, Conn: s.dial()}
	peer, err := a.Authenticate(o, "", s.proxy.known(s.live.Load()))
	if err != nil || len(peer.Names()) != 1 {
		t.Fatal(peer, err)
	}
	c.peer = peer
	c.seen.Store(&seen{a, o})
	snap := s.live.Load()
	request := policy.Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: "/v1/x", Callers: peer.Names()}
	if n := testing.AllocsPerRun(100, func() {
		if !c.stillWho(snap) || !snap.Policy.Decide(&request).Allowed {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
