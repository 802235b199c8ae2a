package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// Reason is the stable code of why an upstream could not be used.
type Reason string

// The reasons.
const (
	AddressForbidden Reason = "address_forbidden" // promise 11
	Loop             Reason = "proxy_loop"        // an address of our own
	DNSFailed        Reason = "dns_failed"
	ConnectFailed    Reason = "connect_failed"
	ConnectTimeout   Reason = "connect_timeout"      // name, connection and handshake together took longer than Profile.Connect
	NoIdentity       Reason = "identity_unavailable" // our SVID, which the profile presents, is not there or has expired
	TLSUnverified    Reason = "upstream_unverified"  // certificate of the wrong name, expired, unknown authority, wrong peer
	TLSFailed        Reason = "upstream_tls_failed"
	ViaRefused       Reason = "via_refused" // the upstream proxy said no
	HeaderTimeout    Reason = "upstream_timeout"
	Closed           Reason = "upstream_closed"       // the connection ended before an answer
	BadResponse      Reason = "upstream_bad_response" // not HTTP, headers too large
	Busy             Reason = "upstream_busy"
	ClientBusy       Reason = "client_busy"       // the client's share; see WithInfo
	PlaintextRefused Reason = "plaintext_refused" // promise 4: not a loopback or unix address
	Cancelled        Reason = "client_cancelled"  // Err is the context's cause, or what reading the request's body gave
)

// Error is why a call to an upstream gave no answer. Its text holds no header
// and no URL path, and nothing that the upstream sent after the handshake: it
// may be sending a credential back.
type Error struct {
	Reason Reason
	Addr   string // what was dialled, may be empty
	Err    error  // may be nil
}

func (e *Error) Error() string {
	s := string(e.Reason)
	if e.Addr != "" {
		s += ": " + e.Addr
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Constants: never assigned again.
var (
	errEnded     = errors.New("the connection ended")
	errMalformed = errors.New("not well-formed HTTP, or a header over the limit")
	errLate      = errors.New("no response header in time")
	errSecond    = errors.New("the upstream wants the request again")
)

// dialError names why connecting failed. The errors of this phase may be told
// whole: nothing secret was sent yet.
func dialError(ctx context.Context, otherwise Reason, addr string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	timedOut, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Cancelled, addr, context.Cause(ctx)}
	case ctx.Err() != nil, timedOut != nil && timedOut.Timeout():
		return &Error{ConnectTimeout, addr, err}
	}
	return &Error{otherwise, addr, err}
}

func tlsError(ctx context.Context, addr string, err error) *Error {
	if unverified(err) {
		return &Error{TLSUnverified, addr, err}
	}
	return dialError(ctx, TLSFailed, addr, err)
}

func unverified(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok { // resumption checks the name outside of verification
		return true
	}
	_, ok := errors.AsType[*peerError](err)
	return ok
}

// tripError names why a request got no answer, or only part of one.
func tripError(ctx context.Context, addr string, err error) *Error {
	if ctx.Err() != nil {
		return &Error{Cancelled, addr, context.Cause(ctx)}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*wantsH2](err); ok {
		return &Error{TLSFailed, e.addr, e.err}
	}
	op, _ := errors.AsType[*net.OpError](err)
	errno, isErrno := errors.AsType[syscall.Errno](err)
	switch text := err.Error(); {
	case strings.HasSuffix(text, "timeout awaiting response headers"): // h1 and h2, each by a type of its own
		return &Error{HeaderTimeout, addr, errLate}
	case op != nil && op.Op == "remote error": // an alert: TLS 1.3 refuses client certificates only now
		return &Error{TLSFailed, addr, op.Err}
	case isErrno:
		return &Error{Closed, addr, errno}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), op != nil, ended(text):
		return &Error{Closed, addr, errEnded}
	}
	return &Error{BadResponse, addr, errMalformed}
}

// ended knows the texts by which net/http says that the other side gave up;
// their types are not exported.
func ended(text string) bool {
	for _, s := range []string{
		"server closed idle connection", "received from peer", "sent GOAWAY", "GOAWAY]",
		"client connection lost", "client conn is closed", "client conn not usable",
		"client conn could not be established", "connection force closed", "after Request.Body was written",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// wantsH2 says that the server refused a handshake that offered HTTP/1.1 alone.
type wantsH2 struct {
	addr string
	err  error
}

func (e *wantsH2) Error() string { return e.err.Error() }

// noHTTP1 reports whether the server refused the handshake for want of a
// protocol in common (RFC 7301 §3.2). crypto/tls does not export its alerts.
func noHTTP1(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && op.Err.Error() == "tls: no application protocol"
}

// refuse closes the body of a request that is not sent, as RoundTrippers must.
func refuse(req *http.Request, e *Error) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return nil, e
}
