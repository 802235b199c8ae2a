package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
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

	h1, h2 *http.Transport // h2 falls back to h1 by ALPN

	limit    int64
	inFlight atomic.Int64
	dialling atomic.Int64 // dials outlive their requests
	retired  atomic.Bool

	onlyH2 hostSet // refused to speak HTTP/1.1
}

// RoundTrip implements http.RoundTripper. "Upgrade" requests (101) always use HTTP/1.1.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	trip := tripOf(req.Context())
	if u.inFlight.Add(1) > u.limit {
		u.leave()
		trip.deliver("")
		return refuse(req, &Error{Reason: Busy, Addr: req.URL.Host})
	}
	resp, err := u.send(req)
	if err != nil {
		u.leave()
		u.swept()
		trip.deliver("")
		return nil, err
	}
	resp.Request = req
	trip.deliver(resp.Proto)
	u.guard(req.Context(), resp)
	return resp, nil
}

// guard makes the answer give the request's place back when it ends.
func (u *Upstream) guard(ctx context.Context, resp *http.Response) {
	if resp.Body == http.NoBody {
		u.leave()
		u.swept()
		return
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if rw, ok := resp.Body.(io.ReadWriteCloser); ok {
			d := &duplexBody{rw: rw}
			d.ReadCloser, d.ctx, d.u = rw, ctx, u
			resp.Body = d
			return
		}
	}
	resp.Body = &responseBody{ReadCloser: resp.Body, ctx: ctx, u: u}
}

func (u *Upstream) send(req *http.Request) (*http.Response, error) {
	out, body := u.outgoing(req)
	if out.URL.Scheme == "http" && (u.profile.Peer != "" || u.tls.GetClientCertificate != nil) {
		return refuse(req, &Error{Reason: PlaintextRefused, Addr: req.URL.Host})
	}
	t := u.transport(out)
	fallback := t == u.h1 && out.URL.Scheme == "https" && u.profile.Protocol == Auto && out.Header.Get("Upgrade") == ""
	if body != nil {
		body.held = fallback
	}
	resp, err := u.try(t, out)
	if wants, ok := errors.AsType[*wantsH2](err); ok && fallback {
		u.log.Debug("upstream speaks only HTTP/2", "address", wants.addr)
		u.onlyH2.add(out.URL.Host)
		resp, err = u.try(u.h2, out)
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
func (u *Upstream) transport(out *http.Request) *http.Transport {
	switch {
	case u.profile.Protocol == HTTP1, out.Header.Get("Upgrade") != "":
		return u.h1
	case u.profile.Protocol == HTTP2:
		return u.h2
	case out.URL.Scheme == "http":
		return u.h1
	case out.ProtoMajor == 2, u.onlyH2.has(out.URL.Host):
		return u.h2
	}
	return u.h1
}

func (u *Upstream) leave() { u.inFlight.Add(-1) }

// retire closes what is idle, now and whenever a request ends.
func (u *Upstream) retire() {
	u.retired.Store(true)
	u.closeIdle()
}

// swept closes connections that came back to a retired Upstream. One of HTTP/2
// may still count its last stream for a moment; idleTimeout ends it then.
func (u *Upstream) swept() {
	if u.retired.Load() {
		u.closeIdle()
	}
}

func (u *Upstream) closeIdle() {
	u.h1.CloseIdleConnections()
	u.h2.CloseIdleConnections()
}

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
