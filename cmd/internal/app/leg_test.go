package app

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity/identitytest"
	"github.com/attache-proxy/attache/proxy/audit"
)

const partner = "spiffe://partner.example/ns/shop/sa/api"

// svidSite is an upstream that shows an SVID, asks for one, and repeats the bearer token that it was sent.
func svidSite(t *testing.T, svid *x509svid.SVID) *seen {
	s := &seen{site: &site{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		s.tokens = append(s.tokens, token)
		if certs := r.TLS.PeerCertificates; len(certs) > 0 {
			s.serials = append(s.serials, certs[0].SerialNumber.String())
			s.ids = append(s.ids, certs[0].URIs[0].String())
		}
		s.mu.Unlock()
		_, _ = io.WriteString(w, "token="+token+" base64="+base64.StdEncoding.EncodeToString([]byte(token)))
	}))
	c := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, cert := range svid.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{c}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

type seen struct {
	*site
	mu                   sync.Mutex
	tokens, serials, ids []string
}

func (s *seen) last(of *[]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*of) == 0 {
		return ""
	}
	return (*of)[len(*of)-1]
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

// legs has a rule by peer and JWT-SVID, and one that needs no identity.
const legs = `
version: 1
identity: {spiffe: "@agent"}
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0"}
audit: {file: none}
rules:
  - {id: partner, hosts: partner.example.com, attach: {jwt_svid: partner-api}, upstream: {connect_to: "@site", peer: "spiffe://partner.example/ns/*/sa/api"}}
  - {id: public, hosts: example.com, upstream: {connect_to: "@public", ca: "@dir/public.pem"}}
`

func launchLegs(t *testing.T, agent *identitytest.API, s *seen) *running {
	public := newSite(t, nil)
	config := strings.NewReplacer("@agent", agent.Addr(), "@public", public.Listener.Addr().String()).Replace(legs)
	r := launch(t, s.site, config, map[string]string{
		"public.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public.Certificate().Raw})),
	})
	return r
}

// TestUpstreamByPeer holds the leg to a SPIFFE upstream end to end: our SVID shown, the JWT-SVID attached
// and masked, rotation followed, the end of a federation obeyed; and that nothing is sent without an identity.
func TestUpstreamByPeer(t *testing.T) {
	agent := identitytest.Start(t)
	agent.Federate("partner.example")
	s := svidSite(t, agent.Issue(partner, time.Hour))
	r := launchLegs(t, agent, s)
	c := r.client()
	if status, body := get(t, c, "https://partner.example.com/"); status != 503 || !strings.Contains(body, "jwt_svid:partner-api") && !strings.Contains(body, "identity_unavailable") {
		t.Errorf("without an identity: %d %s", status, body)
	}
	if status, _ := get(t, c, "https://example.com/"); status != 200 {
		t.Errorf("the rule that needs none: %d", status)
	}
	agent.Register(shop)
	await(t, "started", r.Started)
	status, body := get(t, c, "https://partner.example.com/")
	token := s.last(&s.tokens)
	switch {
	case status != 200 || strings.Count(token, ".") != 2:
		t.Fatalf("with an identity: %d %s, token of %d bytes", status, body, len(token))
	case strings.Contains(body, token) || strings.Contains(body, base64.StdEncoding.EncodeToString([]byte(token))):
		t.Error("the JWT-SVID came back unmasked")
	case s.last(&s.ids) != shop:
		t.Errorf("showed %q", s.last(&s.ids))
	}
	before := s.last(&s.serials)
	agent.Rotate()
	await(t, "the new SVID is shown", func() bool {
		status, _ := get(t, c, "https://partner.example.com/")
		return status == 200 && s.last(&s.serials) != before
	})
	agent.Unfederate("partner.example")
	await(t, "the federation has ended", func() bool {
		status, body := get(t, c, "https://partner.example.com/")
		return status == 502 && strings.Contains(body, "upstream_unverified")
	})
	sent := s.count()
	if status, _ := get(t, c, "https://partner.example.com/"); status != 502 || s.count() != sent {
		t.Errorf("after the end of the federation: %d, %d requests arrived", status, s.count()-sent)
	}
	for _, e := range r.events.calls() {
		if strings.Contains(e.Detail, token) {
			t.Error("the token is in the audit")
		}
	}
}

// TestJWTSVIDRotatesUnderMask: the version before is masked too, and requests use the newest.
func TestJWTSVIDRotatesUnderMask(t *testing.T) {
	agent := identitytest.Start(t, shop)
	agent.Federate("partner.example")
	s := svidSite(t, agent.Issue(partner, time.Hour))
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	c := r.client()
	_, _ = get(t, c, "https://partner.example.com/")
	first := s.last(&s.tokens)
	agent.Register(other) // another ID, so that the tokens are others too
	await(t, "a token of the new identity", func() bool {
		status, _ := get(t, c, "https://partner.example.com/")
		return status == 200 && s.last(&s.tokens) != first
	})
	e, _ := r.live.Load().Secrets.Entry("jwt_svid:partner-api")
	if e.Previous.IsZero() || e.Previous.Reveal() == e.Current.Reveal() || e.Current.Generation() < 2 {
		t.Errorf("the masks know %v and %v", e.Current, e.Previous)
	}
}

func (e *events) calls() []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]audit.Event(nil), e.all...)
}

// TestReloadWaitsForTokens: a rule that a reload adds finds its token ready.
func TestReloadWaitsForTokens(t *testing.T) {
	agent := identitytest.Start(t, shop)
	agent.Federate("partner.example")
	s := svidSite(t, agent.Issue(partner, time.Hour))
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	config := strings.NewReplacer("@agent", agent.Addr(), "@dir", r.dir, "jwt_svid: partner-api", "jwt_svid: another").Replace(legs)
	r.configure(s.site, strings.ReplaceAll(config, `"@public"`, `"127.0.0.1:1"`))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, ok := r.live.Load().Secrets.Entry("jwt_svid:another")
	if !ok || e.Current.IsZero() {
		t.Errorf("after the reload: %+v", e)
	}
	if _, kept := r.tokens.Entries()["jwt_svid:partner-api"]; kept {
		t.Error("a token that nobody presents is kept")
	}
}

// TestUpstreamRotatesUnderLoad: the rotation of our SVID, of the JWT-SVID that goes with it, and of trust
// bundles fails no call, not even one that may not be sent twice.
func TestUpstreamRotatesUnderLoad(t *testing.T) {
	agent := identitytest.Start(t, shop)
	agent.Federate("partner.example")
	s := svidSite(t, agent.Issue(partner, time.Hour))
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	n := 0
	l := startCalls(6, func() func() error {
		c := r.client()
		n++
		c.Transport.(*http.Transport).ForceAttemptHTTP2 = n%2 == 0
		return func() error {
			res, err := c.Post("https://partner.example.com/", "text/plain", nil)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode != 200 {
				err = fmt.Errorf("%d %s", res.StatusCode, body)
			}
			return err
		}
	})
	for i := range 10 {
		l.more(t, 50)
		before := r.live.Load().Identity.Generation
		if i%3 == 2 {
			agent.RotateRoot("acme.example")
		}
		agent.Rotate()
		await(t, "the new SVID", func() bool { return r.live.Load().Identity.Generation > before })
	}
	l.more(t, 50)
	l.end(t)
}

// TestDeniedIdentityIsShownNoMore: once the agent denies us our identity, nothing goes out in its name, by
// SVID or by JWT-SVID, though both would be valid for long; and it does again when the agent allows it.
func TestDeniedIdentityIsShownNoMore(t *testing.T) {
	agent := identitytest.Start(t, shop)
	agent.Federate("partner.example")
	s := svidSite(t, agent.Issue(partner, time.Hour))
	r := launchLegs(t, agent, s)
	await(t, "started", r.Started)
	c := r.client()
	if status, body := get(t, c, "https://partner.example.com/"); status != 200 {
		t.Fatal(status, body)
	}
	agent.Deny()
	await(t, "the denial is believed", func() bool {
		status, _ := get(t, c, "https://partner.example.com/")
		return status == 503
	})
	sent := s.count()
	if status, body := get(t, c, "https://partner.example.com/"); status != 503 || s.count() != sent {
		t.Errorf("%d %s, %d calls arrived", status, body, s.count()-sent)
	}
	if e, _ := r.live.Load().Secrets.Entry("jwt_svid:partner-api"); !e.Current.IsZero() {
		t.Error("the JWT-SVID is still in use")
	}
	if status, _ := get(t, c, "https://example.com/"); status != 200 {
		t.Errorf("the rule that needs no identity: %d", status)
	}
	agent.Allow()
	await(t, "it works again", func() bool {
		status, _ := get(t, c, "https://partner.example.com/")
		return status == 200
	})
}
