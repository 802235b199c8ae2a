package proxy

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
)

// finish ends a request on every path, panics included. It is deferred.
func (x *exchange) finish() {
	if v := recover(); v != nil {
		x.panicked(v)
	}
	x.end()
	if x.cut {
		panic(http.ErrAbortHandler)
	}
	x.closeBody()
}

// closeBody ends the request's body, which EnableFullDuplex leaves to us. The
// answer goes first: a client that expects 100-continue sends nothing before it
// (RFC 9110 §10.1.1). A body that is not read to its end ends the connection:
// net/http, in full duplex, would take the rest of it for the next request.
func (x *exchange) closeBody() {
	if x.client == nil || x.client == http.NoBody {
		return
	}
	// HTTP/2 gives a body to requests that have none: of no length, it is at its end.
	if !x.body.ended.Load() && x.in.ContentLength != 0 {
		rc := http.NewResponseController(x.out.ResponseWriter)
		if x.out.begun.Load() {
			_ = rc.Flush()
		}
		wait := drainTime
		if x.in.Header.Get("Expect") != "" && x.body.bytes.Load() == 0 {
			wait = 0 // it will not come, and net/http closes the connection
		}
		_ = rc.SetReadDeadline(time.Now().Add(wait))
	}
	if err := x.client.Close(); err != nil && x.in.ProtoMajor == 1 {
		x.conn.linger.Store(true)
		x.conn.spent.Store(true)
	}
}

// drainTime is how long a client may take to send what is left of a body that
// nobody waits for. The end of a chunked answer waits as long.
const drainTime = 300 * time.Millisecond

// panicked turns a panic into a 500, and an answer broken off into an aborted
// connection: the process lives, the event is written.
func (x *exchange) panicked(v any) {
	if v == http.ErrAbortHandler {
		x.cut = true
		if !x.ended {
			x.aborted()
		}
		return
	}
	// The value may hold anything; the stack holds no contents.
	x.p.log.Error("panic in a request", "request_id", x.event.RequestID, "stack", string(debug.Stack()))
	if !x.out.begun.Load() {
		x.refuse(reasonInternal, "")
		return
	}
	x.cut = true
	x.reject(reasonInternal, "")
}

// aborted notes why an answer that had begun was broken off.
func (x *exchange) aborted() {
	f := x.brokenOff()
	switch {
	case x.scrub.lost() != nil:
		f = x.scrub.lost()
	case f == nil && x.out.err != nil:
		f = &refusal{string(dial.Cancelled), ""}
	case f == nil:
		f = &refusal{reasonUpstreamAborted, ""}
	}
	x.reject(f.reason, f.detail)
	x.event.Decision = audit.Allow
}

// upgradeEnded notes why an upgraded connection ended, if it was from here.
func (x *exchange) upgradeEnded() {
	if x.cutBefore() {
		return
	}
	f := x.scrub.lost()
	if f == nil {
		f = x.brokenOff()
	}
	if f != nil {
		x.reject(f.reason, f.detail)
		x.event.Decision = x.admitted
	}
}

// brokenOff is why the request's context has ended, nil if it has not.
func (x *exchange) brokenOff() *refusal {
	ctx := x.ctx
	if ctx == nil {
		ctx = x.in.Context()
	}
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return nil
	case errors.Is(cause, errTotal):
		return &refusal{reasonTotal, ""}
	case errors.Is(cause, errIdle):
		return &refusal{reasonIdle, ""}
	case errors.Is(cause, errShutdown):
		return &refusal{reasonShutdown, ""}
	}
	return &refusal{string(dial.Cancelled), ""}
}
