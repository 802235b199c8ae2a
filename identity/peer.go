package identity

import (
	"net"
	"time"
)

// Proof is how a caller was recognised.
type Proof string

// The proofs of DESIGN §8 that work.
const (
	ProofToken   Proof = "token"
	ProofUID     Proof = "uid"
	ProofNetwork Proof = "network" // weak: a source address
)

// Caller is one configured caller that a peer has proven to be.
type Caller struct {
	Name    string
	ID      string // SPIFFE ID, empty for proofs that give none
	Proof   Proof
	Expires time.Time // zero: never
}

// Peer is whoever is at the other end of a connection. It may be several
// configured callers at once, or none.
type Peer struct {
	Callers []Caller
	names   []string
}

// Names are the names of the callers, for the policy. Do not change them.
func (p *Peer) Names() []string {
	if p == nil {
		return nil
	}
	return p.names
}

// Conn is what is known of a connection before it says anything.
type Conn struct {
	Local, Remote net.Addr
	Net           net.Conn // for SO_PEERCRED
}

// Spec is one configured caller; exactly one of Token, UID and Network is set.
type Spec struct {
	Name    string
	Token   string // name of the secret that holds the token
	UID     *uint32
	Network string // CIDR
}

// TokenVerifier compares a presented token with a secret in constant time. It
// reports false for a secret that is missing.
type TokenVerifier interface {
	VerifyToken(secret, presented string) bool
}

// Authenticator recognises callers. It is immutable and safe for concurrent use.
type Authenticator struct{}

// New checks specs and returns their Authenticator, or an error per faulty spec.
func New(specs []Spec) (*Authenticator, []error) { panic("unbuilt") }

// Observed is what a connection alone proves (its uid, its network address), found once
// per connection.
type Observed struct{}

// Observe finds what the connection alone proves.
func (a *Authenticator) Observe(c Conn) Observed { panic("unbuilt") }

// Authenticate recognises the peer by what was observed of the connection and the value of
// its Proxy-Authorization header, which may be empty. An error (a *AuthError) means that the header is there
// and wrong: answer 407, whatever else the peer has proven.
func (a *Authenticator) Authenticate(o Observed, proxyAuthorization string, tokens TokenVerifier) (*Peer, error) {
	panic("unbuilt")
}

// Recheck reports whether a peer authenticated earlier still is: its caller is still
// configured the same way, its token still valid, nothing expired.
func (a *Authenticator) Recheck(p *Peer, now time.Time, tokens TokenVerifier) bool { panic("unbuilt") }

// AcceptsTokens reports whether any caller of those named proves itself by token (any caller at all if none
// is named), so that a 407 makes sense.
func (a *Authenticator) AcceptsTokens(names []string) bool { panic("unbuilt") }

// AuthError says why Proxy-Authorization was refused, without its content.
type AuthError struct{ Problem string }

func (e *AuthError) Error() string { return "proxy authorization: " + e.Problem }
