package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// writer is the ResponseWriter of one exchange: it counts what goes to the
// client and hands over the connection of an upgrade whole.
type writer struct {
	http.ResponseWriter
	x      *exchange
	status int
	begun  atomic.Bool // status is written
	bytes  atomic.Int64
	err    error // of writing to the client
}

// WriteHeader implements [http.ResponseWriter]; 1xx may come before the status.
func (w *writer) WriteHeader(code int) {
	if code == http.StatusContinue && w.x.body.asked.Load() {
		return // the upstream's came after we had stopped waiting for it; one is enough
	}
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.status = code
		w.begun.Store(true)
		if x := w.x; !x.answered.IsZero() {
			x.event.Phases.Added += x.p.now().Sub(x.answered)
		}
		if in := w.x.in; in.ProtoMajor == 1 && (len(in.Header["Upgrade"]) > 0 || in.Method == http.MethodConnect) {
			// What follows was not checked as HTTP/1 (see framing).
			w.Header().Set("Connection", "close")
		}
	} else {
		stripAnswer(w.Header())
		w.x.scrub.header(w.Header())
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write writes a part of the answer, masked where its rule masks bodies.
func (w *writer) Write(b []byte) (n int, err error) {
	if m := w.x.scrub.writer; m != nil {
		n, err = m.Write(b)
	} else {
		n, err = unmasked{w}.Write(b)
	}
	if err != nil {
		w.err = err
	}
	return n, err
}

// unmasked is what a writer writes to in the end.
type unmasked struct{ w *writer }

func (u unmasked) Write(b []byte) (int, error) {
	if u.w.status == 0 {
		u.w.WriteHeader(http.StatusOK)
	}
	n, err := u.w.ResponseWriter.Write(b)
	u.w.bytes.Add(int64(n))
	return n, err
}

// FlushError implements the flushing of [http.ResponseController]. What is held
// back for masking is written from a timer as well, so both take turns.
func (w *writer) FlushError() error {
	if m := w.x.scrub.writer; m != nil {
		m.Flush()
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap lets [http.ResponseController] reach deadlines.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack takes the connection over for an upgrade, with what the client has
// sent ahead of the answer: ReverseProxy would drop it.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := &upgradedConn{Conn: nc, prefix: buffered(rw.Reader), w: w}
	c.out = w.x.scrub.upgradedWriter(nc, w.x.in.Header.Get("Upgrade"))
	if inner, ok := nc.(*innerConn); ok {
		inner.guard = nil
	} else {
		w.x.conn.guard = nil
	}
	w.status = http.StatusSwitchingProtocols
	w.begun.Store(true)
	w.x.trackUpgrade()
	return c, rw, nil
}

// upgradedConn is the client's side of an upgraded connection.
type upgradedConn struct {
	net.Conn
	prefix []byte
	w      *writer
	out    io.Writer // to the client, masked
}

func (c *upgradedConn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		c.prefix = c.prefix[n:]
		c.w.x.body.bytes.Add(int64(n))
		return n, nil
	}
	n, err := c.Conn.Read(b)
	c.w.x.body.bytes.Add(int64(n))
	return n, err
}

func (c *upgradedConn) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	c.w.bytes.Add(int64(n))
	return n, err
}

func (c *upgradedConn) CloseWrite() error {
	if m := c.w.x.scrub.writer; m != nil {
		_ = m.Release()
	}
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// buffers lends the buffers that bodies are copied through.
type buffers chan []byte

const (
	bufferSize = 32 << 10
	bufferKeep = 64 // buffers kept for the next request
)

func newBuffers() buffers { return make(buffers, bufferKeep) }

// Get implements [httputil.BufferPool].
func (p buffers) Get() []byte {
	select {
	case b := <-p:
		return b
	default:
		return make([]byte, bufferSize)
	}
}

// Put implements [httputil.BufferPool].
func (p buffers) Put(b []byte) {
	select {
	case p <- b:
	default:
	}
}
