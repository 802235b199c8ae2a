package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attache-proxy/attache/identity/identitytest"
	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	partnerURL = "https://partner.example.com/"
	publicURL  = "https://example.com/"
)

// partnered is a proxy whose agent federates with an upstream's trust domain.
func partnered(t *testing.T, ids ...string) (*identitytest.API, *seen) {
	agent := identitytest.Start(t, ids...)
	agent.Federate("partner.example")
	return agent, svidSite(t, agent.Issue(partner, time.Hour))
}

// refused reports that a call was refused for want of an identity, and that it did not reach the upstream.
func refused(t *testing.T, s *seen, c *http.Client) bool {
	t.Helper()
	before := s.count()
	code, body := get(t, c, partnerURL)
	if s.count() != before {
		return false
	}
	return code == 503 && (strings.Contains(body, "jwt_svid:partner-api") || strings.Contains(body, "identity_unavailable"))
}

// told reports whether an event of that type has text in its detail.
func (r *running) told(of audit.Type, text string) bool {
	for _, e := range r.events.calls() {
		if e.Type == of && strings.Contains(e.Detail, text) {
			return true
		}
	}
	return false
}

// TestAgentDown: what needs no identity is served; what needs one waits for the agent, and readiness with it.
func TestAgentDown(t *testing.T) {
	agent, s := partnered(t, shop)
	agent.Stop()
	r := launchLegs(t, agent, s)
	c := r.client()
	for range 3 {
		if !refused(t, s, c) {
			t.Error("not refused while the agent is down")
		}
	}
	if code, _ := get(t, c, publicURL); code != 200 {
		t.Errorf("the rule that needs no identity: %d", code)
	}
	await(t, "readyz names the socket", func() bool {
		code, text := r.readyz()
		return code == 503 && strings.Contains(text, "identity: the agent cannot be reached") && strings.Contains(text, "agent.sock")
	})
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	await(t, "started", r.Started)
	if code, body := get(t, c, partnerURL); code != 200 || s.last(&s.ids) != shop {
		t.Errorf("%d %s as %q", code, body, s.last(&s.ids))
	}
}

// TestAgentRestarted: no call fails while the agent restarts, three times, also where it answers strangely at first; and
// what it gives afterwards is shown.
func TestAgentRestarted(t *testing.T) {
	agent, s := partnered(t, shop)
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	stop := r.calls(4, partnerURL)
	for _, first := range []error{nil, status.Error(codes.InvalidArgument, "not yet"), status.Error(codes.PermissionDenied, "not yet")} {
		before := s.last(&s.serials)
		agent.Stop()
		await(t, "the outage shows", func() bool { return r.Identity().Problem != "" })
		agent.Fail(first)
		agent.Rotate()
		if err := agent.Resume(); err != nil {
			t.Fatal(err)
		}
		if first != nil {
			await(t, "the agent's answer shows", func() bool { return strings.Contains(r.Identity().Problem, "not yet") })
		}
		agent.Allow()
		await(t, "the new SVID is shown", func() bool { return s.last(&s.serials) != before })
	}
	stop()
}

// TestIdentityRotatesUnderLoad: SVIDs of a minute, replaced twenty times, roots and keys with them, while calls go on: none fails.
func TestIdentityRotatesUnderLoad(t *testing.T) {
	agent, s := partnered(t, shop)
	agent.SetTTL(time.Minute, time.Minute)
	agent.Rotate()
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	stop := r.calls(8, partnerURL)
	for i := range 20 {
		before := s.last(&s.serials)
		if i%5 == 4 {
			agent.RotateRoot("acme.example")
			agent.RotateJWTKeys()
		}
		agent.Rotate()
		await(t, "the new SVID is shown", func() bool { return s.last(&s.serials) != before })
	}
	stop()
}

// calls calls from n clients at once until stop, which holds that none failed.
func (r *running) calls(n int, url string) (stop func()) {
	r.t.Helper()
	var calls, failed atomic.Int64
	var why atomic.Pointer[string]
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	for range n {
		c := r.client()
		wg.Go(func() {
			for ctx.Err() == nil {
				calls.Add(1)
				res, err := c.Get(url)
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err != nil || res.StatusCode != 200 {
					failed.Add(1)
					text := fmt.Sprint(res, err)
					why.Store(&text)
				}
			}
		})
	}
	return func() {
		r.t.Helper()
		cancel()
		wg.Wait()
		r.t.Logf("%d calls, %d failed", calls.Load(), failed.Load())
		if failed.Load() > 0 || calls.Load() == 0 {
			r.t.Errorf("%d of %d calls failed: %s", failed.Load(), calls.Load(), *why.Load())
		}
	}
}

// TestAgentDeniesThenAllows: at the start, and three times in operation. What the agent takes back is not used on.
func TestAgentDeniesThenAllows(t *testing.T) {
	agent, s := partnered(t)
	r := launchLegs(t, agent, s)
	c := r.client()
	await(t, "the denial shows", func() bool {
		code, text := r.readyz()
		return code == 503 && strings.Contains(text, "identity: the agent denies: no identity issued")
	})
	if !refused(t, s, c) {
		t.Error("not refused without an SVID")
	}
	agent.Register(shop)
	await(t, "started", r.Started)
	for range 3 {
		await(t, "served", func() bool { code, _ := get(t, c, partnerURL); return code == 200 })
		agent.Deny()
		await(t, "refused", func() bool { return refused(t, s, c) })
		if code, _ := get(t, c, publicURL); code != 200 {
			t.Errorf("the rule that needs no identity: %d", code)
		}
		if code, _ := r.readyz(); code != 200 {
			t.Errorf("readyz %d: a denial must not take a pod out", code)
		}
		agent.Allow()
	}
	await(t, "served again", func() bool { code, _ := get(t, c, partnerURL); return code == 200 })
	if !r.told(audit.IdentityUpdated, "none") || !r.told(audit.IdentityUpdated, shop+" until ") {
		t.Error("the audit does not tell of the denial and of its end")
	}
}

// TestExpiredSVID: an agent that goes away takes the identity with it when that expires, over connections that are open too.
func TestExpiredSVID(t *testing.T) {
	agent, s := partnered(t, shop)
	agent.SetTTL(3*time.Second, 0)
	agent.Rotate()
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	c := r.client()
	if code, body := get(t, c, partnerURL); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	end := r.Identity().SVIDs[0].NotAfter
	agent.Stop()
	await(t, "it has expired", func() bool { return !time.Now().Before(end) })
	for range 3 {
		if !refused(t, s, c) {
			t.Error("an expired SVID is used")
		}
	}
	await(t, "the expiry is told", func() bool {
		code, text := r.readyz()
		return code == 200 && strings.Contains(text, "identity: "+shop+": expired at ") && r.told(audit.IdentityUpdated, "expired at")
	})
	agent.SetTTL(time.Hour, 0)
	agent.Rotate()
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	await(t, "served again", func() bool { code, _ := get(t, c, partnerURL); return code == 200 })
}
