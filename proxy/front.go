package proxy

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"github.com/elazarl/goproxy"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/policy"
)

// newFront returns the front door: goproxy parses and dispatches CONNECT and
// writes rejections; everything behind the door is ours. Its own interception
// and tunnelling are never reached: the one CONNECT handler always answers with
// ConnectHijack or ConnectReject.
func (p *Proxy) newFront() *goproxy.ProxyHttpServer {
	// Made without NewProxyHttpServer, whose defaults dial by the environment
	// (HTTPS_PROXY would loop back) and do not verify certificates.
	front := &goproxy.ProxyHttpServer{Logger: log.New(io.Discard, "", 0)}
	front.OnRequest().HandleConnect(goproxy.FuncHttpsHandler(p.connect))
	return front
}

// serveOuter serves what comes in by a proxy listener.
func (p *Proxy) serveOuter(w http.ResponseWriter, r *http.Request) {
	c := connOf(r.Context())
	if r.Method == http.MethodConnect {
		defer p.recoverConnect(c)
		p.front.ServeHTTP(&frontWriter{w, c}, r)
		return
	}
	x := p.newExchange(w, r, c)
	defer x.finish()
	switch {
	case r.URL.Scheme == "" && r.URL.Host == "":
		x.refuse(reasonNotProxyRequest, "")
		return
	case !strings.EqualFold(r.URL.Scheme, "http"):
		x.refuse(reasonBadRequest, "only http:// URLs are sent whole; use CONNECT for "+capped(r.URL.Scheme)+"://")
		return
	}
	host, port, err := policy.SplitAuthority(r.URL.Host, 80)
	if err != nil {
		x.refuse(reasonBadRequest, "the URL's host: "+err.Error())
		return
	}
	if !x.authenticate() {
		return
	}
	x.forward(target{"http", host, port})
}

// connect decides on a CONNECT. It never returns nil, which goproxy would take
// for a blind tunnel.
func (p *Proxy) connect(_ string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
	r := ctx.Req
	x := p.newExchange(nil, r, connOf(r.Context()))
	x.conn.opening = x
	reject := func(reason, detail string) (*goproxy.ConnectAction, string) {
		x.reject(reason, detail)
		ctx.Resp = x.rejection()
		x.conn.linger.Store(true)
		x.end()
		return &goproxy.ConnectAction{Action: goproxy.ConnectReject}, ""
	}
	if x.snap == nil {
		return reject(reasonNotReady, "")
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) != 0 {
		return reject(reasonBadRequest, "a CONNECT has no body")
	}
	host, port, err := policy.SplitAuthority(r.RequestURI, 0)
	if err != nil {
		return reject(reasonBadRequest, "the authority of the CONNECT: "+err.Error())
	}
	x.setTarget(target{"https", host, port})
	if reason := x.identify(); reason != "" {
		return reject(reason, "")
	}
	if p.auditFull() {
		return reject(reasonAuditFull, "")
	}
	if _, err := netip.ParseAddr(host); err == nil && x.snap.IPConnectSNI {
		return p.hijack(x.connectBySNI), ""
	}
	d := x.decideConnect()
	if x.wantsToken(d.Decision) {
		return reject(reasonAuthRequired, "")
	}
	switch d.Verdict {
	case policy.ConnectIntercept:
		return p.hijack(x.intercept), ""
	case policy.ConnectTunnel:
		return p.hijack(x.tunnel), ""
	}
	if x.observed() {
		return p.hijack(x.tunnel), ""
	}
	x.decided(d.Decision)
	return reject(string(d.Reason), "")
}

// recoverConnect ends a CONNECT that panicked: net/http leaves a connection
// that was hijacked open.
func (p *Proxy) recoverConnect(c *conn) {
	if recover() == nil {
		return
	}
	p.log.Error("panic in a CONNECT", "stack", string(debug.Stack()))
	if c.opening != nil {
		c.opening.close(reasonInternal, "")
	}
	_ = c.Close()
}

func (p *Proxy) hijack(then func()) *goproxy.ConnectAction {
	return &goproxy.ConnectAction{
		Action: goproxy.ConnectHijack,
		Hijack: func(*http.Request, net.Conn, *goproxy.ProxyCtx) { then() },
	}
}

// frontWriter makes hijacking keep what the client sent right behind its
// CONNECT (most TLS clients pipeline their ClientHello), which goproxy drops.
type frontWriter struct {
	http.ResponseWriter
	conn *conn
}

func (w *frontWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn.prefix = buffered(rw.Reader)
	w.conn.guard = nil
	return w.conn, rw, nil
}

// buffered copies what r has read ahead, nil for nothing.
func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return append([]byte(nil), b...)
}

// identify recognises the client by its connection and its
// Proxy-Authorization. It returns the reason of a refusal, empty for none.
func (x *exchange) identify() string {
	c, a := x.conn, x.snap.Callers
	if a == nil {
		return ""
	}
	if c.observedBy != a {
		c.observed = a.Observe(identity.Conn{Local: c.LocalAddr(), Remote: c.RemoteAddr(), Net: c.Conn})
		c.observedBy = a
	}
	shown := x.in.Header["Proxy-Authorization"]
	peer, err := a.Authenticate(c.observed, x.in.Header.Get("Proxy-Authorization"), tokens{x.snap.Secrets})
	if err != nil || len(shown) > 1 {
		return reasonAuthInvalid
	}
	c.peer = peer
	c.checked.Store(x.snap)
	if x.snap.CallersOnly && len(peer.Names()) == 0 {
		return reasonAuthRequired
	}
	return ""
}

// wantsToken reports whether a 407 can turn d into another decision: no rule
// is for this caller, a token would do, and none was shown. Many clients send their
// proxy credentials only when asked.
func (x *exchange) wantsToken(d policy.Decision) bool {
	if d.Differs != policy.Caller || x.snap.Callers == nil || x.in.Header.Get("Proxy-Authorization") != "" || d.Nearest < 0 {
		return false
	}
	return x.snap.Callers.AcceptsTokens(x.snap.Policy.Rules()[d.Nearest].Callers)
}
