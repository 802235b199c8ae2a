package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"sync"
	"time"
)

// fetcher sends over HTTP/1.1 what has no body and may be repeated (RFC 9110 §9.2.2): GET before all. While such a
// request is under way nothing else happens on its connection, so the goroutine that asks writes it and reads the
// answer by itself. http.Transport has two goroutines a connection for what may go on at once, an upload and its
// early answer, and handing a small request from one to the next and back costs more than sending it.
//
// Nobody reads from an idle connection. What came meanwhile, its end or what nobody asked for, is found when it is
// to be used again. Should the server close it in that moment, the request is sent once more, on a new one, which only
// safe requests may be.
type fetcher struct {
	ts *transports

	mu    sync.Mutex
	idle  map[string][]*fetchConn // by scheme and authority, the one that was in use last at the end
	sweep *time.Timer             // closes those that are idle for too long; nil: none is idle
}

// fetches reports whether out is for a fetcher. Behind another proxy there may be TLS in TLS, which cannot be looked into.
func (u *Upstream) fetches(out *http.Request) bool {
	return canProbe && u.via == nil && safe(out.Method) && (out.Body == nil || out.Body == http.NoBody) && out.ContentLength == 0 &&
		len(out.TransferEncoding) == 0 && !out.Close && len(out.Header["Upgrade"]) == 0 && len(out.Header["Expect"]) == 0
}

// RoundTrip implements http.RoundTripper.
func (f *fetcher) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := validRequest(req); err != nil {
		return nil, err
	}
	ctx := req.Context()
	key := req.URL.Scheme + "://" + req.URL.Host
	c := f.take(key)
	if c != nil {
		resp, err := c.fetch(req)
		if err == nil || !c.stale || ctx.Err() != nil {
			return resp, err
		}
	}
	c, err := f.dial(ctx, req, key)
	if err != nil {
		return nil, err
	}
	return c.fetch(req)
}

// dial opens a connection for req.
func (f *fetcher) dial(ctx context.Context, req *http.Request, key string) (*fetchConn, error) {
	addr := req.URL.Host
	if req.URL.Port() == "" {
		addr = net.JoinHostPort(req.URL.Hostname(), defaultPort(req.URL.Scheme))
	}
	var nc net.Conn
	var err error
	if req.URL.Scheme == "https" {
		nc, err = f.ts.dialTLS(ctx, addr, []string{"http/1.1"})
	} else {
		nc, err = f.ts.u.dialClear(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	c := &fetchConn{Conn: nc, of: f, key: key}
	if t, ok := nc.(*tls.Conn); ok {
		c.probe = t.NetConn().(*underTLS).probe
	} else {
		c.probe = newProbe(nc)
	}
	c.in, c.out = bufio.NewReader(c), bufio.NewWriter(nc)
	return c, nil
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// take returns a connection that is idle and can be used, nil if there is none.
func (f *fetcher) take(key string) *fetchConn {
	for {
		now := time.Now()
		c := f.last(key, now)
		if c == nil || c.probe.quiet(c.Conn, now.Sub(c.since)) {
			return c
		}
		_ = c.Conn.Close()
	}
}

// last returns the connection that was in use last, nil if none is idle.
func (f *fetcher) last(key string, now time.Time) *fetchConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	idle := f.idle[key]
	if len(idle) == 0 {
		return nil
	}
	c := idle[len(idle)-1] // the others can rest, and end
	if now.Sub(c.since) >= idleTimeout {
		return nil // the sweep, which is about to come, ends them all
	}
	idle[len(idle)-1] = nil
	f.idle[key] = idle[:len(idle)-1]
	return c
}

// put keeps c for another request, or closes it.
func (f *fetcher) put(c *fetchConn) {
	f.mu.Lock()
	full := len(f.idle[c.key]) >= idlePerHost
	if !full {
		if f.idle == nil {
			f.idle = map[string][]*fetchConn{}
		}
		c.since = time.Now()
		f.idle[c.key] = append(f.idle[c.key], c)
		if f.sweep == nil {
			f.sweep = time.AfterFunc(idleTimeout, f.sweepIdle)
		}
	}
	f.mu.Unlock()
	if full {
		_ = c.Conn.Close()
	}
	f.ts.swept()
}

// sweepIdle closes what has been idle for too long.
func (f *fetcher) sweepIdle() { f.close(time.Now().Add(-idleTimeout)) }

// CloseIdleConnections closes all that is idle.
func (f *fetcher) CloseIdleConnections() { f.close(time.Now()) }

// close closes what is idle since that time, or longer.
func (f *fetcher) close(since time.Time) {
	var gone []*fetchConn
	var next time.Time
	f.mu.Lock()
	for key, idle := range f.idle { // in the order of their times
		n := slices.IndexFunc(idle, func(c *fetchConn) bool { return c.since.After(since) })
		if n < 0 {
			gone = append(gone, idle...)
			delete(f.idle, key)
			continue
		}
		gone = append(gone, idle[:n]...)
		f.idle[key] = slices.Clone(idle[n:])
		if first := idle[n].since; next.IsZero() || first.Before(next) {
			next = first
		}
	}
	if f.sweep != nil {
		f.sweep.Stop()
		f.sweep = nil
	}
	if !next.IsZero() {
		f.sweep = time.AfterFunc(next.Sub(since), f.sweepIdle)
	}
	f.mu.Unlock()
	for _, c := range gone {
		_ = c.Conn.Close()
	}
}

// fetchConn is a connection of a fetcher. It belongs to one request at a time.
type fetchConn struct {
	net.Conn // *tls.Conn or in clear
	of       *fetcher
	probe    *probe
	key      string
	in       *bufio.Reader
	out      *bufio.Writer
	limit    int       // bytes of header that may still come
	reused   bool      // it has carried a request
	stale    bool      // it ended before a byte of the answer came
	broken   error     // of the last Read
	since    time.Time // it is idle
	release  func() bool
}

// Read counts what comes as a header.
func (c *fetchConn) Read(p []byte) (int, error) {
	if c.limit <= 0 {
		c.broken = errHeaderBytes
		return 0, c.broken
	}
	n, err := c.Conn.Read(p[:min(len(p), c.limit)])
	c.limit -= n
	c.broken = err
	return n, err
}

// fetch sends req and reads the answer's header. The end of the answer's body gives the connection back.
func (c *fetchConn) fetch(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	trip := tripOf(ctx)
	if trip != nil {
		trip.gotConn(httptrace.GotConnInfo{Conn: c.Conn, Reused: c.reused})
	}
	// The end of the request ends reading and writing.
	c.release = context.AfterFunc(ctx, func() { _ = c.Conn.Close() })
	resp, err := c.exchange(req, trip)
	if err != nil {
		c.stale = c.stale && c.reused
		c.abandon()
		return nil, err
	}
	c.reused, c.limit = true, math.MaxInt
	last := resp.Close || resp.StatusCode < 200
	switch {
	case resp.Body != http.NoBody:
		resp.Body = &fetchBody{ReadCloser: resp.Body, c: c, last: last}
	case last:
		c.abandon()
	default:
		c.finish()
	}
	return resp, nil
}

// exchange writes req and reads the answer's header.
func (c *fetchConn) exchange(req *http.Request, trip *trip) (*http.Response, error) {
	c.limit, c.stale = maxResponseHeader, true
	writeHead(c.out, req)
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	if wait := c.of.ts.u.profile.ResponseHeader; wait > 0 {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		defer c.SetReadDeadline(time.Time{})
	}
	if _, err := c.in.Peek(1); err != nil {
		return nil, c.cause(err)
	}
	c.stale = false
	for {
		resp, err := http.ReadResponse(c.in, req)
		if err != nil {
			return nil, c.cause(err)
		}
		if resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		// Who hears of interim answers bounds their number; else the limit is for all of them.
		if trip != nil && trip.trace.Got1xxResponse != nil {
			if err := trip.trace.Got1xxResponse(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
				return nil, err
			}
			c.limit = maxResponseHeader
		}
	}
}

// cause is why no header came. What net/http makes of one that breaks off in a line is that the line is malformed.
func (c *fetchConn) cause(err error) error {
	if c.broken != nil {
		err = c.broken
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.stale = false // it is there, and may be at work
		return &Error{HeaderTimeout, "", errLate}
	}
	return err
}

// finish gives the connection back: the answer has been read whole.
func (c *fetchConn) finish() {
	if !c.release() || c.in.Buffered() > 0 { // being closed, or more came than was asked for
		_ = c.Conn.Close()
		return
	}
	c.of.put(c)
}

// abandon closes the connection.
func (c *fetchConn) abandon() {
	c.release()
	_ = c.Conn.Close()
}

// fetchBody is the body of an answer. It is read, and closed, by one goroutine.
type fetchBody struct {
	io.ReadCloser
	c    *fetchConn
	last bool // no request may follow
	over error
}

func (b *fetchBody) Read(p []byte) (int, error) {
	if b.over != nil {
		return 0, b.over
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err)
	}
	return n, err
}

func (b *fetchBody) end(err error) {
	b.over = err
	if err == io.EOF && !b.last {
		b.c.finish()
		return
	}
	b.c.abandon()
}

// Close ends the connection of an answer that was not read whole: the rest of it may never end.
func (b *fetchBody) Close() error {
	if b.over == nil {
		b.end(http.ErrBodyReadAfterClose)
	}
	return nil
}

// Constants: never assigned again.
var (
	errHeaderBytes      = errors.New("the answer's header is over the limit")
	errMalformedRequest = errors.New("no request of HTTP/1.1")
)
