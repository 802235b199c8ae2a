package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	connectAttempts = 3                // a CONNECT that nobody answered carried nothing of the client's
	connectAnswer   = 30 * time.Second // for the other proxy, which may have to dial
	maxRefusal      = 64 << 10         // bytes of a refusal's body
)

// ConnectRefused is the answer of a proxy that was asked to CONNECT and would
// not. It is what that proxy says, so its header and body are not to be trusted
// with more than being shown.
type ConnectRefused struct {
	Status int
	Header http.Header
	Body   []byte
}

func (e *ConnectRefused) Error() string { return fmt.Sprintf("refused with %d", e.Status) }

// Tunnel is a connection through another proxy. It has no deadlines.
type Tunnel interface {
	net.Conn
	CloseWrite() error
	// Draining is closed when what carries the tunnel is about to end: it is
	// then better closed at a quiet moment than cut.
	Draining() <-chan struct{}
}

// Connect asks the server at ConnectTo, a proxy that speaks HTTP/2, for a tunnel to
// target, "host:port" (RFC 9113 §8.5). Tunnels share connections. The error is an
// *Error, or a *ConnectRefused. The tunnel does not end with ctx.
func (u *Upstream) Connect(ctx context.Context, target string, header http.Header) (Tunnel, error) {
	addr := u.profile.ConnectTo
	client := tripOf(ctx).whose()
	if full, ok := u.requests.take(client); !ok {
		return nil, &Error{Reason: full, Addr: addr}
	}
	defer func() { tripOf(ctx).deliver("") }()
	if header == nil {
		header = http.Header{}
	}
	for attempt := 1; ; attempt++ {
		ts := u.current()
		if e := ts.missing(addr); e != nil {
			u.requests.leave(client)
			return nil, e
		}
		t, err := ts.connect(ctx, target, header)
		if err == nil {
			return t, nil
		}
		ts.swept()
		e, failed := errors.AsType[*Error](err)
		if failed && unheard(e) && attempt < connectAttempts && ctx.Err() == nil {
			continue
		}
		u.requests.leave(client)
		return nil, err
	}
}

// unheard reports that the connection went as the request came, or before its handshake was over, as it does to
// whoever connects to a server that is just closing its listener: another may be had.
func unheard(e *Error) bool {
	switch e.Reason {
	case Closed:
		return true
	case ConnectFailed, TLSFailed:
		return errors.Is(e.Err, io.ErrUnexpectedEOF) || errors.Is(e.Err, syscall.ECONNRESET)
	}
	return false
}

// connect is one attempt of Connect.
func (ts *transports) connect(ctx context.Context, target string, header http.Header) (Tunnel, error) {
	addr := ts.u.profile.ConnectTo
	mine, e := ts.opening.take(ctx, addr)
	if e != nil {
		return nil, e
	}
	t, err := ts.connectIn(ctx, mine, target, header)
	ts.opening.end(mine, err)
	return t, err
}

// connectIn is connect for whoever has the turn to find or open a connection.
func (ts *transports) connectIn(ctx context.Context, mine *turn, target string, header http.Header) (Tunnel, error) {
	addr := ts.u.profile.ConnectTo
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	gone := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	late := time.AfterFunc(connectAnswer, func() { cancel(errLate) })
	fromUs, toServer := io.Pipe()
	req := (&http.Request{
		Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: addr}, Host: target,
		ProtoMajor: 2, Header: header.Clone(), Body: fromUs, ContentLength: -1,
	}).WithContext(ts.opening.trace(life, mine))
	resp, err := ts.h2.RoundTrip(req)
	if err == nil && (!gone() || !late.Stop()) { // it is being cancelled
		_ = resp.Body.Close()
		err = context.Cause(life)
	}
	switch {
	case err != nil:
		late.Stop()
		gone()
		cause := context.Cause(life)
		cancel(nil)
		_ = toServer.Close()
		if cause == errLate {
			return nil, &Error{HeaderTimeout, addr, errLate}
		}
		return nil, tripError(ctx, addr, err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		defer cancel(nil)
		defer resp.Body.Close()
		_ = toServer.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return nil, &ConnectRefused{resp.StatusCode, resp.Header, body}
	}
	return &tunnel{ts: ts, client: tripOf(ctx).whose(), in: resp.Body, out: toServer, cancel: func() { cancel(net.ErrClosed) }}, nil
}

// tunnel is an HTTP/2 stream as a connection.
type tunnel struct {
	ts     *transports
	client any // whose place it is
	in     io.ReadCloser
	out    *io.PipeWriter
	cancel func()
	closed sync.Once
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	if err != nil && err != io.EOF {
		err = tripError(context.Background(), t.ts.u.profile.ConnectTo, err)
	}
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) { return t.out.Write(p) }

// CloseWrite ends our half of the stream.
func (t *tunnel) CloseWrite() error { return t.out.Close() }

// Close implements net.Conn.
func (t *tunnel) Close() error {
	t.closed.Do(func() {
		_ = t.out.CloseWithError(net.ErrClosed)
		t.cancel()
		_ = t.in.Close()
		t.ts.u.requests.leave(t.client)
		t.ts.swept()
	})
	return nil
}

// Draining implements Tunnel.
func (t *tunnel) Draining() <-chan struct{} { return t.ts.old }

func (t *tunnel) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tunnel) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tunnel) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (t *tunnel) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (t *tunnel) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
