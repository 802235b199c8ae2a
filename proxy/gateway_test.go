package proxy

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

const edgeID = "spiffe://acme.example/ns/shop/sa/edge"

// edge is a proxy without credentials, beside one that has them.
type edge struct {
	*stage
	gateway *identified
	svid    *x509svid.SVID
}

// newEdge makes both. The gateway's rules are for the named callers, of which it knows "edge" and "checkout".
func newEdge(t *testing.T, rules []rule, callers ...string) *edge {
	t.Helper()
	known := []identity.Spec{{Name: "edge", SPIFFE: edgeID}, {Name: "checkout", SPIFFE: checkoutID}}
	e := &edge{gateway: newIdentified(t, known, callers...)}
	e.stage = newStage(t, Options{}, rules...)
	e.roots = e.gateway.roots // what the client is shown is the gateway's
	e.show(e.gateway.trust.api.Issue(edgeID, time.Hour))
	e.leaveTo(ownID)
	return e
}

// show gives the edge an SVID.
func (e *edge) show(svid *x509svid.SVID) {
	e.svid = svid
	s := &identity.State{SVIDs: []*x509svid.SVID{svid}, X509: x509bundle.NewSet(e.gateway.trust.api.CA("acme.example").Bundle())}
	e.pool.SetIdentity(&dial.Identity{
		Certificate: s.Certificate,
		Verify: func(chain [][]byte, now time.Time) (string, time.Time, error) {
			id, expires, err := s.VerifyX509(chain, now)
			return id.String(), expires, err
		},
	})
}

// leaveTo makes the edge leave to the gateway what no rule names.
func (e *edge) leaveTo(peer string) {
	e.Helper()
	up, err := e.pool.Upstream(dial.Profile{ConnectTo: e.gateway.secure, Peer: peer, Protocol: dial.HTTP2})
	if err != nil {
		e.Fatal(err)
	}
	next := *e.live.Load()
	next.Callers = nil
	next.Gateway = &Gateway{Upstream: up, Audience: audienceID}
	e.live.Publish(&next)
}

// fetch gets api.test through the edge.
func (e *edge) fetch(user *url.Userinfo, host string) (status int, body string, err error) {
	e.Helper()
	res, err := e.client(false, user).Get("https://" + host + "/")
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func ended(method string) func(audit.Event) bool {
	return func(e audit.Event) bool { return e.Type == audit.Request && e.Method == method }
}

// TestEdgeLeavesHostsToGateway: the credential is the gateway's, the client's TLS ends there, many
// tunnels share one connection, and both audits say what happened.
func TestEdgeLeavesHostsToGateway(t *testing.T) {
	e := newEdge(t, nil, "edge")
	to := newRelay(t, e.gateway.secure)
	e.gateway.secure = to.addr
	e.leaveTo(ownID)
	for range 5 {
		status, body, err := e.fetch(nil, "api.test")
		if err != nil || status != 200 || body != "paid" {
			t.Fatal(status, body, err)
		}
	}
	if got := e.gateway.last.Load().Header.Get("Authorization"); got != "Bearer "+canary {
		t.Errorf("upstream got %q", got)
	}
	if e.gateway.last.Load().Header.Get("Via") != "" || e.gateway.last.Load().Header.Get("Proxy-Authorization") != "" {
		t.Error("what edge and gateway tell each other reached the upstream")
	}
	theirs := e.gateway.events.wait(t, ended("GET"))
	if theirs.Caller != "edge" || theirs.CallerID != edgeID || theirs.Proof != "mtls" || len(theirs.Credentials) != 1 {
		t.Errorf("the gateway's audit: %+v", theirs)
	}
	if n := to.conns.Load(); n != 1 {
		t.Errorf("%d connections to the gateway", n)
	}
}

// countingRelay passes TCP connections on, and counts them.
type countingRelay struct {
	addr  string
	conns atomic.Int64
}

func newRelay(t *testing.T, to string) *countingRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &countingRelay{addr: l.Addr().String()}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Add(1)
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			mu.Lock()
			open = append(open, c, up)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{up, c}, {c, up}} {
				serving.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return r
}

// TestEdgeAudit: the edge's event tells who decides, and counts the bytes.
func TestEdgeAudit(t *testing.T) {
	e := newEdge(t, nil, "edge")
	tc := e.open("api.test:443", "api.test")
	if res, body := e.say(tc, get("/")); res.StatusCode != 200 {
		t.Fatal(res.Status, body)
	}
	_ = tc.Close()
	ours := e.events.wait(t, ended("CONNECT"))
	if ours.Decision != audit.Gateway || ours.Reason != "" || len(ours.Credentials) != 0 || ours.BytesIn == 0 || ours.BytesOut == 0 || ours.Host != "api.test" {
		t.Errorf("%+v", ours)
	}
}

// TestCallersProofTravels: the gateway knows the caller behind the edge by the caller's own JWT-SVID,
// which it verifies itself; one that is not meant for it does not reach it.
func TestCallersProofTravels(t *testing.T) {
	e := newEdge(t, nil, "checkout")
	api := e.gateway.trust.api
	good := api.Token(checkoutID, audienceID, time.Minute)
	if status, body, err := e.fetch(url.UserPassword("jwt", good), "api.test"); err != nil || status != 200 {
		t.Fatal(status, body, err)
	}
	theirs := e.gateway.events.wait(t, ended("GET"))
	if theirs.Caller != "checkout" || theirs.Proof != "jwt" {
		t.Errorf("the gateway's audit: %+v", theirs)
	}
	parts := strings.Split(good, ".")
	// What is not meant for the gateway it never sees: it decides as if there were none.
	const unseen, seen = "caller_not_allowed", "proxy_auth_invalid"
	for name, c := range map[string]struct{ token, reason string }{
		"none":           {"", unseen},
		"other audience": {api.Token(checkoutID, "somebody else", time.Minute), unseen},
		"not a JWT":      {"open-sesame", unseen},
		"expired":        {api.Token(checkoutID, audienceID, -time.Minute), seen},
		"forged":         {parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), seen},
	} {
		var user *url.Userinfo
		if c.token != "" {
			user = url.UserPassword("jwt", c.token)
		}
		before := e.gateway.hits.Load()
		status, body, err := e.fetch(user, "api.test")
		if err == nil && status == 200 || e.gateway.hits.Load() != before {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if told := fmt.Sprint(body, err); !strings.Contains(told, c.reason) {
			t.Errorf("%s: %s, want %s", name, told, c.reason)
		}
	}
}

// TestGatewayRefusalIsTold: with its status and its reason, in the status line too.
func TestGatewayRefusalIsTold(t *testing.T) {
	e := newEdge(t, nil, "edge")
	res, body := e.say(e.dial(), "CONNECT unknown.test:443 HTTP/1.1\r\nHost: unknown.test:443\r\n\r\n")
	if res.StatusCode != 403 || !strings.HasSuffix(res.Status, "attache gateway_refused no_rule") || !strings.Contains(body, "no_rule: ") || reasonOf(t, body) != "gateway_refused" {
		t.Errorf("%s %s", res.Status, body)
	}
	ours := e.events.wait(t, ended("CONNECT"))
	if ours.Decision != audit.Refuse || ours.UpstreamStatus != 403 || ours.Status != 403 {
		t.Errorf("%+v", ours)
	}
}

// TestGatewayAway: refused with a reason of its own, whatever is wrong, and back once it is back.
func TestGatewayAway(t *testing.T) {
	e := newEdge(t, nil, "edge")
	ask := func() (int, string) {
		res, err := connectTo(t, e.dial(), "api.test:443", "")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == 200 {
			return 200, ""
		}
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, reasonOf(t, string(body))
	}
	e.leaveTo("spiffe://acme.example/ns/edge/sa/somebody")
	if status, reason := ask(); status != 503 || reason != "gateway_unavailable" {
		t.Errorf("another peer: %d %s", status, reason)
	}
	e.leaveTo(ownID)
	e.pool.SetIdentity(nil)
	if status, reason := ask(); status != 503 || reason != "identity_unavailable" {
		t.Errorf("no identity: %d %s", status, reason)
	}
	e.show(e.svid)
	secure := e.gateway.secure
	e.gateway.secure = "127.0.0.1:1"
	e.leaveTo(ownID)
	if status, reason := ask(); status != 503 || reason != "gateway_unavailable" {
		t.Errorf("nobody there: %d %s", status, reason)
	}
	e.gateway.secure = secure
	e.leaveTo(ownID)
	if status, reason := ask(); status != 200 {
		t.Errorf("back: %d %s", status, reason)
	}
	if e.gateway.hits.Load() != 0 {
		t.Error("something reached the upstream")
	}
}

// TestEdgeKeepsWhatItNames: a host that any rule of the edge names is decided there and nowhere else, and
// clear text is never passed on.
func TestEdgeKeepsWhatItNames(t *testing.T) {
	e := newEdge(t, []rule{
		{spec: policy.Spec{ID: "no", Hosts: []string{"api.test"}, Action: policy.Deny}},
		{spec: policy.Spec{ID: "post", Hosts: []string{"other.test"}, Methods: []string{"POST"}}},
	})
	res, body := e.say(e.dial(), "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
	if res.StatusCode != 403 || reasonOf(t, body) != "denied_by_rule" {
		t.Errorf("denied: %s %s", res.Status, body)
	}
	to := newRelay(t, e.gateway.secure)
	e.gateway.secure = to.addr
	e.leaveTo(ownID)
	e.roots.AppendCertsFromPEM(e.ca.CAPEM())
	tc := e.open("other.test:443", "other.test")
	res, body = e.say(tc, strings.Replace(get("/"), "api.test", "other.test", 1))
	if res.StatusCode != 403 || reasonOf(t, body) != "method_not_allowed" {
		t.Errorf("other method: %s %s", res.Status, body)
	}
	res, body = e.say(e.dial(), "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n")
	if res.StatusCode != 403 || reasonOf(t, body) != "no_rule" || !strings.Contains(body, "CONNECT") {
		t.Errorf("in clear: %s %s", res.Status, body)
	}
	if to.conns.Load() != 0 {
		t.Error("the gateway was asked")
	}
}

// TestGatewaysDoNotChain: what one Attaché passes on is decided by the next, so that no call goes round.
func TestGatewaysDoNotChain(t *testing.T) {
	e := newEdge(t, nil, "edge")
	up, err := e.gateway.pool.Upstream(dial.Profile{ConnectTo: e.gateway.secure, Peer: ownID, Protocol: dial.HTTP2})
	if err != nil {
		t.Fatal(err)
	}
	next := *e.gateway.live.Load()
	next.Gateway = &Gateway{Upstream: up}
	e.gateway.live.Publish(&next)
	res, body := e.say(e.dial(), "CONNECT unknown.test:443 HTTP/1.1\r\nHost: unknown.test:443\r\n\r\n")
	if res.StatusCode != 502 || !strings.Contains(body, "proxy_loop: ") {
		t.Errorf("%s %s", res.Status, body)
	}
}

// TestTunnelsToGatewayHeldToTheirName: SNI decides nothing that CONNECT did not.
func TestTunnelsToGatewayHeldToTheirName(t *testing.T) {
	e := newEdge(t, nil, "edge")
	c := e.dial()
	if res, err := connectTo(t, c, "api.test:443", ""); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	if err := tls.Client(c, &tls.Config{RootCAs: e.roots, ServerName: "other.test"}).HandshakeContext(t.Context()); err == nil {
		t.Error("another name passes")
	}
	e.events.wait(t, func(ev audit.Event) bool { return ev.Reason == reasonSNIMismatch })
}

// TestReloadTakesGatewayAway: what was left to a gateway that is no longer there ends.
func TestReloadTakesGatewayAway(t *testing.T) {
	e := newEdge(t, nil, "edge")
	tc := e.open("api.test:443", "api.test")
	e.leaveTo(ownID) // the same: nothing changes
	if res, body := e.say(tc, get("/")); res.StatusCode != 200 {
		t.Fatal(res.Status, body)
	}
	next := *e.live.Load()
	next.Gateway = nil
	e.live.Publish(&next)
	if _, err := tc.Read(make([]byte, 1)); err == nil {
		t.Error("the tunnel lives on")
	}
	ev := e.events.wait(t, ended("CONNECT"))
	if ev.Reason == "" {
		t.Errorf("%+v", ev)
	}
}

// TestQuietTunnelsMoveOnWhenSVIDRotates: a tunnel on the old connection ends when nothing moves in it, and
// that is no failure.
func TestQuietTunnelsMoveOnWhenSVIDRotates(t *testing.T) {
	e := newEdge(t, nil, "edge")
	tc := e.open("api.test:443", "api.test")
	if res, body := e.say(tc, get("/")); res.StatusCode != 200 {
		t.Fatal(res.Status, body)
	}
	e.show(e.gateway.trust.api.Issue(edgeID, time.Hour))
	_, err := tc.Read(make([]byte, 1))
	if err == nil {
		t.Error("the gateway said something")
	}
	if ev := e.events.wait(t, ended("CONNECT")); ev.Reason != "" || ev.Decision != audit.Gateway {
		t.Errorf("%+v", ev)
	}
	if status, body, err := e.fetch(nil, "api.test"); status != 200 || err != nil {
		t.Error(status, body, err)
	}
}

// TestProofNearItsEndWindsConnectionsDown: in the last quarter of a proof each answer says that it is the
// connection's last, so that clients that keep connections for long are never refused at its end.
func TestProofNearItsEndWindsConnectionsDown(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	for name, open := range map[string]func() *tls.Conn{
		"X.509": func() *tls.Conn {
			c, err := s.enter(s.clientTLS(s.checkout(time.Hour)))
			if err != nil {
				t.Fatal(err)
			}
			return s.tunnelBy(c, "api.test", "")
		},
		"JWT": func() *tls.Conn {
			c, err := s.enter(s.clientTLS(nil))
			if err != nil {
				t.Fatal(err)
			}
			return s.tunnelBy(c, "api.test", "Bearer "+s.trust.api.Token(checkoutID, audienceID, time.Hour))
		},
	} {
		tc := open()
		if res, body := s.say(tc, get("/")); res.StatusCode != 200 || res.Close {
			t.Fatalf("%s, at first: %s %s, close %v", name, res.Status, body, res.Close)
		}
		s.ahead.Store(int64(50 * time.Minute))
		if res, body := s.say(tc, get("/")); res.StatusCode != 200 || body != "paid" || !res.Close {
			t.Errorf("%s, near its end: %s %s, close %v", name, res.Status, body, res.Close)
		}
		s.ahead.Store(0)
	}
}
