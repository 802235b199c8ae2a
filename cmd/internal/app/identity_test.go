package app

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	shop  = "spiffe://acme.example/ns/shop/sa/checkout"
	other = "spiffe://acme.example/ns/shop/sa/reports"
)

// identified is basic with an identity from @agent.
func identified(agent *identitytest.API) string {
	return strings.ReplaceAll(basic, "listen:", "identity: {spiffe: \""+agent.Addr()+"\"}\nlisten:")
}

// id is the identity in force.
func (r *running) id() string { return r.live.Load().Identity.ID().String() }

// readyz is the status and text of /readyz?verbose.
func (r *running) readyz() (int, string) {
	return get(r.t, http.DefaultClient, "http://"+r.Addr("admin").String()+"/readyz?verbose")
}

func TestStartWaitsForIdentity(t *testing.T) {
	agent := identitytest.Start(t)
	r := launch(t, newSite(t, nil), identified(agent), nil)
	r.write("key", "made-up-key-one")
	await(t, "the denial shows", func() bool {
		status, text := r.readyz()
		return status == 503 && strings.Contains(text, "identity: the agent denies: no identity issued")
	})
	agent.Register(shop)
	await(t, "ready", func() bool {
		status, text := r.readyz()
		return status == 200 && !strings.Contains(text, "identity")
	})
	if r.id() != shop {
		t.Errorf("identity %q", r.id())
	}
	if !slices.Contains(r.events.types(), audit.IdentityUpdated) {
		t.Error("no event tells of the identity")
	}
	agent.Stop()
	await(t, "the outage shows", func() bool {
		status, text := r.readyz()
		return status == 200 && strings.Contains(text, "identity: ")
	})
}

func TestReloadChangesIdentityOrNothing(t *testing.T) {
	s, agent, next := newSite(t, nil), identitytest.Start(t, shop), identitytest.Start(t, other)
	r := launch(t, s, identified(agent), map[string]string{"key": "made-up-key-one"})
	before := r.live.Load().Identity.Generation
	r.configure(s, identified(next))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := r.live.Load().Identity; now.ID().String() != other || now.Generation <= before {
		t.Errorf("identity %q, generation %d after %d", now.ID(), now.Generation, before)
	}
	r.configure(s, basic)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.live.Load().Identity != nil || r.Identity() != nil {
		t.Error("an identity that is no longer configured is in force")
	}
}

// TestRevocationDoesNotWaitForReload: while a reload waits for a new secret, what the agent takes back is out of
// force at once, and the new secrets and rules are not in force yet.
func TestRevocationDoesNotWaitForReload(t *testing.T) {
	s, agent, src := newSite(t, nil), identitytest.Start(t, shop), slowSource{make(chan struct{})}
	agent.Federate("bank.example")
	r := launch(t, s, identified(agent), map[string]string{"key": "made-up-key-one"})
	peer := agent.Issue("spiffe://bank.example/a", time.Hour)
	trusted := func() bool {
		_, _, err := r.live.Load().Identity.VerifyX509([][]byte{peer.Certificates[0].Raw}, time.Now())
		return err == nil
	}
	if !trusted() {
		t.Fatal("the federation is not there")
	}
	next, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	next.cfg.Secrets[0].Source, next.cfg.Secrets[0].Key = src, "slow"
	generation := r.live.Load().Generation
	done := make(chan error, 1)
	go func() {
		r.reload.mu.Lock()
		defer r.reload.mu.Unlock()
		done <- r.adopt(next)
	}()
	await(t, "the reload waits", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now.hold
	})
	agent.Unfederate("bank.example")
	await(t, "the federation has ended", func() bool { return !trusted() })
	agent.Deny()
	await(t, "the identity is gone", func() bool { return r.live.Load().Identity.ID().IsZero() })
	select {
	case <-done:
		t.Fatal("the reload was over by then")
	default:
	}
	if r.live.Load().Generation != generation {
		t.Error("the new rules are in force already")
	}
	close(src.release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
