package identity

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Authenticator recognises callers. It is immutable and safe for concurrent use.
// A nil Authenticator knows no callers.
type Authenticator struct {
	specs      []spec
	byName     map[string]int // index into specs
	firstToken int            // index of the first caller with a token, -1
	uids       bool           // some caller proves itself by uid
	audience   string         // of JWT-SVIDs; empty: no caller proves itself by one
}

// Observe finds what the connection alone proves. What cannot be found out proves
// nothing. The uid is looked up only if some caller proves itself by it.
func (a *Authenticator) Observe(c Conn) Observed {
	var o Observed
	o.addr, _ = addrPort(c.Remote)
	o.local = local(c.Remote) && local(c.Local)
	if a != nil && a.uids && c.Net != nil {
		o.uid, o.hasUID = peerUID(c)
	}
	if len(c.Certificates) > 0 {
		o.svid = &shownSVID{chain: c.Certificates}
	}
	return o
}

// addrPort is the address of an IP endpoint: unmapped, without its zone.
func addrPort(a net.Addr) (netip.Addr, uint16) {
	t, ok := a.(*net.TCPAddr)
	if !ok || t == nil {
		return netip.Addr{}, 0
	}
	ap := t.AddrPort()
	// A listener on [::] names an IPv4 client ::ffff:a.b.c.d.
	return ap.Addr().Unmap().WithZone(""), ap.Port()
}

// local reports whether only this machine, or pod, can be at a.
func local(a net.Addr) bool {
	if _, unix := a.(*net.UnixAddr); unix {
		return true
	}
	addr, _ := addrPort(a)
	return addr.IsLoopback()
}

// Verify tells why the SVID that the peer has shown is not valid: it has expired, or its trust domain is not
// trusted. A connection with such a one is good for nothing. Where none was shown there is nothing wrong.
func (o Observed) Verify(k Known) error {
	if o.svid == nil {
		return nil
	}
	v := o.svid.verdict(k.State, k.Now)
	if v.err == nil && !k.Now.Before(v.expires) {
		return fmt.Errorf("X509-SVID %q: expired", v.id)
	}
	return v.err
}

// Expires is when the SVID that the peer has shown ends to be valid, zero if it has shown none.
func (o Observed) Expires(k Known) time.Time {
	if o.svid == nil {
		return time.Time{}
	}
	_, expires, _ := o.svid.verify(k.State, k.Now)
	return expires
}

// Authenticate recognises the peer by what was observed of the connection and the value of
// its Proxy-Authorization header, which may be empty. An error (a *[AuthError]) means that the header is there
// and wrong: answer 407, whatever else the peer has proven.
func (a *Authenticator) Authenticate(o Observed, proxyAuthorization string, k Known) (*Peer, error) {
	p := &Peer{svid: o.svid}
	byToken, err := a.present(p, proxyAuthorization, k)
	if err != nil || a == nil {
		return p.unless(err)
	}
	for i := range a.specs {
		s := &a.specs[i]
		if c, ok := s.proven(o, p, i == byToken, k); ok {
			p.Callers = append(p.Callers, c)
			p.names = append(p.names, s.name)
			p.specs = append(p.specs, *s)
			p.timed = p.timed || c.Proof == ProofPod || !c.Expires.IsZero()
		}
	}
	if len(p.Callers) == 0 {
		p.Stranger = p.stranger(k)
	}
	return p, nil
}

func (p *Peer) unless(err error) (*Peer, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// present reads Proxy-Authorization into p. It returns the index of the caller whose token it holds, or -1.
func (a *Authenticator) present(p *Peer, value string, k Known) (byToken int, err error) {
	if value == "" {
		return -1, nil
	}
	shown, err := parseAuthorization(value)
	if err != nil {
		return -1, err
	}
	if shown.jwt != "" {
		audience := ""
		if a != nil {
			audience = a.audience
		}
		p.jwt, err = showJWT(shown.jwt, audience, k)
		return -1, err
	}
	if byToken, err = a.tokenCaller(shown.user, shown.digest, k.Tokens); err == nil {
		p.token = &shown.digest
	}
	return byToken, err
}

// tokenCaller is the index of the caller of that name if the token is its own.
// An unknown name costs the comparison with a token that it is not compared with
// in earnest, so that time does not tell names that exist from those that do not.
func (a *Authenticator) tokenCaller(user string, digest [sha256.Size]byte, tokens TokenVerifier) (int, error) {
	if a == nil || a.firstToken < 0 || tokens == nil {
		return -1, &AuthError{"no caller has a token"}
	}
	i, known := a.byName[user]
	known = known && a.specs[i].proof == ProofToken
	if !known {
		i = a.firstToken
	}
	if right := tokens.VerifyTokenDigest(a.specs[i].token, digest); !right || !known {
		return -1, &AuthError{"no caller has this name and token"}
	}
	return i, nil
}

// proven tells whether the peer is this caller, and by which proof.
func (s *spec) proven(o Observed, p *Peer, byToken bool, k Known) (Caller, bool) {
	c := Caller{Name: s.name, Proof: s.proof}
	switch s.proof {
	case ProofToken:
		return c, byToken
	case ProofUID:
		return c, o.hasUID && o.uid == s.uid
	case ProofNetwork:
		return c, s.network.Contains(o.addr)
	case ProofPod:
		id, _, ok := k.State.held(s.spiffe, k.Now)
		c.ID = id.String()
		return c, ok && o.local
	}
	if s.accepts(ProofMTLS) && p.svid != nil {
		if id, expires, ok := p.svid.verify(k.State, k.Now); ok && s.spiffe.Match(id) {
			return Caller{s.name, id.String(), ProofMTLS, expires}, true
		}
	}
	if s.accepts(ProofJWT) && p.jwt != nil && s.spiffe.Match(p.jwt.id) {
		return Caller{s.name, p.jwt.id.String(), ProofJWT, p.jwt.expires}, true
	}
	return Caller{}, false
}

// stranger is who a peer is that no caller is configured for.
func (p *Peer) stranger(k Known) Caller {
	if p.svid != nil {
		if id, expires, ok := p.svid.verify(k.State, k.Now); ok {
			return Caller{ID: id.String(), Proof: ProofMTLS, Expires: expires}
		}
	}
	if p.jwt != nil {
		return Caller{ID: p.jwt.id.String(), Proof: ProofJWT, Expires: p.jwt.expires}
	}
	return Caller{}
}

// Recheck reports whether a peer authenticated earlier still is: each of its callers is still
// configured the same way and its proof still valid. A caller that was configured since is not
// found this way: the peer has to connect again.
func (a *Authenticator) Recheck(p *Peer, k Known) bool {
	if p == nil || len(p.specs) != len(p.Callers) {
		return false
	}
	for i := range p.specs {
		s := &p.specs[i]
		if a == nil {
			return false
		}
		if j, ok := a.byName[s.name]; !ok || a.specs[j] != *s {
			return false
		}
		if e := p.Callers[i].Expires; !e.IsZero() && !k.Now.Before(e) {
			return false
		}
		if !p.still(i, k) {
			return false
		}
	}
	return true
}

// still reports whether what proved the i-th of p's callers still would.
func (p *Peer) still(i int, k Known) bool {
	s := &p.specs[i]
	switch p.Callers[i].Proof {
	case ProofToken:
		return p.token != nil && k.Tokens != nil && k.Tokens.VerifyTokenDigest(s.token, *p.token)
	case ProofMTLS:
		id, _, ok := p.svid.verify(k.State, k.Now)
		return ok && s.spiffe.Match(id)
	case ProofJWT:
		return p.jwt.still(k)
	case ProofPod:
		return k.State.Has(s.spiffe, k.Now)
	}
	return true // of the connection itself: it does not change
}

// Until is the first moment at which a Recheck of p may fail although nothing changes; zero: there is none.
func (a *Authenticator) Until(p *Peer, k Known) time.Time {
	var first time.Time
	if !p.Timed() {
		return first
	}
	for i, c := range p.Callers {
		end := c.Expires
		if c.Proof == ProofPod {
			_, end, _ = k.State.held(p.specs[i].spiffe, k.Now)
		}
		if !end.IsZero() && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// AcceptsAuthorization reports whether any caller of those named proves itself by what stands in
// Proxy-Authorization, a token or a JWT-SVID (any caller at all if none is named), so that a 407 makes sense.
func (a *Authenticator) AcceptsAuthorization(names []string) bool {
	if a == nil {
		return false
	}
	if len(names) == 0 {
		return a.firstToken >= 0 || a.audience != ""
	}
	return slices.ContainsFunc(names, func(name string) bool {
		i, ok := a.byName[name]
		return ok && (a.specs[i].proof == ProofToken || a.specs[i].accepts(ProofJWT))
	})
}

// AcceptsJWT reports whether any caller proves itself by a JWT-SVID.
func (a *Authenticator) AcceptsJWT() bool { return a != nil && a.audience != "" }

// CertificateOnly reports whether a peer that shows no certificate can be nobody: whoever is configured
// proves itself by one.
func (a *Authenticator) CertificateOnly() bool {
	return a == nil || !slices.ContainsFunc(a.specs, func(s spec) bool { return !s.only(ProofMTLS) })
}
