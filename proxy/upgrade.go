package proxy

import (
	"net/http"
	"net/http/httputil"
	"strings"
)

// upgrades reports whether the request asks to leave HTTP/1 for a protocol that
// may be forwarded. Other requests lose their Upgrade header.
func (x *exchange) upgrades() bool {
	up := x.in.Header["Upgrade"]
	return len(up) == 1 && x.in.ProtoMajor == 1 && lists(x.in.Header["Connection"], "upgrade") && x.upgradeAllowed(up[0])
}

// upgradeAllowed lets only websocket, and what the rule names, out of HTTP:
// any other upgrade would carry requests that nobody decides on. h2c never.
func (x *exchange) upgradeAllowed(token string) bool {
	if strings.EqualFold(token, "websocket") {
		return true
	}
	if strings.EqualFold(token, "h2c") || x.rule == nil {
		return false
	}
	for _, u := range x.rule.Upgrades {
		if strings.EqualFold(u, token) {
			return true
		}
	}
	return false
}

// upgrade sends the request on and, once the upstream agrees, copies bytes both
// ways until the connection ends.
func (x *exchange) upgrade() {
	in := x.in.WithContext(x.ctx)
	in.Body = &x.body
	rp := httputil.ReverseProxy{
		Rewrite:   func(pr *httputil.ProxyRequest) { x.compose(pr.In, pr.Out) },
		Transport: x, ModifyResponse: x.modifyResponse, ErrorHandler: x.failed,
		BufferPool: x.p.buffers, ErrorLog: x.p.inner.ErrorLog, FlushInterval: flushAfter,
	}
	rp.ServeHTTP(x.out, in)
}

var _ http.RoundTripper = (*exchange)(nil)
