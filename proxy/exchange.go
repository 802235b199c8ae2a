package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

const cancelled = dial.Cancelled

// exchange is one request, or one CONNECT, from its first decision to its
// audit event. It belongs to the goroutine that serves the request, but for
// what is atomic.
type exchange struct {
	p     *Proxy
	snap  *Snapshot // in force when the exchange began; nil before any was
	conn  *conn
	in    *http.Request
	out   *writer // to; nil for a CONNECT
	to    writer
	start time.Time

	answered time.Time // when the answer's first byte came; zero before

	target   target
	decision policy.Decision
	rule     *Rule // of a matched rule, else nil
	spec     *policy.Spec
	info     dial.Info
	interim  interim
	scrub    scrubber
	body     requestBody
	replay   replay
	query    string         // of the outgoing request
	gateway  *Gateway       // that a CONNECT is left to; nil: decided here
	theirs   *gatewayAnswer // its refusal
	failure  *refusal       // found while the outgoing request was made or its body read
	client   io.ReadCloser  // the request's body as net/http gave it
	cut      bool           // the connection, or the stream, is to be broken off

	event    audit.Event
	admitted audit.Decision         // as the request went on its way
	cutFor   atomic.Pointer[string] // reason for which a tunnel or upgraded connection was closed
	ctx      context.Context        // of the request, once it is on its way
	cancel   context.CancelCauseFunc
	release  func() // of an upgraded connection

	mu       sync.Mutex // held by a tick and by the end
	ended    bool
	looked   bool      // after, by the watch of its connection
	looksOut bool      // the connection's lookout is at work for it
	begun    time.Time // when watching began
	told     bool      // the opened event is out
	moved    int64     // bytes, at the last tick that saw any move
	movedAt  time.Time // when that was
}

func (p *Proxy) newExchange(w http.ResponseWriter, r *http.Request, c *conn) *exchange {
	x := &exchange{p: p, snap: p.live.Load(), conn: c, in: r, start: p.now()}
	x.decision.Rule, x.decision.Nearest = -1, -1
	c.answering.Store(true)
	if w != nil {
		c.requestCame()
		x.to.ResponseWriter, x.to.x = w, x
		x.out, x.client = &x.to, r.Body
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
	}
	e := &x.event
	e.Type, e.RequestID, e.Listener = audit.Request, p.ids.next(x.start), c.listener
	e.Method, e.Protocol, e.TraceID = r.Method, protocol(r), traceID(r.Header)
	if x.snap != nil {
		e.ConfigGeneration = x.snap.Generation
	}
	p.inFlight.Add(1)
	return x
}

func protocol(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "h2"
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return "http/1.0"
	}
	return "http/1.1"
}

func (x *exchange) setTarget(t target) {
	x.target = t
	x.event.Host, x.event.Port = t.host, t.port
}

// authenticate recognises the caller of a request outside any tunnel, and refuses it
// if it must.
func (x *exchange) authenticate() bool {
	if x.snap == nil {
		x.refuse(reasonNotReady, "")
		return false
	}
	if reason := x.identify(); reason != "" {
		x.refuse(reason, "")
		return false
	}
	return true
}

// request is what the policy looks at.
func (x *exchange) request() policy.Request {
	return policy.Request{
		Scheme: x.target.scheme, Host: x.target.host, Port: x.target.port,
		Method: x.in.Method, Path: x.path(), RawQuery: x.in.URL.RawQuery,
		Callers: x.conn.peer.Names(),
	}
}

// path is the path as it will be sent, still escaped.
func (x *exchange) path() string {
	if p := x.in.URL.EscapedPath(); p != "" {
		return p
	}
	return "/" // RFC 9112 §3.2.1
}

func (x *exchange) decideConnect() policy.ConnectDecision {
	d := x.snap.Policy.DecideConnect(x.target.host, x.target.port, x.conn.peer.Names())
	if d.Verdict == policy.ConnectTunnel {
		x.decided(d.Decision)
	}
	return d
}

// decided notes a decision for the event and the refusal.
func (x *exchange) decided(d policy.Decision) {
	x.decision = d
	rules := x.snap.Policy.Rules()
	e := &x.event
	if d.Rule >= 0 {
		x.rule, x.spec = &x.snap.Rules[d.Rule], &rules[d.Rule]
		e.Rule, e.Owner = x.spec.ID, x.spec.Owner
	}
	nearest := d.Nearest
	if d.Reason == policy.NoRule && nearest < 0 {
		nearest = x.snap.Policy.NearestHost(x.target.host)
	}
	if nearest >= 0 && d.Rule < 0 {
		e.NearestRule, e.DiffersBy = rules[nearest].ID, d.Differs.String()
		if d.Reason == policy.NoRule {
			e.DiffersBy = policy.Host.String()
		}
	}
	x.noteCaller(d.Caller)
}

// noteCaller puts the caller by which a rule matched into the event, else the
// first that the peer has proven to be.
func (x *exchange) noteCaller(name string) {
	p := x.conn.peer
	if p == nil {
		return
	}
	c := &p.Stranger
	if len(p.Callers) > 0 {
		c = &p.Callers[0]
	}
	for i := range p.Callers {
		if p.Callers[i].Name == name {
			c = &p.Callers[i]
		}
	}
	x.event.Caller, x.event.CallerID, x.event.Proof = c.Name, c.ID, string(c.Proof)
}

// observed reports whether the host passes since no rule names it and
// unmatched hosts are only observed.
func (x *exchange) observed() bool {
	if !x.snap.observes(x.target, x.start) {
		return false
	}
	x.event.Decision, x.event.Reason = audit.WouldDeny, string(policy.NoRule)
	x.noteCaller("")
	return true
}

// observes reports whether t passes though no rule names it.
func (s *Snapshot) observes(t target, now time.Time) bool {
	return !s.ObserveUntil.IsZero() && now.Before(s.ObserveUntil) && s.Direct != nil && !s.Policy.Named(t.host, t.port)
}

// close ends a connection that can no longer be answered in HTTP.
func (x *exchange) close(reason, detail string) {
	if x.p.life.Err() != nil {
		reason, detail = reasonShutdown, ""
	}
	x.reject(reason, detail)
	_ = x.conn.Close()
	x.end()
}

// hand ends a CONNECT whose requests have exchanges, and events, of their own.
func (x *exchange) hand() {
	x.conn.opening = nil // or an idle connection would keep its CONNECT in memory
	if x.stopWatch() {
		x.p.inFlight.Add(-1)
	}
}

// end writes the event, once.
func (x *exchange) end() {
	if !x.stopWatch() {
		return
	}
	x.p.inFlight.Add(-1)
	if x.release != nil {
		x.release()
	}
	if x.scrub.writer != nil {
		_ = x.scrub.writer.Close()
	}
	x.event.Redacted = x.scrub.count()
	if x.cancel != nil {
		x.cancel(nil)
	}
	e := &x.event
	e.Time = x.p.now()
	e.Phases = audit.Phases{DNS: x.info.DNS, Connect: x.info.Connect, TLS: x.info.TLS, FirstByte: e.Phases.FirstByte, Added: e.Phases.Added, Total: e.Time.Sub(x.start)}
	if x.out != nil {
		e.Status, e.BytesOut = x.out.status, x.out.bytes.Load()
		e.BytesIn = x.body.bytes.Load()
	}
	if e.Decision == "" {
		e.Decision = audit.Allow
	}
	x.p.record(e)
}

// tokens verifies callers' tokens against the secrets of one Snapshot.
type tokens struct{ set *secret.Set }

// VerifyTokenDigest implements [identity.TokenVerifier].
func (t tokens) VerifyTokenDigest(name string, digest [sha256.Size]byte) bool {
	v, err := t.set.Lookup(secret.Ref(name))
	want := sha256.Sum256([]byte(v.Reveal()))
	return subtle.ConstantTimeCompare(want[:], digest[:]) == 1 && err == nil
}

var _ identity.TokenVerifier = tokens{}
