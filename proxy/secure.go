package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/audit"
)

// ServeTLS is [Proxy.Serve] for clients that speak TLS with the proxy, in HTTP/1.1 or HTTP/2. The proxy
// presents its SVID, and clients theirs; those without one are let in only while some caller can prove
// itself otherwise. Without an SVID of ours, and bundles to verify theirs, nobody gets in.
func (p *Proxy) ServeTLS(l net.Listener, name string) error {
	s := p.newServer(http.HandlerFunc(p.serveOuter))
	s.Protocols.SetHTTP2(true)
	// A tunnel that nobody reads from fills what is its own, and stops no other: tunnels count as connections.
	s.HTTP2.MaxReceiveBufferPerConnection = min(s.HTTP2.MaxConcurrentStreams, math.MaxInt32/streamAhead) * streamAhead
	front := p.newListener(l, name, true)
	sl := &secureListener{
		Listener: front, proxy: p,
		shaken: make(chan accepted), done: make(chan struct{}),
	}
	var accepting sync.WaitGroup
	accepting.Go(sl.accept)
	defer accepting.Wait()
	return p.serveBy(s, sl, front)
}

// newOuterTLS is the configuration of listeners that speak TLS.
func (p *Proxy) newOuterTLS() *tls.Config {
	state := func() *identity.State {
		if s := p.live.Load(); s != nil {
			return s.Identity
		}
		return nil
	}
	outer := identity.ServerTLS(state, p.now)
	outer.NextProtos = []string{"h2", "http/1.1"}
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s := p.live.Load()
		if s == nil {
			return nil, identity.ErrNone
		}
		if _, _, err := s.Identity.Certificate(p.now()); err != nil {
			return nil, &noIdentityError{err}
		}
		// Of each connection its own, so that the chain is verified once, and what comes of it kept.
		cfg := outer.Clone()
		if !s.Callers.CertificateOnly() {
			cfg.ClientAuth = tls.RequestClientCert // or some other proof has to follow
		}
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			return hello.Conn.(*underTLS).of.verifyClient(s, cs.PeerCertificates)
		}
		return cfg, nil
	}
	return outer
}

// noIdentityError is why the proxy cannot say who it is.
type noIdentityError struct{ err error }

func (e *noIdentityError) Error() string { return e.err.Error() }

// secureListener accepts connections whose TLS handshake is done: *conn for HTTP/1.1, and *tls.Conn, on
// which net/http insists, for HTTP/2.
type secureListener struct {
	net.Listener // of *conn
	proxy        *Proxy
	shaken       chan accepted
	done         chan struct{} // closed by Close
	once         sync.Once
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept implements [net.Listener].
func (l *secureListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.shaken:
		return a.conn, a.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *secureListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// accept accepts and shakes hands until the listener is closed. What accepting fails with goes to
// [secureListener.Accept], whose caller knows when to try again.
func (l *secureListener) accept() {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if !l.give(accepted{nil, err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		c := nc.(*conn)
		if !l.proxy.handlers.enter() {
			_ = c.Close()
			return
		}
		go func() { // Shutdown waits for it by handlers
			defer l.proxy.handlers.leave()
			l.proxy.shake(c, l.give)
		}()
	}
}

func (l *secureListener) give(a accepted) bool {
	select {
	case l.shaken <- a:
		return true
	case <-l.done:
		return false
	}
}

// shake does the TLS handshake of c and gives it to net/http.
func (p *Proxy) shake(c *conn, give func(accepted) bool) {
	began := p.now()
	p.conns.idle(c, true) // until it has shaken hands
	ctx, cancel := context.WithTimeout(p.life, p.opts.Server.Handshake)
	defer cancel()
	if err := c.secure.HandshakeContext(ctx); err != nil {
		_ = c.Conn.Close()
		_ = c.Close()
		p.refusedHandshake(c, began, err)
		return
	}
	p.conns.idle(c, false)
	if end := p.lifetime(c); !end.IsZero() {
		p.conns.expire(c, end.Sub(p.now())+p.opts.retireGrace)
	}
	var given net.Conn = c.secure
	if c.secure.ConnectionState().NegotiatedProtocol != "h2" {
		c.guard = newFraming()
		given = c
	}
	if !give(accepted{given, nil}) {
		_ = given.Close()
	}
}

// lifetime is when the first of both sides' SVIDs ends.
func (p *Proxy) lifetime(c *conn) time.Time {
	s := p.live.Load()
	_, ours, _ := s.Identity.Certificate(p.now())
	return earlier(ours, c.observe(s.Callers).Expires(p.known(s)))
}

// refusedHandshake leaves the event of a client that did not get in, unless it has only knocked, as
// probes do.
func (p *Proxy) refusedHandshake(c *conn, began time.Time, err error) {
	if errors.Is(err, io.EOF) || p.life.Err() != nil {
		return
	}
	reason := reasonOuterHandshake
	if _, ours := errors.AsType[*noIdentityError](err); ours || errors.Is(err, identity.ErrNone) {
		reason = reasonNoIdentity
	}
	now := p.now()
	p.record(&audit.Event{
		Type: audit.Request, Time: now, RequestID: p.ids.next(now), Listener: c.listener,
		Decision: audit.Refuse, Reason: reason, Fault: string(p.reasons[reason].Fault), Detail: detailed(err),
		Phases: audit.Phases{Total: now.Sub(began)},
	})
}

// detailed is an error for the audit, bounded: it may quote what the client sent.
func detailed(err error) string {
	const most = 256
	text := err.Error()
	if len(text) > most {
		text = text[:most]
	}
	return text
}

// underTLS is what the TLS of a conn reads from and writes to.
type underTLS struct {
	net.Conn
	of *conn
}

func (u *underTLS) Read(b []byte) (int, error) { return socket{u.of}.Read(b) }

// SetReadDeadline implements [net.Conn].
func (u *underTLS) SetReadDeadline(t time.Time) error { return u.of.SetReadDeadline(t) }

// SetDeadline implements [net.Conn].
func (u *underTLS) SetDeadline(t time.Time) error { return u.of.SetDeadline(t) }

// Close closes the connection for good. It is how net/http closes one that speaks HTTP/2.
func (u *underTLS) Close() error {
	err := u.Conn.Close()
	u.of.watch.end()
	u.of.proxy.conns.remove(u.of)
	return err
}

// serveWhole2 serves a request that came over HTTP/2 and no tunnel: for an http:// URL, sent whole.
func (p *Proxy) serveWhole2(x *exchange) {
	if x.in.TLS != nil { // net/http sets it where :scheme is https
		x.refuse(reasonBadRequest, "only http:// URLs are sent whole; use CONNECT for https://")
		return
	}
	for _, h := range x.in.Header["Host"] { // RFC 9113 §8.3.1
		if h != x.in.Host {
			x.refuse(reasonMisdirected, "")
			return
		}
	}
	x.forwardClear(x.in.Host)
}
