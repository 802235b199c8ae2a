package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Protocol says which HTTP versions an upstream is spoken to with.
type Protocol string

// The protocols. Auto: h2 for h2 clients with fallback to h1; h1 for h1
// clients, and h2 where the upstream answers no_application_protocol.
const (
	Auto  Protocol = ""
	HTTP1 Protocol = "http1"
	HTTP2 Protocol = "http2"
)

// Profile is all that distinguishes one way of reaching upstreams from
// another. Requests share connections only within a Profile.
type Profile struct {
	ConnectTo      string         // "host:port" or "unix:/path" dialled in place of the target; its address is not judged
	ServerName     string         // verified and sent as SNI in place of the target's name
	CA             []byte         // PEM roots in place of the system's
	Peer           string         // SPIFFE ID that the server's certificate must carry, verified against CA; replaces name verification
	Client         []byte         // PEM certificate chain and key presented to the server; nil: none. Secret: never printed
	ClientName     string         // name and generation of Client, part of the profile's identity
	Via            *Via           // upstream proxy
	Allow          []netip.Prefix // addresses excepted from the judgement
	Protocol       Protocol
	Plaintext      bool          // no TLS; only loopback and unix addresses are then dialled unless AnyClear
	AnyClear       bool          // credential-less clear text may go to any judged address (rules of http:// hosts that attach nothing)
	MaxInFlight    int           // requests at once; 0: the default
	ResponseHeader time.Duration // 0: none
	Connect        time.Duration // 0: the default
}

// Via is an upstream proxy that is asked to CONNECT.
type Via struct {
	URL           *url.URL               // http or https, no credentials in it
	Authorization func() (string, error) // value of Proxy-Authorization; nil: none. Called at each dial
	Key           string                 // identity of the credentials, part of the profile's
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

// Pool keeps an Upstream per Profile.
type Pool struct{}

// NewPool returns an empty Pool.
func NewPool(Options) *Pool { panic("unbuilt") }

// Upstream returns the Upstream of a Profile, the same one for an equal
// Profile. An error says which part of the profile is unusable, without secret bytes.
func (p *Pool) Upstream(Profile) (*Upstream, error) { panic("unbuilt") }

// Retain forgets every Upstream not in keep: new requests can no longer reach
// it, its idle connections close, requests under way end as they would.
func (p *Pool) Retain(keep []*Upstream) { panic("unbuilt") }

// Close closes idle connections of all.
func (p *Pool) Close() { panic("unbuilt") }

// Upstream sends requests by one Profile. It is an http.RoundTripper: the request's URL names
// scheme and target; ProtoMajor 2 asks for h2. It never sends a request twice, never follows redirects.
// An error is an *Error.
type Upstream struct{}

// RoundTrip implements http.RoundTripper. "Upgrade" requests (101) always use HTTP/1.1.
func (u *Upstream) RoundTrip(*http.Request) (*http.Response, error) { panic("unbuilt") }

// DialTunnel opens a raw connection to the target for a tunnel, judged and
// (behind Via) CONNECTed like any other.
func (u *Upstream) DialTunnel(ctx context.Context, host string, port uint16) (net.Conn, error) {
	panic("unbuilt")
}

// Describe says where and how this profile connects, for explain: "10.1.2.3:443, TLS by /etc/attache/partner.pem".
func (u *Upstream) TLSConfig() *tls.Config { panic("unbuilt") }

// Reason is the stable code of why an upstream could not be used.
type Reason string

// The reasons.
const (
	AddressForbidden Reason = "address_forbidden" // promise 11
	Loop             Reason = "proxy_loop"        // an address of our own
	DNSFailed        Reason = "dns_failed"
	ConnectFailed    Reason = "connect_failed"
	ConnectTimeout   Reason = "connect_timeout"
	TLSUnverified    Reason = "upstream_unverified" // certificate of the wrong name, expired, unknown authority, wrong peer
	TLSFailed        Reason = "upstream_tls_failed"
	ViaRefused       Reason = "via_refused" // the upstream proxy said no
	HeaderTimeout    Reason = "upstream_timeout"
	Closed           Reason = "upstream_closed"       // the connection ended before an answer
	BadResponse      Reason = "upstream_bad_response" // not HTTP, headers too large
	Busy             Reason = "upstream_busy"
	PlaintextRefused Reason = "plaintext_refused" // promise 4: not a loopback or unix address
	Cancelled        Reason = "client_cancelled"
)

// Error is why a call to an upstream gave no answer. Its text holds no header and no URL path.
type Error struct {
	Reason Reason
	Addr   string // what was dialled, may be empty
	Err    error
}

func (e *Error) Error() string { return string(e.Reason) + ": " + e.Addr }
func (e *Error) Unwrap() error { return e.Err }
