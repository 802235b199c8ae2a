package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// refusal is why a request is not answered by its upstream.
type refusal struct {
	reason string
	detail string // for people, without secret bytes; may be empty
}

func (f *refusal) Error() string { return f.reason }

// problem is the body of a refusal: RFC 9457, with members of our own.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Reason    string `json:"reason"`
	Fault     Fault  `json:"fault"`
	Rule      string `json:"rule,omitempty"`
	Owner     string `json:"owner,omitempty"`
	Nearest   string `json:"nearest_rule,omitempty"`
	DiffersBy string `json:"differs_by,omitempty"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id"`
}

// reject notes the refusal in the event. It answers nobody.
func (x *exchange) reject(reason, detail string) {
	e, fault := &x.event, x.p.reasons[reason].Fault
	e.Reason, e.Detail, e.Fault = reason, detail, string(fault)
	allowed := e.Decision == audit.Allow || e.Decision == audit.TunnelAllow || e.Decision == audit.WouldDeny || e.Decision == audit.Gateway
	if !allowed || fault != FaultUpstream && reason != string(cancelled) {
		e.Decision = audit.Refuse
	}
}

// refuse answers the request with the refusal. A reason without a status
// breaks the connection, or the stream, off.
func (x *exchange) refuse(reason, detail string) {
	x.reject(reason, detail)
	info := x.p.reasons[reason]
	if info.Status == 0 || x.out.status != 0 {
		x.end()
		panic(http.ErrAbortHandler)
	}
	clear(x.out.Header())
	x.fillRefusal(x.out.Header(), info)
	body := x.problem(info)
	x.out.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.out.WriteHeader(info.Status)
	_, _ = x.out.Write(body)
}

// rejection is the refusal of a CONNECT. The reason stands in the status line
// too: it is all that many clients print.
func (x *exchange) rejection() *http.Response {
	info := x.p.reasons[x.event.Reason]
	phrase := info.Code
	if x.theirs != nil { // the gateway's
		info.Status = x.theirs.status
		phrase = strings.TrimSpace(phrase + " " + x.theirs.reason)
	}
	body := x.problem(info)
	h := http.Header{}
	x.fillRefusal(h, info)
	if h.Set("Connection", "close"); x.in.ProtoMajor == 2 && info.Code != reasonCallerExpired {
		h.Del("Connection") // which over HTTP/2 ends the other streams too
	}
	x.event.Status = info.Status
	return &http.Response{
		StatusCode: info.Status, Status: fmt.Sprintf("%d attache %s", info.Status, phrase),
		ProtoMajor: 1, ProtoMinor: 1, Header: h, Close: true,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}

func (x *exchange) fillRefusal(h http.Header, info ReasonInfo) {
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Proxy-Status", "attache; error="+info.Error+`; details="`+info.Code+`"`)
	switch info.Status {
	case http.StatusProxyAuthRequired:
		h.Set("Proxy-Authenticate", `Basic realm="attache", charset="UTF-8"`)
		if x.snap != nil && x.snap.Callers.AcceptsJWT() {
			h.Add("Proxy-Authenticate", `Bearer realm="attache"`)
		}
		if x.in.ProtoMajor == 1 {
			h.Set("Connection", "close")
		}
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter)
	}
	if info.Code == reasonCallerExpired || info.Code == reasonBadRequest {
		h.Set("Connection", "close")
	}
}

// retryAfter is in seconds: secrets that are missing are looked for more often.
const retryAfter = "5"

func (x *exchange) problem(info ReasonInfo) []byte {
	e := &x.event
	p := problem{
		Type: "urn:attache:reason:" + info.Code, Title: info.Meaning, Status: info.Status, Detail: e.Detail,
		Reason: info.Code, Fault: info.Fault, Rule: e.Rule, Owner: e.Owner,
		Nearest: e.NearestRule, DiffersBy: e.DiffersBy, Hint: info.Hint, RequestID: e.RequestID,
	}
	if info.Code == string(policy.DeniedByRule) && x.spec != nil && x.spec.Hint != "" {
		p.Hint = x.spec.Hint
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil // cannot be: strings and numbers
	}
	return append(b, '\n')
}

// capped bounds and cleans what a client sent, for messages.
func capped(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
