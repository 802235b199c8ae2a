package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/attache-proxy/attache/proxy/policy"
)

// newTLSConfig returns the one server configuration of all tunnels: sharing it
// is what lets clients resume their sessions on the next connection.
func (p *Proxy) newTLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// This hop stays on the machine: no post-quantum exchange, which costs
		// a quarter of a handshake's CPU.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		// GetCertificate is not called when a session is resumed; this is.
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, checkSNI(hello.ServerName, hello.Conn.(*conn).target)
		},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := p.opts.Leaf(hello.Conn.(*conn).target.host)
			if err != nil {
				return nil, &leafError{err}
			}
			return cert, nil
		},
	}
}

// checkSNI compares a ClientHello's server name, which may be absent, with the target.
func checkSNI(sni string, t target) error {
	if sni == "" || sni == t.host {
		return nil
	}
	if host, err := policy.NormalizeHost(sni); err == nil && host == t.host {
		return nil
	}
	return &sniError{sni}
}

type sniError struct{ name string }

func (e *sniError) Error() string { return fmt.Sprintf("server name %q", capped(e.name)) }

type leafError struct{ err error }

func (e *leafError) Error() string { return e.err.Error() }
func (e *leafError) Unwrap() error { return e.err }

// established answers the CONNECT. A client that does not read it is gone.
func (x *exchange) established() bool {
	x.conn.expectRequest()
	_ = x.conn.SetDeadline(time.Now().Add(x.p.opts.Server.Handshake))
	x.p.conns.idle(x.conn, true) // until it has shaken hands
	if err := x.conn.establish(); err != nil {
		x.close(string(cancelled), "")
		return false
	}
	return true
}

// intercept answers the CONNECT, ends TLS with a certificate for the target and
// hands the connection to the inner server. Its exchange leaves an event only if that
// does not succeed: the requests inside have theirs.
func (x *exchange) intercept() {
	if !x.established() {
		return
	}
	x.interceptEstablished()
}

func (x *exchange) interceptEstablished() {
	c := x.conn
	c.target, c.authority, c.host = x.target, x.target.authority(), x.target.hostHeader()
	tc := tls.Server(c, x.p.tls)
	if err := tc.HandshakeContext(x.in.Context()); err != nil {
		x.close(handshakeReason(err), "")
		return
	}
	_ = c.SetDeadline(time.Time{})
	x.p.conns.idle(c, false)
	x.hand()
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		x.p.handoff.give(tc)
		return
	}
	x.p.handoff.give(newInnerConn(tc, c))
}

func handshakeReason(err error) string {
	if _, ok := errors.AsType[*sniError](err); ok {
		return reasonSNIMismatch
	}
	if _, ok := errors.AsType[*leafError](err); ok {
		return reasonCertificate
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return reasonNotTLS
	}
	return reasonHandshake
}

// connectBySNI opens a CONNECT to an IP literal by the name in its
// ClientHello (listen.ip_connect: sni): that name is the target, decided on and
// resolved by us; the address the client gave is not used again.
func (x *exchange) connectBySNI() {
	if !x.established() {
		return
	}
	name, err := x.conn.peekSNI()
	if err != nil || name == "" {
		x.close(peekReason(err), "")
		return
	}
	host, err := policy.NormalizeHost(name)
	if err != nil {
		x.close(reasonSNIMismatch, "")
		return
	}
	x.setTarget(target{"https", host, x.target.port})
	d := x.decideConnect()
	switch {
	case d.Verdict == policy.ConnectIntercept:
		x.interceptEstablished()
	case d.Verdict == policy.ConnectTunnel || x.observed():
		x.tunnelEstablished()
	case x.snap.leaves(x.target):
		if no := x.leave(); no != nil {
			x.close(no.reason, no.detail)
			return
		}
		x.tunnelEstablished()
	default:
		x.decided(d.Decision)
		x.close(string(d.Reason), "")
	}
}

func peekReason(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return reasonNotTLS
	}
	if err != nil {
		return reasonHandshake
	}
	return reasonSNIMismatch
}

var errPeeked = errors.New("peeked") // a constant: never assigned again

// peekSNI reads the ClientHello and leaves it to be read again. The name is
// empty where the ClientHello has none.
func (c *conn) peekSNI() (name string, err error) {
	var seen bytes.Buffer
	src := &peeking{Conn: c, r: io.TeeReader(io.LimitReader(c, 64<<10), &seen)}
	err = tls.Server(src, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errPeeked
		},
	}).HandshakeContext(context.Background())
	c.prefix = append(seen.Bytes(), c.prefix...)
	if errors.Is(err, errPeeked) {
		return name, nil
	}
	return "", err
}

// peeking is a connection that nothing is written to.
type peeking struct {
	net.Conn
	r io.Reader
}

func (p *peeking) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p *peeking) Write(b []byte) (int, error) { return len(b), nil }

// withConn tells requests which connection they are on.
func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, owner(nc))
}

// serveInner serves a request that came through an intercepted tunnel.
func (p *Proxy) serveInner(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		p.workers.do(w, r)
		return
	}
	p.serveIntercepted(w, r)
}

func (p *Proxy) serveIntercepted(w http.ResponseWriter, r *http.Request) {
	c := connOf(r.Context())
	x := p.newExchange(w, r, c)
	defer x.finish()
	x.setTarget(c.target)
	if !x.checkAuthority() || !x.stillWho() {
		return
	}
	x.windDown()
	x.forward(c.target)
}

// checkAuthority holds the request to the host that its connection was opened
// for: promise 2.
func (x *exchange) checkAuthority() bool {
	r, t := x.in, x.target
	if r.Method == http.MethodConnect {
		x.refuse(reasonMethodUnsupported, "")
		return false
	}
	if r.URL.Scheme != "" && r.URL.Scheme != "https" {
		x.refuse(reasonMisdirected, "")
		return false
	}
	if !t.names(r.Host) || (r.URL.Host != "" && !t.names(r.URL.Host)) {
		x.refuse(reasonMisdirected, "")
		return false
	}
	// HTTP/2 may carry a Host header beside :authority (RFC 9113 §8.3.1).
	for _, h := range r.Header["Host"] {
		if !t.names(h) {
			x.refuse(reasonMisdirected, "")
			return false
		}
	}
	return true
}

// names reports whether an authority means t.
func (t target) names(authority string) bool {
	if authority == t.host && t.port == defaultPort(t.scheme) {
		return true
	}
	host, port, err := policy.SplitAuthority(authority, defaultPort(t.scheme))
	return err == nil && host == t.host && port == t.port
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}
