package identity

import (
	"crypto/x509"
	"net"
	"net/netip"
	"time"
)

// Proof is how a caller was recognised.
type Proof string

// The proofs of DESIGN §8 that work.
const (
	ProofToken   Proof = "token"
	ProofUID     Proof = "uid"
	ProofNetwork Proof = "network" // weak: a source address
	ProofMTLS    Proof = "mtls"    // an X509-SVID in the TLS handshake
	ProofJWT     Proof = "jwt"     // a JWT-SVID in Proxy-Authorization
	ProofPod     Proof = "pod"     // on the machine of the holder of this SVID: the proxy's own
)

// Caller is one configured caller that a peer has proven to be.
type Caller struct {
	Name    string
	ID      string // SPIFFE ID, empty for proofs that give none
	Proof   Proof
	Expires time.Time // of what was shown; zero: never
}

// Peer is whoever is at the other end of a connection. It may be several
// configured callers at once, or none.
type Peer struct {
	Callers []Caller // in the order of the configuration
	// Stranger is a SPIFFE ID that the peer has proven although no caller is configured for it, with its
	// proof. It is for the audit; it gives no rights.
	Stranger Caller

	names []string
	specs []spec // what each of Callers was configured as
	timed bool   // some proof ends by itself
	svid  *shownSVID
	jwt   *shownJWT

	// The digest of the token that was presented, for Recheck. It sits behind a pointer
	// because fmt prints unexported fields, and a digest is a form of its token.
	token *[32]byte
}

// Names are the names of the callers, for the policy. Do not change them.
func (p *Peer) Names() []string {
	if p == nil {
		return nil
	}
	return p.names
}

// Timed reports whether any of the peer's proofs may end by itself, so that [Authenticator.Recheck] may say
// something else later although nothing else has changed.
func (p *Peer) Timed() bool { return p != nil && p.timed }

// ShowsSVID reports whether the peer has shown an X509-SVID, whoever it is.
func (p *Peer) ShowsSVID() bool { return p != nil && p.svid != nil }

// Conn is what is known of a connection before it says anything.
type Conn struct {
	Local, Remote net.Addr
	Net           net.Conn // the socket, or what wraps it and gives it by NetConn; without it there is no uid
	// Certificates are what the peer showed in TLS, leaf first, as tls.ConnectionState.PeerCertificates has them.
	Certificates []*x509.Certificate
}

// Observed is what a connection alone proves (its uid, its network address), found once
// per connection. The zero Observed proves nothing.
type Observed struct {
	addr   netip.Addr // unmapped, without zone; zero for a unix socket
	local  bool       // both ends are on this machine: loopback or a unix socket
	uid    uint32
	hasUID bool
	svid   *shownSVID // nil: none was shown
}

// Known is what is known at the moment at which a proof is judged.
type Known struct {
	Tokens TokenVerifier // nil: no token is right
	State  *State        // nil: no SVID is
	Now    time.Time
}

// TokenVerifier compares a presented token with a secret, both as SHA-256
// digests, in constant time. It reports false for a secret that is missing or empty.
//
// Digests, so that nothing outside the verifier has to keep a token in clear
// for as long as a connection lives.
type TokenVerifier interface {
	VerifyTokenDigest(secret string, digest [32]byte) bool
}

// AuthError says why Proxy-Authorization was refused, without its content.
type AuthError struct{ Problem string }

func (e *AuthError) Error() string { return "proxy authorization: " + e.Problem }
