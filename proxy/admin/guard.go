package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hostAllowed reports whether the request was meant for this listener. A web page can
// point a name of its own at 127.0.0.1 (DNS rebinding) and then counts as same-origin; an IP literal or
// localhost it cannot take over. No browser speaks to a unix socket, where any Host will do,
// but what a browser sends may be passed on to one.
func (h *handler) hostAllowed(r *http.Request) bool {
	if h.o.Unix && r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return true
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	return host != "" && (strings.EqualFold(host, "localhost") || strings.EqualFold(host, h.o.Host))
}

// foreign reports whether a web page of another origin sent the request, other than by a link to
// here: it could not read the answer, but measure it, or take the places of those who watch. Programs
// that are no browsers do not send Sec-Fetch-Site (W3C Fetch Metadata).
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// mayChange reports whether the request may change something, and refuses it if not. Anything on
// the machine or in the pod reaches the TCP listener, the application too, so there a token is needed; the unix
// socket is guarded by its mode. Web pages are refused whatever they carry.
func (h *handler) mayChange(w http.ResponseWriter, r *http.Request) bool {
	if err := h.origin.Check(r); err != nil {
		refuse(w, http.StatusForbidden, "admin_cross_origin", "a web page of another origin sent this", "")
		return false
	}
	if h.o.Unix {
		return true
	}
	// RFC 6750 §2.1. Never 401: that answer is an upstream's alone (DESIGN §10).
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		refuse(w, http.StatusForbidden, "admin_read_only", "over TCP this listener only shows",
			"Send the admin_token as Authorization: Bearer, let listen.admin be a unix: socket, or send the process SIGHUP.")
		return false
	case h.o.Token == nil || !h.o.Token(token):
		h.o.Log.Warn("admin token refused", "remote", r.RemoteAddr)
		refuse(w, http.StatusForbidden, "admin_token_wrong", "the token is not the admin_token", "")
		return false
	}
	return true
}

// problem is an answer of RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func refuse(w http.ResponseWriter, status int, reason, title, hint string) {
	writeProblem(w, problem{Title: title, Status: status, Reason: reason, Hint: hint})
}

func writeProblem(w http.ResponseWriter, p problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(p) // the client is gone
}
