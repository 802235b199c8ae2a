package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxResponseHeader = 256 << 10        // bytes
	idlePerHost       = 256              // net/http's own 2 make busy proxies dial without end
	idleTimeout       = 30 * time.Second // shorter than servers', which otherwise close as we send
	pingAfter         = 15 * time.Second // of silence on an HTTP/2 connection, and for the answer
	continueTimeout   = time.Second      // RFC 9110 §10.1.1: wait, but not for ever
	streamBuffer      = 1 << 20          // bytes of an HTTP/2 answer that the client has not taken yet
	maxHosts          = 1024             // remembered as speaking only HTTP/2
)

// newTransport builds a transport from nothing: a clone of another offers h2
// against its own Protocols. Proxy stays nil, or HTTPS_PROXY would lead back to us.
func (ts *transports) newTransport(protos ...string) *http.Transport {
	u := ts.u
	var speaks http.Protocols
	for _, p := range protos {
		if p == "h2" {
			speaks.SetHTTP2(true)
		} else {
			speaks.SetHTTP1(true)
		}
	}
	speaks.SetUnencryptedHTTP2(!speaks.HTTP1()) // with both, net/http takes HTTP/1.1
	return &http.Transport{
		Protocols:              &speaks,
		DialContext:            u.dialClear,
		DialTLSContext:         func(ctx context.Context, _, addr string) (net.Conn, error) { return ts.dialTLS(ctx, addr, protos) },
		DisableCompression:     true, // what the client did not ask for would change the answer
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  max(u.profile.ResponseHeader, 0),
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingAfter,
			MaxReceiveBufferPerStream: streamBuffer,
		},
	}
}

// dialClear opens a connection for clear text, which only rules that attach nothing may send far.
func (u *Upstream) dialClear(ctx context.Context, _, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.profile.Connect)
	defer cancel()
	return u.open(ctx, addr, !u.profile.AnyClear)
}

// dialTLS opens a verified connection that offers protos. The server is held to
// the name in addr, or to what the profile says in its place.
func (ts *transports) dialTLS(ctx context.Context, addr string, protos []string) (net.Conn, error) {
	u := ts.u
	ctx, cancel := context.WithTimeout(ctx, u.profile.Connect)
	defer cancel()
	raw, err := u.open(ctx, addr, false)
	if err != nil {
		return nil, err
	}
	conf := u.tls.Clone()
	conf.NextProtos = protos
	if conf.ServerName = u.profile.ServerName; conf.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			_ = raw.Close()
			return nil, &Error{TLSFailed, addr, err}
		}
		conf.ServerName = strings.TrimSuffix(host, ".")
	}
	under := &underTLS{Conn: raw, probe: newProbe(raw)}
	var held *heldConn
	if u.profile.shows() {
		held = ts.hold(raw, conf)
		raw, under.Conn = held, held
	}
	start := time.Now()
	conn := tls.Client(under, conf)
	err = conn.HandshakeContext(ctx)
	if err == nil && held != nil {
		err = held.keep()
	}
	if err != nil {
		_ = raw.Close()
		if noHTTP1(err) {
			return nil, &wantsH2{addr, err}
		}
		return nil, tlsError(ctx, addr, err)
	}
	if len(protos) == 1 && protos[0] == "h2" && conn.ConnectionState().NegotiatedProtocol != "h2" {
		_ = conn.Close()
		return nil, &Error{TLSFailed, addr, errors.New("the upstream does not speak HTTP/2")}
	}
	tripOf(ctx).note(func(i *Info) { i.TLS = time.Since(start) })
	return conn, nil
}

// open connects to target, "host:port", by the profile's way.
func (u *Upstream) open(ctx context.Context, target string, loopback bool) (net.Conn, error) {
	// A dial goes on when its request is gone, so requests do not bound dials.
	client := tripOf(ctx).whose()
	if full, ok := u.dials.take(client); !ok {
		return nil, &Error{Reason: full, Addr: target}
	}
	defer u.dials.leave(client)
	host, port, err := splitAddr(target)
	if err != nil {
		return nil, &Error{ConnectFailed, "", err} // the text may be anything
	}
	switch {
	case u.to.unix != "":
		return dialUnix(ctx, u.to.unix)
	case u.to.host != "":
		return u.dialer.dial(ctx, u.to.host, u.to.port, terms{configured: true, loopback: loopback})
	case u.via == nil:
		return u.dialer.dial(ctx, host, port, terms{allow: u.profile.Allow, loopback: loopback})
	case loopback:
		return nil, &Error{PlaintextRefused, target, errors.New("an upstream proxy stands between")}
	}
	if addr, err := netip.ParseAddr(host); err == nil { // a name is for the upstream proxy to resolve
		if e := u.dialer.admit(netip.AddrPortFrom(addr, port), terms{allow: u.profile.Allow}); e != nil {
			return nil, e
		}
	}
	return u.dialVia(ctx, target)
}

// DialTunnel opens a raw connection to the target for a tunnel, judged and
// (behind Via) CONNECTed like any other. It has CloseWrite. The error is an *Error.
func (u *Upstream) DialTunnel(ctx context.Context, host string, port uint16) (net.Conn, error) {
	dctx, cancel := context.WithTimeout(ctx, u.profile.Connect)
	defer cancel()
	conn, err := u.open(dctx, net.JoinHostPort(host, strconv.Itoa(int(port))), false)
	tripOf(ctx).deliver("")
	if err != nil {
		return nil, dialError(ctx, ConnectFailed, host, err)
	}
	return conn, nil
}

// Describe says where and how this profile connects, for explain: "10.1.2.3:443, TLS by its own
// roots, HTTP/1.1". Without connect_to it begins with how, since each request names its own target.
func (u *Upstream) Describe() string {
	p := &u.profile
	var parts []string
	if p.ConnectTo != "" {
		parts = append(parts, p.ConnectTo)
	}
	switch {
	case p.Plaintext:
		parts = append(parts, "in clear")
	case p.Peer != "":
		parts = append(parts, "TLS as "+p.Peer)
	case p.CA != nil:
		parts = append(parts, "TLS by its own roots")
	default:
		parts = append(parts, "TLS by public roots")
	}
	switch {
	case p.Protocol == HTTP2:
		parts = append(parts, "HTTP/2")
	case p.Protocol == HTTP1, p.Plaintext:
		parts = append(parts, "HTTP/1.1")
	default:
		parts = append(parts, "HTTP/2 or 1.1")
	}
	if u.via != nil && p.ConnectTo == "" {
		parts = append(parts, "via "+u.via.addr())
	}
	return strings.Join(parts, ", ")
}

// hostSet remembers a bounded number of hosts. Forgetting one costs a handshake.
type hostSet struct {
	mu    sync.RWMutex
	hosts map[string]struct{}
}

func (s *hostSet) has(host string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.hosts[host]
	return ok
}

func (s *hostSet) add(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts == nil || len(s.hosts) >= maxHosts {
		s.hosts = make(map[string]struct{})
	}
	s.hosts[host] = struct{}{}
}
