package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// TestFederationRevokedEndsLiveSessions: what is open is closed, or refused at its next request.
func TestFederationRevokedEndsLiveSessions(t *testing.T) {
	s := newIdentified(t, []identity.Spec{{Name: "partner", SPIFFE: partnerID}}, "partner")
	in := func(protos ...string) *tls.Conn {
		c, err := s.enter(s.clientTLS(s.trust.api.Issue(partnerID, time.Hour), protos...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	inner, raw, idle := s.tunnelBy(in(), "api.test", ""), s.tunnelBy(in(), "other.test", ""), in()
	byJWT := s.tunnelBy(s.dial(), "api.test", "Bearer "+s.trust.api.Token(partnerID, audienceID, time.Minute))
	h2 := in("h2")
	cc := s.overH2(h2)
	_, t1 := s.connectH2(cc, h2, "api.test:443", "")
	_, t2 := s.connectH2(cc, h2, "other.test:443", "")
	innerH2, rawH2 := s.inside(t1, "api.test"), s.inside(t2, "other.test")
	all := []net.Conn{inner, byJWT, innerH2}
	for _, c := range all {
		if res, _ := s.say(c, get("/")); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
	}
	s.know(nil, "acme.example")
	for i, c := range all {
		if res, body := s.say(c, get("/")); res.StatusCode != 403 || reasonOf(t, body) != reasonCallerExpired || !res.Close {
			t.Errorf("%d: %s %s", i, res.Status, body)
		}
	}
	hungUp(t, raw)
	hungUp(t, rawH2)
	e := s.events.wait(t, func(e audit.Event) bool { return e.Host == "other.test" && e.Type == audit.Request })
	if e.Reason != reasonCallerExpired || e.Caller != "partner" {
		t.Errorf("the audit says %+v", e)
	}
	if res, err := connectTo(t, idle, "api.test:443", ""); err != nil || res.StatusCode != 403 || !res.Close {
		t.Errorf("on a connection from before: %v, %v", res, err)
	}
	if n := s.hits.Load(); n != 3 {
		t.Errorf("the upstream got %d requests, want 3", n)
	}
	s.know(nil, "acme.example", "partner.example") // and back
	if res, _ := s.say(s.tunnelBy(in(), "api.test", ""), get("/")); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

// TestJWTKeyWithdrawnEndsSessions: a session lives no longer than the key that its token was signed with;
// a rotation that keeps the key changes nothing.
func TestJWTKeyWithdrawnEndsSessions(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	c := s.tunnelBy(s.dial(), "api.test", "Bearer "+s.trust.api.Token(checkoutID, audienceID, time.Minute))
	s.trust.api.RotateJWTKeys()
	s.know(nil, "acme.example")
	if res, _ := s.say(c, get("/")); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	s.trust.api.Forget("acme.example")
	s.know(nil, "acme.example")
	if res, body := s.say(c, get("/")); res.StatusCode != 403 || reasonOf(t, body) != reasonCallerExpired {
		t.Error(res.Status, body)
	}
}

// hungUp waits for the end of a connection on which nothing more comes.
func hungUp(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("still open: %d bytes, %v", n, err)
	}
}

// TestCallerExpiresInTunnel: raw tunnels and upgraded connections end with the caller's proof; the next
// request inside an intercepted tunnel is refused, and its connection closed.
func TestCallerExpiresInTunnel(t *testing.T) {
	for _, by := range []string{"mtls", "jwt"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			s := newIdentified(t, callers(), "checkout")
			// Whole seconds are all that JWTs know; the rest of the test has to begin in time.
			const life = 4 * time.Second
			svid, token := s.checkout(life), "Bearer "+s.trust.api.Token(checkoutID, audienceID, life)
			in := func(host string) *tls.Conn {
				if by == "jwt" {
					return s.tunnelBy(s.dial(), host, token)
				}
				c, err := s.enter(s.clientTLS(svid))
				if err != nil {
					t.Fatal(err)
				}
				return s.tunnelBy(c, host, "")
			}
			inner, raw, up := in("api.test"), in("other.test"), in("api.test")
			if res, _ := s.say(inner, get("/")); res.StatusCode != 200 {
				t.Fatal(res.Status)
			}
			if res, _ := s.say(up, "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); res.StatusCode != 101 {
				t.Fatal(res.Status)
			}
			hungUp(t, raw)
			hungUp(t, up)
			for _, host := range []string{"other.test", "api.test"} {
				e := s.events.wait(t, func(e audit.Event) bool {
					return e.Type == audit.Request && e.Host == host && e.Reason == reasonCallerExpired
				})
				if e.Caller != "checkout" || e.Proof != by {
					t.Errorf("the audit says %+v", e)
				}
			}
			if by == "mtls" { // it was idle; had its request been on its way, it would be told
				hungUp(t, inner)
				return
			}
			if res, body := s.say(inner, get("/")); res.StatusCode != 403 || reasonOf(t, body) != reasonCallerExpired || !res.Close {
				t.Error(res.Status, body)
			}
		})
	}
}

// TestExpiredSVIDIsToldWithinTheGrace: a request on a connection whose SVID has just expired is refused with
// the reason, inside a tunnel and outside.
func TestExpiredSVIDIsToldWithinTheGrace(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	in := func(protos ...string) *tls.Conn {
		c, err := s.enter(s.clientTLS(s.checkout(time.Hour), protos...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	inner, outer, h2 := s.tunnelBy(in(), "api.test", ""), in(), in("h2")
	cc := s.overH2(h2)
	_, tunnel := s.connectH2(cc, h2, "api.test:443", "")
	innerH2 := s.inside(tunnel, "api.test")
	s.ahead.Store(int64(time.Hour + time.Second))
	for _, c := range []net.Conn{inner, innerH2} {
		if res, body := s.say(c, get("/")); res.StatusCode != 403 || reasonOf(t, body) != reasonCallerExpired || !res.Close {
			t.Error(res.Status, body)
		}
	}
	if res, err := connectTo(t, outer, "api.test:443", ""); err != nil || res.StatusCode != 403 || !res.Close {
		t.Error(res, err)
	}
	if res, _ := s.connectH2(cc, h2, "api.test:443", ""); res.StatusCode != 403 {
		t.Error(res.Status)
	}
	if s.hits.Load() != 0 {
		t.Error("the upstream got something")
	}
}

// TestConnectionOlderThanOurSVIDIsClosed: a client keeps no connection for longer than what the proxy
// showed for itself was valid, but what is under way goes on.
func TestConnectionOlderThanOurSVIDIsClosed(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	s.trust.own = s.trust.api.Issue(ownID, 3*time.Second)
	s.know(nil, "acme.example")
	in := func() *tls.Conn {
		c, err := s.enter(s.clientTLS(s.checkout(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	idle, raw := in(), s.tunnelBy(in(), "other.test", "")
	s.trust.own = s.trust.api.Issue(ownID, time.Hour)
	s.know(nil, "acme.example") // rotated
	hungUp(t, idle)
	if res, _ := s.say(raw, strings.Replace(get("/"), "api.test", "other.test", 1)); res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

// TestObservedTunnelEndsInTime: what only passes since unmatched hosts are observed ends with that.
func TestObservedTunnelEndsInTime(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	next := *s.live.Load()
	none := s.snapshot(t, rule{spec: policy.Spec{ID: "some", Hosts: []string{"third.test"}}, to: s.to})
	direct := s.snapshot(t, rule{spec: policy.Spec{ID: "x", Hosts: []string{"x.test"}}, to: s.to}).Rules[0].Upstream
	next.Policy, next.Rules, next.Direct, next.ObserveUntil = none.Policy, none.Rules, direct, time.Now().Add(2*time.Second)
	s.live.Publish(&next)
	raw := s.tunnelBy(s.dial(), "other.test", "")
	hungUp(t, raw)
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Host == "other.test" })
	if e.Decision != audit.WouldDeny || e.Reason != string(policy.NoRule) {
		t.Errorf("the audit says %+v", e)
	}
}
