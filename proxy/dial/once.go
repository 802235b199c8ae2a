package dial

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
)

// safe are the methods that net/http repeats after a stale connection.
func safe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// hideIdempotencyKey spells the names by which net/http takes a POST without a
// body for repeatable (go.dev/issue/19943) in lower case, which means the same to servers.
func hideIdempotencyKey(h http.Header) http.Header {
	copied := false
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		v, ok := h[name]
		if !ok {
			continue
		}
		if !copied {
			h, copied = maps.Clone(h), true
		}
		delete(h, name)
		h[strings.ToLower(name)] = v
	}
	return h
}

// try sends out. It keeps HTTP/2 from repeating an unsafe request without a
// body, as net/http does after RST_STREAM PROTOCOL_ERROR, which does not say
// that the server did nothing (go.dev/issue/47635). With a body there is no
// repetition, since GetBody is nil.
func (ts *transports) try(t http.RoundTripper, out *http.Request) (*http.Response, error) {
	if t != ts.h2 || safe(out.Method) || out.Body != nil && out.Body != http.NoBody {
		return t.RoundTrip(out)
	}
	ctx, cancel := context.WithCancelCause(out.Context())
	o := once{cancel: cancel, clear: out.URL.Scheme == "http", addr: out.URL.Host}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: o.gotConn, WroteHeaders: o.wroteHeaders})
	resp, err := t.RoundTrip(out.WithContext(ctx))
	if err == nil {
		return resp, nil // the context ends with the request's, the body needs it until then
	}
	cancel(err)
	if e, ok := context.Cause(ctx).(*Error); ok {
		return nil, e
	}
	return nil, err
}

// once cancels a request that was written and gets a second connection.
type once struct {
	cancel context.CancelCauseFunc
	clear  bool
	addr   string

	mu    sync.Mutex
	h2    bool // the last connection speaks it; HTTP/1.1 repeats only what was not sent
	wrote bool
}

func (o *once) gotConn(g httptrace.GotConnInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wrote && o.h2 {
		o.cancel(&Error{Closed, o.addr, errSecond})
		return
	}
	o.h2 = o.clear
	if t, ok := g.Conn.(*tls.Conn); ok {
		o.h2 = t.ConnectionState().NegotiatedProtocol == "h2"
	}
}

func (o *once) wroteHeaders() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wrote = true
}
