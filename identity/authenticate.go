package identity

import (
	"crypto/sha256"
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
}

// Observe finds what the connection alone proves. What cannot be found out proves
// nothing. The uid is looked up only if some caller proves itself by it.
func (a *Authenticator) Observe(c Conn) Observed {
	var o Observed
	o.addr, _ = addrPort(c.Remote)
	if a != nil && a.uids && c.Net != nil {
		o.uid, o.hasUID = peerUID(c)
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

// Authenticate recognises the peer by what was observed of the connection and the value of
// its Proxy-Authorization header, which may be empty. An error (a *[AuthError]) means that the header is there
// and wrong: answer 407, whatever else the peer has proven.
func (a *Authenticator) Authenticate(o Observed, proxyAuthorization string, tokens TokenVerifier) (*Peer, error) {
	p := new(Peer)
	byToken := -1
	if proxyAuthorization != "" {
		user, digest, err := parseBasic(proxyAuthorization)
		if err != nil {
			return nil, err
		}
		if byToken, err = a.tokenCaller(user, digest, tokens); err != nil {
			return nil, err
		}
		p.token = &digest
	}
	if a == nil {
		return p, nil
	}
	for i := range a.specs {
		s := &a.specs[i]
		if i == byToken || s.observed(o) {
			p.Callers = append(p.Callers, s.caller())
			p.names = append(p.names, s.name)
			p.specs = append(p.specs, *s)
		}
	}
	return p, nil
}

// tokenCaller is the index of the caller of that name if the token is its own.
// An unknown name costs the comparison with a token that it is not compared with
// in earnest, so that time does not tell names that exist from those that do not.
func (a *Authenticator) tokenCaller(user string, digest [sha256.Size]byte, tokens TokenVerifier) (int, error) {
	if a == nil || a.firstToken < 0 {
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

// observed reports whether the connection alone proves the caller.
func (s *spec) observed(o Observed) bool {
	switch s.proof {
	case ProofUID:
		return o.hasUID && o.uid == s.uid
	case ProofNetwork:
		return s.network.Contains(o.addr)
	}
	return false
}

// Recheck reports whether a peer authenticated earlier still is: each of its callers is still
// configured the same way, its token still valid, nothing expired. A caller that was configured since is not
// found this way: the peer has to connect again.
func (a *Authenticator) Recheck(p *Peer, now time.Time, tokens TokenVerifier) bool {
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
		if e := p.Callers[i].Expires; !e.IsZero() && !now.Before(e) {
			return false
		}
		if s.proof == ProofToken && (p.token == nil || !tokens.VerifyTokenDigest(s.token, *p.token)) {
			return false
		}
	}
	return true
}

// AcceptsTokens reports whether any caller of those named proves itself by token (any caller at all if none
// is named), so that a 407 makes sense.
func (a *Authenticator) AcceptsTokens(names []string) bool {
	if a == nil {
		return false
	}
	if len(names) == 0 {
		return a.firstToken >= 0
	}
	return slices.ContainsFunc(names, func(name string) bool {
		i, ok := a.byName[name]
		return ok && a.specs[i].proof == ProofToken
	})
}
