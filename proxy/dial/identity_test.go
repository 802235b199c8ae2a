package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/identity/identitytest"
)

const (
	ourID  = "spiffe://acme.test/ns/edge/sa/attache"
	peerID = "spiffe://partner.test/ns/shop/sa/api"
)

// identityOf is what the app makes of a State.
func identityOf(s *identity.State) *Identity {
	return &Identity{
		Certificate: s.Certificate,
		Verify: func(chain [][]byte, now time.Time) (string, time.Time, error) {
			id, expires, err := s.VerifyX509(chain, now)
			return id.String(), expires, err
		},
	}
}

// state trusts the domains, and has an SVID if svid is not nil.
func state(svid *x509svid.SVID, domains ...*identitytest.CA) *identity.State {
	s := &identity.State{X509: x509bundle.NewSet()}
	if svid != nil {
		s.SVIDs = []*x509svid.SVID{svid}
	}
	for _, d := range domains {
		s.X509.Add(d.Bundle())
	}
	return s
}

func keyPair(s *x509svid.SVID) tls.Certificate {
	c := tls.Certificate{PrivateKey: s.PrivateKey}
	for _, cert := range s.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// spiffePeer is an upstream that shows an SVID and asks for one.
type spiffePeer struct {
	*peer
	shown   atomic.Pointer[x509.Certificate] // by the last request's connection
	resumed atomic.Int64
	hang    chan struct{} // answers to /hang end when it is closed
}

func serveSVID(t testing.TB, c tls.Certificate, protos ...string) *spiffePeer {
	p := &spiffePeer{hang: make(chan struct{})}
	p.peer = serveSVIDWith(t, c, func(w http.ResponseWriter, r *http.Request) {
		if certs := r.TLS.PeerCertificates; len(certs) > 0 {
			p.shown.Store(certs[0])
		}
		if r.TLS.DidResume {
			p.resumed.Add(1)
		}
		w.WriteHeader(http.StatusOK)
		if r.URL.Path == "/hang" {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-p.hang:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "done")
	}, protos...)
	return p
}

func serveSVIDWith(t testing.TB, c tls.Certificate, h http.HandlerFunc, protos ...string) *peer {
	return serve(t, &tls.Config{Certificates: []tls.Certificate{c}, ClientAuth: tls.RequestClientCert, NextProtos: protos}, h)
}

func (p *spiffePeer) url(path string) string { return "https://api.test:" + p.port + path }

// world is two trust domains, and an upstream of the second.
type world struct {
	ours, theirs *identitytest.CA
	pool         *Pool
	peer         *spiffePeer
	up           *Upstream
}

func newWorld(t testing.TB, protos ...string) *world {
	api := identitytest.Start(t)
	w := &world{ours: api.CA("acme.test"), theirs: api.CA("partner.test")}
	w.peer = serveSVID(t, keyPair(w.theirs.Issue(peerID, time.Hour)), protos...)
	w.pool = newPool(t, Options{})
	w.pool.SetIdentity(identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours, w.theirs)))
	w.up = upstream(t, w.pool, Profile{Allow: loopback, Peer: peerID})
	return w
}

func h2Request(t testing.TB, url string) *http.Request {
	req := request(t, "GET", url, "")
	req.ProtoMajor = 2
	return req
}

// hang begins a request that does not end by itself.
func (w *world) hang(t testing.TB) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // what should end it does not: fail
	t.Cleanup(cancel)
	res, err := w.up.RoundTrip(h2Request(t, w.peer.url("/hang")).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// TestPeerByTrustBundle: the server is held to its SPIFFE ID by the bundle of its own trust domain, and sees ours.
func TestPeerByTrustBundle(t *testing.T) {
	api := identitytest.Start(t)
	ours, theirs, stranger := api.CA("acme.test"), api.CA("partner.test"), api.CA("stranger.test")
	pattern, err := identity.ParsePattern("spiffe://partner.test/ns/*/sa/api")
	if err != nil {
		t.Fatal(err)
	}
	like := func(s string) bool {
		id, err := spiffeid.FromString(s)
		return err == nil && pattern.Match(id)
	}
	for name, c := range map[string]struct {
		svid  *x509svid.SVID
		like  bool
		right bool
	}{
		"right":             {theirs.Issue(peerID, time.Hour), false, true},
		"right, by pattern": {theirs.Issue(peerID, time.Hour), true, true},
		"other, by pattern": {theirs.Issue(peerID+"-admin", time.Hour), true, false},
		"prefix":            {theirs.Issue(peerID+"-admin", time.Hour), false, false},
		"shorter":           {theirs.Issue("spiffe://partner.test/ns/shop/sa", time.Hour), false, false},
		"root":              {theirs.Issue("spiffe://partner.test", time.Hour), false, false},
		"our own domain":    {ours.Issue("spiffe://acme.test/ns/shop/sa/api", time.Hour), false, false},
		"by another domain": {ours.Issue(peerID, time.Hour), false, false},
		"unknown domain":    {stranger.Issue("spiffe://stranger.test/ns/shop/sa/api", time.Hour), false, false},
		"expired":           {theirs.Issue(peerID, -time.Minute), false, false},
	} {
		for _, protos := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}} {
			t.Run(name, func(t *testing.T) {
				srv := serveSVID(t, keyPair(c.svid), protos...)
				pool := newPool(t, Options{})
				mine := ours.Issue(ourID, time.Hour)
				pool.SetIdentity(identityOf(state(mine, ours, theirs)))
				profile := Profile{Allow: loopback, Peer: peerID}
				if c.like {
					profile.Peer, profile.PeerIs = pattern.String(), like
				}
				u := upstream(t, pool, profile)
				for range 2 { // nothing resumes past the check
					if !c.right {
						refused(t, u, h2Request(t, srv.url("/")), TLSUnverified)
						continue
					}
					text(t, u, h2Request(t, srv.url("/")))
					u.closeIdle()
				}
				if c.right && !srv.shown.Load().Equal(mine.Certificates[0]) {
					t.Error("our SVID was not shown")
				}
				if !c.right && srv.requests.Load() != 0 {
					t.Error("the request was sent")
				}
			})
		}
	}
}

// TestIdentityMissingIsRefused: without an SVID, or with one that has expired, nothing is sent; and it is once there is one.
func TestIdentityMissingIsRefused(t *testing.T) {
	w := newWorld(t, "h2", "http/1.1")
	root := newAuthority(t, "root")
	web := serveSVID(t, root.leaf(t, "api.test", nil))
	pool := newPool(t, Options{Roots: root.pool()})
	byPeer := upstream(t, pool, Profile{Allow: loopback, Peer: peerID})
	bySVID := upstream(t, pool, Profile{Allow: loopback, SVID: true})
	plain := upstream(t, pool, Profile{Allow: loopback})
	for name, i := range map[string]*Identity{
		"nothing yet": nil,
		"bundle only": identityOf(state(nil, w.ours, w.theirs)),
		"expired":     identityOf(state(w.ours.Issue(ourID, -time.Minute), w.ours, w.theirs)),
	} {
		pool.SetIdentity(i)
		for _, c := range []struct {
			u   *Upstream
			url string
		}{{byPeer, w.peer.url("/")}, {bySVID, web.url("/")}} {
			e := refused(t, c.u, request(t, "POST", c.url, "secret"), NoIdentity)
			if e.Err == nil {
				t.Errorf("%s: no cause", name)
			}
		}
		text(t, plain, request(t, "GET", web.url("/"), "")) // others work
	}
	if w.peer.requests.Load() != 0 || web.shown.Load() != nil {
		t.Error("something was sent")
	}
	pool.SetIdentity(identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours, w.theirs)))
	text(t, byPeer, request(t, "GET", w.peer.url("/"), ""))
	text(t, bySVID, request(t, "GET", web.url("/"), ""))
	if got := web.shown.Load(); got == nil || got.URIs[0].String() != ourID {
		t.Errorf("shown: %v, want our SVID", got)
	}
}

// TestSVIDRotated: new requests show the new SVID, those under way finish where they are, and the
// old connection then closes.
func TestSVIDRotated(t *testing.T) {
	for _, protos := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}} {
		t.Run(protos[0], func(t *testing.T) {
			w := newWorld(t, protos...)
			under := w.hang(t)
			before := w.peer.shown.Load()
			fresh := w.ours.Issue(ourID, time.Hour)
			w.pool.SetIdentity(identityOf(state(fresh, w.ours, w.theirs)))
			text(t, w.up, h2Request(t, w.peer.url("/")))
			if got := w.peer.shown.Load(); got.Equal(before) || !got.Equal(fresh.Certificates[0]) {
				t.Error("the old SVID was shown after the rotation")
			}
			n := w.peer.conns.Load()
			w.pool.SetIdentity(identityOf(state(fresh, w.ours, w.theirs))) // only bundles may have changed
			text(t, w.up, h2Request(t, w.peer.url("/")))
			if w.peer.conns.Load() != n {
				t.Error("the same SVID got another connection")
			}
			close(w.peer.hang)
			if b, err := io.ReadAll(under.Body); err != nil || string(b) != "done" {
				t.Errorf("the request under way: %q, %v", b, err)
			}
			_ = under.Body.Close()
			<-w.peer.gone // the old connection
		})
	}
}

// TestFederationRemoved: once a trust domain is trusted no longer, what is open to its servers ends at once, and nothing more is sent.
func TestFederationRemoved(t *testing.T) {
	for name, gone := range map[string]bool{"in use": false, "forgotten by a reload": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "h2", "http/1.1")
			under := w.hang(t)
			svid := w.ours.Issue(ourID, time.Hour)
			if gone {
				w.pool.Retain(nil)
			}
			w.pool.SetIdentity(identityOf(state(svid, w.ours, w.theirs))) // another SVID: the old connection drains
			w.pool.SetIdentity(identityOf(state(svid, w.ours)))
			if _, err := io.ReadAll(under.Body); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the answer under way: %v", err)
			}
			if gone {
				return
			}
			before := w.peer.requests.Load()
			refused(t, w.up, h2Request(t, w.peer.url("/")), TLSUnverified)
			if w.peer.requests.Load() != before {
				t.Error("the request was sent")
			}
		})
	}
}

// TestRootRemoved: a bundle that loses the root under a connection ends it; one that gains a root does not.
func TestRootRemoved(t *testing.T) {
	api := identitytest.Start(t)
	w := newWorld(t, "h2")
	svid := w.ours.Issue(ourID, time.Hour)
	w.pool.SetIdentity(identityOf(state(svid, w.ours, w.theirs)))
	under := w.hang(t)
	both := x509bundle.FromX509Authorities(w.theirs.TrustDomain(), append(w.theirs.Bundle().X509Authorities(), api.CA("partner.test").Bundle().X509Authorities()...))
	s := state(svid, w.ours)
	s.X509.Add(both)
	w.pool.SetIdentity(identityOf(s))
	n := w.peer.conns.Load()
	text(t, w.up, h2Request(t, w.peer.url("/")))
	if w.peer.conns.Load() != n {
		t.Error("another root ended the connection")
	}
	w.pool.SetIdentity(identityOf(state(svid, w.ours, api.CA("partner.test")))) // the same name, other roots
	if _, err := io.ReadAll(under.Body); err == nil {
		t.Error("the connection outlived its root")
	}
}

// TestConnectionEndsWithSVID: whichever of the two SVIDs ends first ends the connection.
func TestConnectionEndsWithSVID(t *testing.T) {
	t.Parallel()
	const short = 5 * time.Second
	for name, c := range map[string]struct{ ours, theirs time.Duration }{
		"ours": {short, time.Hour}, "the server's": {time.Hour, short},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := identitytest.Start(t)
			w := &world{ours: api.CA("acme.test"), theirs: api.CA("partner.test"), pool: newPool(t, Options{})}
			theirs := w.theirs.Issue(peerID, c.theirs)
			w.peer = serveSVID(t, keyPair(theirs), "h2")
			mine := w.ours.Issue(ourID, c.ours)
			w.pool.SetIdentity(identityOf(state(mine, w.ours, w.theirs)))
			w.up = upstream(t, w.pool, Profile{Allow: loopback, Peer: peerID})
			under := w.hang(t)
			_, err := io.ReadAll(under.Body)
			if err == nil {
				t.Error("the answer came to its end")
			}
			end := mine.Certificates[0].NotAfter
			if other := theirs.Certificates[0].NotAfter; other.Before(end) {
				end = other
			}
			if now := time.Now(); now.Before(end) {
				t.Errorf("closed %s before the end", end.Sub(now))
			}
		})
	}
}

// TestAgingConnectionGetsNoNewRequests: before a connection's end new requests take another one.
func TestAgingConnectionGetsNoNewRequests(t *testing.T) {
	w := newWorld(t, "h2")
	under := w.hang(t)
	ts := w.up.now.Load()
	if left := time.Until(time.Unix(0, ts.ages.Load())); left < 40*time.Minute || left > 50*time.Minute {
		t.Errorf("ages in %s, want three quarters of what is left", left)
	}
	ts.ages.Store(time.Now().UnixNano())
	n := w.peer.conns.Load()
	text(t, w.up, h2Request(t, w.peer.url("/")))
	if w.peer.conns.Load() != n+1 {
		t.Error("the request used the old connection")
	}
	close(w.peer.hang)
	if b, err := io.ReadAll(under.Body); err != nil || string(b) != "done" {
		t.Errorf("the request under way: %q, %v", b, err)
	}
}

// TestResumptionNeverSkipsAuthorisation: a server that offers sessions gets a full handshake each time,
// so that each connection is verified by the bundles in force, and shows the SVID in force.
func TestResumptionNeverSkipsAuthorisation(t *testing.T) {
	w := newWorld(t, "http/1.1")
	root := newAuthority(t, "root")
	web := serveSVID(t, root.leaf(t, "api.test", nil))
	pool := newPool(t, Options{Roots: root.pool()})
	i := identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours, w.theirs))
	pool.SetIdentity(i)
	peer, client := upstream(t, pool, Profile{Allow: loopback, Peer: peerID}), upstream(t, pool, Profile{Allow: loopback, SVID: true})
	plain := upstream(t, pool, Profile{Allow: loopback})
	for range 3 {
		for _, c := range []struct {
			u *Upstream
			p *spiffePeer
		}{{peer, w.peer}, {client, web}, {plain, web}} {
			text(t, c.u, request(t, "GET", c.p.url("/"), ""))
			c.u.closeIdle()
		}
	}
	if web.resumed.Load() != 2 {
		t.Errorf("%d sessions resumed, want the plain client's 2: this test proves nothing", web.resumed.Load())
	}
	if w.peer.resumed.Load() != 0 {
		t.Error("a SPIFFE connection was resumed")
	}
	pool.SetIdentity(identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours))) // the authoriser flips
	refused(t, peer, request(t, "GET", w.peer.url("/"), ""), TLSUnverified)
}

// TestPoolCrossesRulesSPIFFE: rules that differ in who the server is, or in what is shown, share no connection.
func TestPoolCrossesRulesSPIFFE(t *testing.T) {
	w := newWorld(t, "h2", "http/1.1")
	text(t, w.up, h2Request(t, w.peer.url("/")))
	if u := upstream(t, w.pool, Profile{Allow: loopback, Peer: peerID}); u != w.up {
		t.Error("an equal profile has another upstream")
	}
	for name, p := range map[string]Profile{
		"other peer":  {Allow: loopback, Peer: peerID + "2"},
		"server name": {Allow: loopback},
		"shows SVID":  {Allow: loopback, SVID: true},
	} {
		refused(t, upstream(t, w.pool, p), h2Request(t, w.peer.url("/")), TLSUnverified)
		if w.peer.requests.Load() != 1 {
			t.Errorf("%s: sent over another rule's connection", name)
		}
	}
}

// TestRevokedWhileTransportsAreMade: an SVID that is taken back while new transports read it is not what they go on with.
func TestRevokedWhileTransportsAreMade(t *testing.T) {
	w := newWorld(t)
	former := identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours, w.theirs))
	reading, read, asked := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var times atomic.Int64
	of := former.Certificate
	former.Certificate = func(now time.Time) (*tls.Certificate, time.Time, error) {
		if times.Add(1) == 3 { // after SetIdentity's two
			close(reading)
			<-read
		}
		return of(now)
	}
	w.pool.SetIdentity(former)
	none := identityOf(state(nil))
	var once sync.Once
	none.Certificate = func(time.Time) (*tls.Certificate, time.Time, error) {
		once.Do(func() { close(asked) })
		return nil, time.Time{}, identity.ErrNone
	}
	var wg sync.WaitGroup
	wg.Go(func() { w.up.renew(w.up.now.Load()) })
	<-reading
	wg.Go(func() { w.pool.SetIdentity(none) })
	select {
	case <-asked: // too early: who asks now replaces what is not there yet
	case <-time.After(50 * time.Millisecond):
	}
	close(read)
	wg.Wait()
	if ts := w.up.now.Load(); ts.cert != nil || ts.missing("") == nil {
		t.Error("a former SVID is still shown")
	}
}
