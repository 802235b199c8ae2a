package proxy

import (
	"crypto/x509"
	"net/netip"
	"strings"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/policy"
)

// seen is what a connection alone proves, and to whom.
type seen struct {
	by *identity.Authenticator
	o  identity.Observed
}

// observe finds what c's connection alone proves to a. HTTP/2 requests ask at the same time.
func (c *conn) observe(a *identity.Authenticator) identity.Observed {
	c = c.whole()
	s := c.seen.Load()
	if s == nil || s.by != a {
		s = &seen{a, a.Observe(identity.Conn{Local: c.LocalAddr(), Remote: c.RemoteAddr(), Net: c.Conn, Certificates: c.certificates()})}
		c.seen.Store(s)
	}
	return s.o
}

// verifyClient looks at what the client shows in its handshake, once: whoever asks later is told by the same.
func (c *conn) verifyClient(s *Snapshot, shown []*x509.Certificate) error {
	seen := &seen{s.Callers, s.Callers.Observe(identity.Conn{Local: c.LocalAddr(), Remote: c.RemoteAddr(), Net: c.Conn, Certificates: shown})}
	if err := seen.o.Verify(c.proxy.known(s)); err != nil {
		return err
	}
	c.seen.Store(seen)
	return nil
}

// certificates are what the client showed in TLS.
func (c *conn) certificates() []*x509.Certificate {
	if c.secure == nil {
		return nil
	}
	return c.secure.ConnectionState().PeerCertificates
}

// known is what proofs are judged by under s.
func (p *Proxy) known(s *Snapshot) identity.Known {
	return identity.Known{Tokens: tokens{s.Secrets}, State: s.Identity, Now: p.now()}
}

// identify recognises the client by its connection and its
// Proxy-Authorization. It returns the reason of a refusal, empty for none.
func (x *exchange) identify() string {
	c, a, known := x.conn, x.snap.Callers, x.p.known(x.snap)
	o := c.observe(a)
	if o.Verify(known) != nil {
		return reasonCallerExpired
	}
	if a == nil {
		c.client = clientOf(c)
		return ""
	}
	shown := x.in.Header["Proxy-Authorization"]
	peer, err := a.Authenticate(o, x.in.Header.Get("Proxy-Authorization"), known)
	if err != nil && x.snap.Gateway != nil && identity.MeantFor(x.in.Header.Get("Proxy-Authorization"), x.snap.Gateway.Audience) {
		peer, err = a.Authenticate(o, "", known) // it proves who calls to the gateway, not to us
	}
	if err != nil || len(shown) > 1 {
		return reasonAuthInvalid
	}
	c.peer, c.proven = peer, x.p.now()
	c.client = clientOf(c)
	c.checked.Store(x.snap)
	x.noteCaller("")
	switch {
	case len(peer.Names()) > 0 || !c.mustProve(x.snap):
		return ""
	case peer.Stranger.ID != "":
		return reasonCallerUnknown
	}
	return reasonAuthRequired
}

// client is whom requests are counted for where clients share something.
type client struct {
	callers string     // a SPIFFE ID, or names
	addr    netip.Addr // beyond this machine
}

// clientOf says who c's client is: by the SPIFFE ID that it has proven, else by its callers' names and its
// address beyond this machine. On loopback and unix sockets those without a proof look alike, and each connection
// is a client.
func clientOf(c *conn) any {
	if p := c.peer; p != nil {
		if id := p.Stranger.ID; id != "" {
			return client{callers: id}
		}
		for i := range p.Callers {
			if id := p.Callers[i].ID; id != "" {
				return client{callers: id}
			}
		}
	}
	by := client{strings.Join(c.peer.Names(), ","), shared(c.whole())}
	if by == (client{}) {
		return c.whole()
	}
	return by
}

// mustProve reports whether c's client must be some caller, whatever the rules say: the proxy can be
// reached from elsewhere, or the listener speaks TLS.
func (c *conn) mustProve(s *Snapshot) bool { return s.CallersOnly || c.whole().secure != nil }

// wantsToken reports whether a 407 can turn d into another decision: no rule
// is for this caller, a token would do, and none was shown. Many clients send their
// proxy credentials only when asked. Whoever has shown an SVID has said who it is.
func (x *exchange) wantsToken(d policy.Decision) bool {
	if x.conn.peer.ShowsSVID() {
		return false
	}
	if d.Differs != policy.Caller || x.snap.Callers == nil || x.in.Header.Get("Proxy-Authorization") != "" || d.Nearest < 0 {
		return false
	}
	return x.snap.Callers.AcceptsAuthorization(x.snap.Policy.Rules()[d.Nearest].Callers)
}

// stillWho rechecks the proof by which the caller opened the connection.
func (x *exchange) stillWho() bool {
	if x.snap != nil && !x.conn.stillWho(x.snap) {
		x.noteCaller("")
		x.refuse(reasonCallerExpired, "")
		return false
	}
	return true
}

// windDown has the client open another connection, and prove itself anew, while its proof still holds: a
// request that came a moment after its end would be refused. The last quarter of the proof is for that.
func (x *exchange) windDown() {
	c := x.conn
	if x.snap == nil || !c.peer.Timed() || x.in.Header.Get("Upgrade") != "" {
		return
	}
	until := x.snap.Callers.Until(c.peer, x.p.known(x.snap))
	if !until.IsZero() && until.Sub(x.start) < until.Sub(c.proven)/4 {
		x.out.Header().Set("Connection", "close") // over HTTP/2 it becomes GOAWAY
	}
}

// stillWho reports whether c's client still is, under s, who it was when it opened the connection.
func (c *conn) stillWho(s *Snapshot) bool {
	if c.mustProve(s) && len(c.peer.Names()) == 0 {
		return false // opened before callers were asked for
	}
	if c.checked.Load() == s && !c.peer.Timed() {
		return true
	}
	known := c.proxy.known(s)
	if seen := c.whole().seen.Load(); seen != nil && seen.o.Verify(known) != nil {
		return false
	}
	if s.Callers != nil && c.peer != nil && !s.Callers.Recheck(c.peer, known) {
		return false
	}
	c.checked.Store(s)
	return true
}
