package proxy

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
)

// Gateway is another Attaché, which decides on hosts that no rule of ours names.
type Gateway struct {
	Upstream *dial.Upstream // by which it is reached, over HTTP/2
	Audience string         // of the callers' JWT-SVIDs that are passed on to it; empty: none are
}

// leaves reports whether t is left to the gateway: no rule of ours, of whatever
// action, names it. What a rule names is never decided twice.
func (s *Snapshot) leaves(t target) bool {
	return s.Gateway != nil && t.scheme == "https" && !s.Policy.Named(t.host, t.port)
}

// passedOn is what an Attaché writes into Via (RFC 9110 §7.6.3) where it asks
// another to decide.
const passedOn = "2.0 attache"

// leave prepares x, a CONNECT that the gateway is to decide on. A CONNECT that
// another Attaché has passed on is decided here, or it might go in a circle.
func (x *exchange) leave() *refusal {
	for _, v := range x.in.Header["Via"] {
		if strings.Contains(strings.ToLower(v), "attache") {
			return &refusal{string(dial.Loop), "another Attaché has passed this call on already, and no rule names the host"}
		}
	}
	x.gateway = x.snap.Gateway
	x.event.Decision = audit.Gateway
	x.noteCaller("")
	return nil
}

// dialGateway asks the gateway for a tunnel to the target. It is told who calls by
// the caller's own JWT-SVID, if that is meant for it; otherwise it knows us by our SVID.
func (x *exchange) dialGateway() (net.Conn, error) {
	header := http.Header{"Via": {passedOn}}
	if proof := x.in.Header.Get("Proxy-Authorization"); identity.MeantFor(proof, x.gateway.Audience) {
		header["Proxy-Authorization"] = []string{proof}
	}
	ctx := dial.WithInfo(x.in.Context(), x.conn.client, &x.info, nil)
	tunnel, err := x.gateway.Upstream.Connect(ctx, x.target.authority(), header)
	x.event.ResolvedIP, x.event.Reused = x.info.IP(), x.info.Reused
	if err == nil {
		return tunnel, nil
	}
	if r, ok := errors.AsType[*dial.ConnectRefused](err); ok {
		return nil, x.refusedBy(r)
	}
	d, ok := errors.AsType[*dial.Error](err)
	switch {
	case !ok:
		return nil, &refusal{reasonGatewayAway, ""}
	case d.Reason == dial.Cancelled, d.Reason == dial.NoIdentity, d.Reason == dial.ClientBusy, d.Reason == dial.Loop:
		return nil, &refusal{string(d.Reason), errText(d.Err)}
	}
	return nil, &refusal{reasonGatewayAway, detailed(d)}
}

// refusedBy is the refusal for the gateway's own. The client gets the status, which
// may be one that it can act on, and the reason, if it is one that we know.
func (x *exchange) refusedBy(r *dial.ConnectRefused) *refusal {
	x.event.UpstreamStatus = r.Status
	said := &gatewayAnswer{status: http.StatusBadGateway}
	if r.Status == http.StatusForbidden || r.Status == http.StatusProxyAuthRequired || r.Status >= 500 && r.Status <= 599 {
		said.status = r.Status
	}
	if found := gatewayReason.FindStringSubmatch(r.Header.Get("Proxy-Status")); found != nil {
		if _, known := x.p.reasons[found[1]]; known {
			said.reason = found[1]
		}
	}
	x.theirs = said
	if said.reason == "" {
		return &refusal{reasonGatewayRefused, ""}
	}
	detail := said.reason + ": " + x.p.reasons[said.reason].Meaning
	var problem struct {
		RequestID string `json:"request_id"`
	}
	if json.Unmarshal(r.Body, &problem) == nil && requestIDForm.MatchString(problem.RequestID) {
		detail += " Its request_id: " + problem.RequestID
	}
	return &refusal{reasonGatewayRefused, detail}
}

// gatewayAnswer is what of a gateway's refusal is told to the client.
type gatewayAnswer struct {
	status int
	reason string // empty: none that we know
}

var (
	gatewayReason = regexp.MustCompile(`^attache; error=[a-z_]+; details="([a-z_0-9]+)"$`) // never assigned again
	requestIDForm = regexp.MustCompile(`^[0-9A-Za-z]{1,40}$`)                              // never assigned again
)
