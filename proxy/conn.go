package proxy

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/identity"
)

// target is where a connection or a request is meant to go.
type target struct {
	scheme string // "https" or "http"
	host   string // normalised
	port   uint16
}

// conn is a client's connection, from Accept to Close: a socket, perhaps with
// TLS on top, or a CONNECT's stream of an HTTP/2 connection. A request that comes over HTTP/2
// outside any tunnel has one of its own too, which nothing is read from.
type conn struct {
	net.Conn // the socket, or the stream
	proxy    *Proxy
	listener string
	secure   *tls.Conn // the client's TLS with us, on top of the socket; nil: none
	parent   *conn     // the HTTP/2 connection that this one is a part of; nil: none

	seen    atomic.Pointer[seen] // of a whole connection
	retired atomic.Bool          // of a whole connection: to be closed as soon as it is spare
	expiry  *time.Timer          // retires it; nil: nothing does. Of conns, whose lock guards it

	guard  *framing // nil once the bytes are no longer HTTP/1 in clear
	prefix []byte   // read ahead of their time, to be read again

	// Set by CONNECT, before anything is read through the tunnel.
	target    target
	authority string // of target
	host      string // as a Host header says it
	peer      *identity.Peer
	proven    time.Time // when peer was
	client    any       // whom its requests are counted for where clients share an upstream; see [clientOf]
	// The Snapshot under which the peer was last found to be what it was.
	checked atomic.Pointer[Snapshot]

	opening *exchange // of the CONNECT
	lookout *lookout  // of an intercepted connection that speaks HTTP/1; nil otherwise

	// A handler has taken the request that was read last: what is written is its answer, and not net/http's own.
	answering atomic.Bool
	refused   string // ID of a request that guard has refused, which net/http is yet to answer; empty: none

	fresh atomic.Bool // no request has come yet

	watch *watch // over the requests under way

	deadline readDeadline

	linger atomic.Bool // Close lets the peer read what was written first
	spent  atomic.Bool // what comes next is the rest of a request that is over
	closed sync.Once

	spare      *list.Element // among the spare ones of conns, whose lock guards it
	spareSince time.Time     // when it became so; likewise
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
			c.prefix = nil
		}
		return n, nil
	}
	if c.secure != nil {
		return c.guard.read(c.secure, b, c)
	}
	return c.guard.read(socket{c}, b, c)
}

// Write writes to the client.
func (c *conn) Write(b []byte) (int, error) {
	if c.guard != nil && c.unhandled(b) {
		return c.answerUnhandled(b, c.bytes())
	}
	return c.bytes().Write(b)
}

// bytes is what the client's bytes come from and go to.
func (c *conn) bytes() net.Conn {
	if c.secure != nil {
		return c.secure
	}
	return c.Conn
}

// part returns a conn for a request, or a stream, that comes over c.
func (c *conn) part(nc net.Conn) *conn {
	return &conn{Conn: nc, proxy: c.proxy, listener: c.listener, parent: c, watch: new(watch)}
}

// establish answers a CONNECT with 200.
func (c *conn) establish() error {
	if s, ok := c.Conn.(*streamConn); ok {
		return s.establish()
	}
	_, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err
}

// answer answers a CONNECT with anything else.
func (c *conn) answer(res *http.Response) error {
	if s, ok := c.Conn.(*streamConn); ok {
		return s.answer(res)
	}
	return res.Write(c)
}

// expectRequest counts c as fresh: accepted, or a tunnel that is being opened, with no request on it yet. Its client is
// about to send one, and would not try again; net/http's Shutdown drops such a connection when the request
// comes.
func (c *conn) expectRequest() {
	if c.fresh.CompareAndSwap(false, true) {
		c.proxy.fresh.add(1)
	}
}

// requestCame is called when a request has come on c, or none will.
func (c *conn) requestCame() {
	if c.fresh.Load() && c.fresh.CompareAndSwap(true, false) {
		c.proxy.fresh.add(-1)
	}
}

// whole is the connection that c is, or is a part of.
func (c *conn) whole() *conn {
	if c.parent != nil {
		return c.parent
	}
	return c
}

// Close closes the connection. After a refusal it waits, for a moment, until
// the client has stopped sending: unread bytes would make the kernel reset the
// connection and the client lose the answer (RFC 9112 §9.6).
func (c *conn) Close() error {
	err := net.ErrClosed
	c.closed.Do(func() {
		if c.linger.Load() {
			c.drain()
		}
		err = c.bytes().Close()
		c.watch.end()
		c.requestCame()
		c.proxy.conns.remove(c)
	})
	return err
}

func (c *conn) drain() {
	if c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, socket{c}, 256<<10)
}

const lingerTime = 300 * time.Millisecond

// CloseWrite ends the stream towards the client, which may go on sending.
func (c *conn) CloseWrite() error {
	if half, ok := c.bytes().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// innerConn is an intercepted connection that speaks HTTP/1: TLS ended, its
// framing checked. HTTP/2 connections go to net/http as *tls.Conn, which it
// insists on.
type innerConn struct {
	net.Conn // a *tls.Conn
	outer    *conn
	guard    *framing
	lookout  lookout
}

func newInnerConn(tc *tls.Conn, outer *conn) *innerConn {
	c := &innerConn{Conn: tc, outer: outer, guard: newFraming()}
	c.lookout.src = tc
	outer.lookout = &c.lookout
	return c
}

func (c *innerConn) Read(b []byte) (int, error) {
	if len(b) == 1 && c.guard.betweenRequests() {
		c.lookout.putOffLook()
		return 0, nil
	}
	return c.guard.read(&c.lookout, b, c.outer)
}

func (c *innerConn) Write(b []byte) (int, error) {
	if c.guard != nil && c.outer.unhandled(b) {
		return c.outer.answerUnhandled(b, c.Conn)
	}
	return c.Conn.Write(b)
}

func (c *innerConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// owner is the conn under what net/http was given, nil if it is none of ours.
func owner(nc net.Conn) *conn {
	switch nc := nc.(type) {
	case *conn:
		return nc
	case *innerConn:
		return nc.outer
	case *tls.Conn:
		switch under := nc.NetConn().(type) {
		case *conn:
			return under
		case *underTLS:
			return under.of
		}
	}
	return nil
}

type connKey struct{}

func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// handoff is a net.Listener fed by hand with intercepted connections.
type handoff struct {
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
	addr net.Addr
}

func newHandoff() *handoff {
	return &handoff{ch: make(chan net.Conn), done: make(chan struct{}), addr: &net.TCPAddr{}}
}

// give hands c to whoever accepts, or closes it when nobody does any more.
func (h *handoff) give(c net.Conn) {
	select {
	case h.ch <- c:
	case <-h.done:
		_ = c.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.ch:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }
