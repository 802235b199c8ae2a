package dial

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"net/url"
	"time"
)

// Protocol says which HTTP versions an upstream is spoken to with.
type Protocol string

// The protocols. Auto: h2 for h2 clients with fallback to h1; h1 for h1
// clients, and h2 where the upstream answers no_application_protocol. Clear
// text is h1, but under HTTP2, which then means prior knowledge (RFC 9113 §3.3).
const (
	Auto  Protocol = ""
	HTTP1 Protocol = "http1"
	HTTP2 Protocol = "http2"
)

// Profile is all that distinguishes one way of reaching upstreams from
// another. Requests share connections only within a Profile.
type Profile struct {
	ConnectTo      string               // "host:port" or "unix:/path" dialled in place of the target, and without Via; its address is not judged
	ServerName     string               // verified and sent as SNI in place of the target's name
	CA             []byte               // PEM roots in place of the system's
	Peer           string               // SPIFFE ID that the server's certificate must carry, verified against CA, or else by the Identity's trust bundles, and then our SVID is presented; replaces name verification
	PeerIs         func(id string) bool // whether an ID is one that Peer, a pattern, names; nil: Peer is one ID. Used without CA only
	SVID           bool                 // our SVID is presented
	Client         []byte               // PEM certificate chain and key presented to the server; nil: none. Secret: never printed
	ClientName     string               // name and generation of Client, part of the profile's identity
	Via            *Via                 // upstream proxy
	Allow          []netip.Prefix       // addresses excepted from the judgement
	Protocol       Protocol
	Plaintext      bool          // no TLS; only loopback and unix addresses are then dialled unless AnyClear
	AnyClear       bool          // credential-less clear text may go to any judged address (rules of http:// hosts that attach nothing)
	MaxInFlight    int           // requests at once, shared among clients (WithInfo); 0: DefaultInFlight
	ResponseHeader time.Duration // from the request's end to the answer's header; 0: none
	Connect        time.Duration // for name, connection and handshake together; 0: DefaultConnect
}

// The defaults of a Profile.
const (
	DefaultInFlight = 512
	DefaultConnect  = 10 * time.Second
)

// Via is an upstream proxy that is asked to CONNECT, for clear text too. It
// resolves the names: promise 11 then covers literal addresses only.
type Via struct {
	URL           *url.URL               // http or https, no credentials in it
	Authorization func() (string, error) // value of Proxy-Authorization; nil: none. Called at each dial
	Key           string                 // identity of the credentials, part of the profile's
	CA            []byte                 // PEM roots that verify an https proxy; nil: Options.Roots
}

// Options of a Pool. The zero value is safe.
type Options struct {
	Log      *slog.Logger
	Resolver Resolver                  // nil: the system's
	Own      func(netip.AddrPort) bool // whether an address is one of the proxy's own listeners; nil: none
	Roots    *x509.CertPool            // nil: the system's
}

// Resolver is the part of net.Resolver that dialling needs.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}
