package proxy

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
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

// conn is a client's connection, from Accept to Close.
type conn struct {
	net.Conn
	proxy    *Proxy
	listener string

	// What the connection alone proves, and to whom. A connection outside a
	// tunnel serves one request at a time, so these need no lock.
	observed   identity.Observed
	observedBy *identity.Authenticator

	guard  *framing // nil once the bytes are no longer HTTP/1 in clear
	prefix []byte   // read ahead of their time, to be read again

	// Set by CONNECT, before anything is read through the tunnel.
	target target
	peer   *identity.Peer
	// The Snapshot under which the peer was last found to be what it was.
	checked atomic.Pointer[Snapshot]

	opening *exchange // of the CONNECT

	linger atomic.Bool // Close lets the peer read what was written first
	spent  atomic.Bool // what comes next is the rest of a request that is over
	closed sync.Once

	spare *list.Element // among the spare ones of conns, whose lock guards it
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
			c.prefix = nil
		}
		return n, nil
	}
	return c.guard.read(c.Conn, b, c)
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
		err = c.Conn.Close()
		c.proxy.conns.remove(c)
	})
	return err
}

func (c *conn) drain() {
	if c.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, 256<<10)
}

const lingerTime = 300 * time.Millisecond

// CloseWrite ends the stream towards the client, which may go on sending.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
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
}

func (c *innerConn) Read(b []byte) (int, error) { return c.guard.read(c.Conn, b, c.outer) }

func (c *innerConn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
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
