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
	if c.retired.Load() {
		w.Header().Set("Connection", "close") // over HTTP/2 it becomes GOAWAY
	}
	switch {
	case r.Method == http.MethodConnect && r.ProtoMajor == 2:
		p.serveStream(w, r, c)
		return
	case r.Method == http.MethodConnect:
		defer p.recoverConnect(c)
		p.front.ServeHTTP(&frontWriter{w, c}, r)
		return
	case r.ProtoMajor == 2:
		c.requestCame()
		c = c.part(c.Conn)
	}
	x := p.newExchange(w, r, c)
	defer x.finish()
	switch {
	case r.ProtoMajor == 2:
		p.serveWhole2(x)
		return
	case r.URL.Scheme == "" && r.URL.Host == "":
		x.refuse(reasonNotProxyRequest, "")
		return
	case !strings.EqualFold(r.URL.Scheme, "http"):
		x.refuse(reasonBadRequest, "only http:// URLs are sent whole; use CONNECT for "+capped(r.URL.Scheme)+"://")
		return
	}
	x.forwardClear(r.URL.Host)
}

// forwardClear forwards a request that was sent whole for an http:// URL.
func (x *exchange) forwardClear(authority string) {
	host, port, err := policy.SplitAuthority(authority, 80)
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
	x := p.newExchange(nil, ctx.Req, connOf(ctx.Req.Context()))
	x.conn.opening = x
	then, no := x.openTunnel()
	if no != nil {
		x.conn.requestCame()
		x.reject(no.reason, no.detail)
		ctx.Resp = x.rejection()
		x.conn.linger.Store(true)
		x.end()
		return &goproxy.ConnectAction{Action: goproxy.ConnectReject}, ""
	}
	return p.hijack(then), ""
}

// openTunnel decides on a CONNECT: what is to be done with its connection, or
// why it is refused.
func (x *exchange) openTunnel() (then func(), no *refusal) {
	r := x.in
	if x.snap == nil {
		return nil, &refusal{reasonNotReady, ""}
	}
	if announcesBody(r) {
		return nil, &refusal{reasonBadRequest, "a CONNECT has no body"}
	}
	host, port, err := policy.SplitAuthority(r.RequestURI, 0)
	if err != nil {
		return nil, &refusal{reasonBadRequest, "the authority of the CONNECT: " + err.Error()}
	}
	x.setTarget(target{"https", host, port})
	if reason := x.identify(); reason != "" {
		return nil, &refusal{reason, ""}
	}
	if x.p.auditFull() {
		return nil, &refusal{reasonAuditFull, ""}
	}
	if _, err := netip.ParseAddr(host); err == nil && x.snap.IPConnectSNI {
		return x.connectBySNI, nil
	}
	d := x.decideConnect()
	if x.wantsToken(d.Decision) {
		return nil, &refusal{reasonAuthRequired, ""}
	}
	switch d.Verdict {
	case policy.ConnectIntercept:
		return x.intercept, nil
	case policy.ConnectTunnel:
		return x.tunnel, nil
	}
	if x.observed() {
		return x.tunnel, nil
	}
	if x.snap.leaves(x.target) {
		return x.tunnel, x.leave()
	}
	x.decided(d.Decision)
	return nil, &refusal{string(d.Reason), ""}
}

// announcesBody reports a CONNECT that announces a body. Over HTTP/2 what follows is the
// tunnel (RFC 9113 §8.5), unless a length says that it is not.
func announcesBody(r *http.Request) bool {
	if r.ProtoMajor == 2 {
		return r.Header.Get("Content-Length") != ""
	}
	return r.ContentLength != 0 || len(r.TransferEncoding) != 0
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
