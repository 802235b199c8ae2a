package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/proxy/policy"
)

// routeHandler serves a listener whose every request is meant for rt.
func (p *Proxy) routeHandler(rt Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := p.newExchange(w, r, connOf(r.Context()))
		defer x.finish()
		t := target{rt.Scheme, rt.Host, rt.Port}
		x.setTarget(t)
		if r.Method == http.MethodConnect || r.URL.Host != "" {
			x.refuse(reasonMethodUnsupported, "this address stands for "+rt.Scheme+"://"+rt.Host+"; it is no proxy")
			return
		}
		if !rt.addressedBy(r) || fromOtherSite(r) {
			x.refuse(reasonMisdirected, "a browser's page of another site may not use this address")
			return
		}
		if !x.authenticate() {
			return
		}
		x.forward(t)
	})
}

// addressedBy reports whether the Host is one that only somebody who means
// this listener uses. A public name that resolves here (DNS rebinding) would
// let any web page call the API with our credential.
func (rt Route) addressedBy(r *http.Request) bool {
	host, _, err := policy.SplitAuthority(r.Host, 80)
	if err != nil {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return !strings.Contains(host, ".") || host == rt.Host || slices.Contains(rt.Names, host)
}

// fromOtherSite reports a browser's request on behalf of another site.
func fromOtherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	}
	return false
}
