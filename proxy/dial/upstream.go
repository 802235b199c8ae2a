package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
)

// Upstream sends requests by one Profile. It is an http.RoundTripper: the request's URL names
// scheme and target; ProtoMajor 2 asks for h2. It never sends a request twice, but one whose
// method is safe on a connection that had gone stale (RFC 9110 §9.2.2); never follows redirects.
// An error is an *Error. A ContentLength of 0 with a Body means an unknown length, as ever in net/http.
type Upstream struct {
	profile Profile // without Client
	dialer  dialer
	to      connectTo
	via     *viaPoint
	tls     *tls.Config
	log     *slog.Logger

	now      atomic.Pointer[transports]
	renewing sync.Mutex // held while now changes
	identity atomic.Pointer[Identity]
	holding  sync.Mutex
	holds    map[*heldConn]struct{} // open; holding guards it

	requests places
	dials    places // twice as many: dials outlive their requests
	retired  atomic.Bool

	onlyH2 hostSet // refused to speak HTTP/1.1
}

// RoundTrip implements http.RoundTripper. "Upgrade" requests (101) always use HTTP/1.1.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	trip := tripOf(req.Context())
	if req.Context().Err() != nil { // a client that takes its requests back takes no place from others
		trip.deliver("")
		return refuse(req, &Error{Cancelled, req.URL.Host, context.Cause(req.Context())})
	}
	client := trip.whose()
	if full, ok := u.requests.take(client); !ok {
		trip.deliver("")
		return refuse(req, &Error{Reason: full, Addr: req.URL.Host})
	}
	ts := u.current()
	if e := ts.missing(req.URL.Host); e != nil {
		u.requests.leave(client)
		trip.deliver("")
		return refuse(req, e)
	}
	resp, err := ts.send(req)
	if err == nil && req.Context().Err() != nil { // breaking off makes some upstreams answer, while we still listen
		_ = resp.Body.Close()
		err = tripError(req.Context(), req.URL.Host, nil)
	}
	if err != nil {
		u.requests.leave(client)
		ts.swept()
		trip.deliver("")
		return nil, err
	}
	resp.Request = req
	trip.deliver(resp.Proto)
	ts.guard(req.Context(), resp)
	return resp, nil
}

// guard makes the answer give the request's place back when it ends.
func (ts *transports) guard(ctx context.Context, resp *http.Response) {
	client := tripOf(ctx).whose()
	if resp.Body == http.NoBody {
		ts.u.requests.leave(client)
		ts.swept()
		return
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if rw, ok := resp.Body.(io.ReadWriteCloser); ok {
			d := &duplexBody{rw: rw}
			d.ReadCloser, d.ctx, d.ts, d.client = rw, ctx, ts, client
			resp.Body = d
			return
		}
	}
	resp.Body = &responseBody{ReadCloser: resp.Body, ctx: ctx, ts: ts, client: client}
}

func (ts *transports) send(req *http.Request) (*http.Response, error) {
	u := ts.u
	out, body := u.outgoing(req)
	if out.URL.Scheme == "http" && (u.profile.Peer != "" || u.profile.SVID || u.tls.GetClientCertificate != nil) {
		return refuse(req, &Error{Reason: PlaintextRefused, Addr: req.URL.Host})
	}
	t := ts.transport(out)
	fallback := t != ts.h2 && out.URL.Scheme == "https" && u.profile.Protocol == Auto && out.Header.Get("Upgrade") == ""
	if body != nil {
		body.held = fallback
	}
	resp, err := ts.try(t, out)
	if wants, ok := errors.AsType[*wantsH2](err); ok && fallback {
		u.log.Debug("upstream speaks only HTTP/2", "address", wants.addr)
		u.onlyH2.add(out.URL.Host)
		resp, err = ts.try(ts.h2, out)
	}
	body.release()
	if err == nil {
		return resp, nil
	}
	if broken := body.broken(); broken != nil && req.Context().Err() == nil {
		return nil, &Error{Cancelled, out.URL.Host, broken}
	}
	return nil, tripError(req.Context(), out.URL.Host, err)
}

// transport chooses how out is sent.
func (ts *transports) transport(out *http.Request) http.RoundTripper {
	switch {
	case !ts.speaksHTTP1(out):
		return ts.h2
	case ts.u.fetches(out):
		return &ts.gets
	}
	return ts.h1
}

func (ts *transports) speaksHTTP1(out *http.Request) bool {
	u := ts.u
	switch {
	case u.profile.Protocol == HTTP1, out.Header.Get("Upgrade") != "":
		return true
	case u.profile.Protocol == HTTP2:
		return false
	case out.URL.Scheme == "http":
		return true
	}
	return out.ProtoMajor != 2 && !u.onlyH2.has(out.URL.Host)
}

// retire closes what is idle, now and whenever a request ends.
func (u *Upstream) retire() {
	u.renewing.Lock()
	defer u.renewing.Unlock()
	u.retired.Store(true)
	u.now.Load().retire()
}

func (u *Upstream) closeIdle() { u.now.Load().closeIdle() }

// outgoing is req as the transports are to see it. req itself stays as it is.
func (u *Upstream) outgoing(req *http.Request) (*http.Request, *requestBody) {
	hasBody := req.Body != nil && req.Body != http.NoBody
	clear := u.profile.Plaintext && req.URL.Scheme == "https"
	if !hasBody && !clear && req.GetBody == nil && safe(req.Method) {
		return req, nil
	}
	out := *req
	out.GetBody = nil // with it, net/http repeats what it sent
	var body *requestBody
	if hasBody {
		body = &requestBody{ReadCloser: req.Body}
		out.Body = body
	}
	if !safe(req.Method) {
		out.Header = hideIdempotencyKey(req.Header)
	}
	if clear {
		to := *req.URL
		to.Scheme = "http"
		if to.Port() == "" {
			to.Host += ":443"
		}
		if out.Host == "" {
			out.Host = req.URL.Host
		}
		out.URL = &to
	}
	return &out, body
}
