package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

// forward decides on a request meant for t and, if it is allowed, sends it on
// and streams the answer back.
func (x *exchange) forward(t target) {
	x.setTarget(t)
	if x.snap == nil {
		x.refuse(reasonNotReady, "")
		return
	}
	if !x.admit() || !x.decide() || !x.prepare() {
		return
	}
	x.event.Decision = audit.Allow
	if x.rule == nil {
		x.event.Decision = audit.WouldDeny
	}
	x.admitted = x.event.Decision
	x.beWatched()
	if x.upgrades() {
		x.upgrade()
	} else {
		x.send()
	}
	if x.release != nil {
		x.upgradeEnded()
		return
	}
	if f := x.brokenOff(); f != nil && f.reason != string(cancelled) && x.event.Reason == "" {
		panic(http.ErrAbortHandler) // the upstream has ended its answer because it was cancelled
	}
}

// admit refuses what is refused whatever the rules say.
func (x *exchange) admit() bool {
	r := x.in
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect || r.RequestURI == "*" || r.URL.Path == "*":
		x.refuse(reasonMethodUnsupported, "")
	case r.URL.Opaque != "":
		// "GET https:x": net/http would send the opaque part as it is, undecided on.
		x.refuse(reasonBadRequest, "the request target is neither a path nor a URL with a host")
	case x.p.auditFull():
		x.refuse(reasonAuditFull, "")
	case connectionBound(r.Header):
		x.refuse(reasonConnectionAuth, "")
	default:
		return true
	}
	return false
}

// connectionBound reports credentials that authenticate the connection rather
// than the request (RFC 4559, NTLM): on shared connections they would be the next caller's too.
func connectionBound(h http.Header) bool {
	for _, v := range h["Authorization"] {
		scheme, _, _ := strings.Cut(strings.TrimSpace(v), " ")
		if strings.EqualFold(scheme, "ntlm") || strings.EqualFold(scheme, "negotiate") {
			return true
		}
	}
	return false
}

func (x *exchange) decide() bool {
	req := x.request()
	d := x.snap.Policy.Decide(&req)
	if d.Allowed {
		x.decided(d)
		if x.snap.AuditPaths {
			x.event.Path = x.path()
		}
		return true
	}
	if d.Reason == policy.NoRule && x.observed() {
		return true
	}
	x.decided(d)
	if x.wantsToken(d) && x.target.scheme == "http" {
		x.refuse(reasonAuthRequired, "")
		return false
	}
	detail := ""
	if d.Reason == policy.NoRule && x.snap.Gateway != nil && !x.snap.Policy.Named(x.target.host, x.target.port) {
		detail = "only calls that come as a CONNECT are passed on to the gateway"
	}
	x.refuse(string(d.Reason), detail)
	return false
}

// prepare checks what can be checked before anything is sent.
func (x *exchange) prepare() bool {
	r := x.rule
	x.event.ClientCredential = carriesCredential(x.in.Header)
	if err := x.stripQuery(); err != nil {
		x.refuse(string(policy.QueryAmbiguous), err.Error())
		return false
	}
	if r == nil {
		return x.limitBody(x.snap.Limits)
	}
	x.maskWith()
	for i := range r.Attach {
		x.event.Credentials = append(x.event.Credentials, audit.Credential{Name: r.Attach[i].Name, Kind: r.Attach[i].Kind, Outcome: "error"})
	}
	if r.Upstream == nil {
		x.refuse(reasonCredentialMissing, errText(r.UpstreamErr))
		return false
	}
	if len(r.Attach) > 0 && (x.target.scheme == "http" || r.Plaintext) && !r.AllowPlaintext {
		x.refuse(string(dial.PlaintextRefused), "")
		return false
	}
	return x.limitBody(r.Limits)
}

func (x *exchange) limitBody(l Limits) bool {
	if l.RequestBody > 0 && x.in.ContentLength > l.RequestBody {
		x.refuse(reasonBodyTooLarge, "")
		return false
	}
	x.body.limit = l.RequestBody
	x.body.ReadCloser = x.in.Body
	x.ctx = x.context(l)
	return true
}

// context is the request's, ended by limits, told of what dialling learns.
func (x *exchange) context(l Limits) context.Context {
	ctx, cancel := context.WithCancelCause(x.in.Context())
	x.cancel = cancel
	if x.upgrades() {
		ctx = dial.WithInfo(ctx, x.conn.client, &x.info, nil) // ReverseProxy passes 1xx on by itself
	} else {
		ctx = dial.WithInfo(ctx, x.conn.client, &x.info, x.got1xx)
	}
	if l.Total > 0 {
		t := time.AfterFunc(l.Total, x.total)
		context.AfterFunc(ctx, func() { t.Stop() })
	}
	return ctx
}

var (
	errTotal = errors.New("limits.total")       // constants: never assigned again
	errIdle  = errors.New("limits.stream_idle") //
)

// compose makes of out, a copy of in without the headers of one hop, what is
// sent: nothing that the client lists in Connection can remove what is attached
// here. What goes wrong is kept for RoundTrip.
func (x *exchange) compose(in, out *http.Request) {
	out.URL.Scheme = x.target.scheme
	if c := x.conn; c.authority != "" && c.target == x.target {
		out.URL.Host, out.Host = c.authority, c.host
	} else {
		out.URL.Host, out.Host = x.target.authority(), x.target.hostHeader()
	}
	if x.rule != nil && x.rule.Plaintext {
		out.URL.Scheme = "http"
	}
	out.URL.RawQuery = x.query
	out.URL.ForceQuery = in.URL.ForceQuery
	out.URL.User = nil
	out.RequestURI = ""
	out.GetBody = nil // nothing is ever sent twice, but after a 401: see retry.go
	x.scrub.askPlain(out)
	x.strip(out)
	x.body.trailers(in, out, x.rule)
	x.keepForRetry(out)
	x.failure = x.inject(out)
}

// authority names t in a URL, its port always there.
func (t target) authority() string {
	return net.JoinHostPort(t.host, strconv.Itoa(int(t.port)))
}

// hostHeader names t in a Host header: RFC 9110 §7.2, the default port left out.
func (t target) hostHeader() string {
	if t.port != defaultPort(t.scheme) {
		return t.authority()
	}
	if a, err := netip.ParseAddr(t.host); err == nil && a.Is6() {
		return "[" + t.host + "]"
	}
	return t.host
}

// inject presents the rule's credentials on out.
func (x *exchange) inject(out *http.Request) *refusal {
	if x.rule == nil {
		return nil
	}
	for i := range x.rule.Attach { // signers stand last
		c, ev := &x.rule.Attach[i], &x.event.Credentials[i]
		x.noteVersion(ev, c.Injector.Secrets())
		if err := c.Injector.Inject(out.Context(), out, x.snap.Secrets); err != nil {
			return x.injectFailed(ev, err)
		}
		ev.Outcome = "attached"
	}
	return nil
}

func (x *exchange) noteVersion(ev *audit.Credential, refs []secret.Ref) {
	for _, ref := range refs {
		if e, ok := x.snap.Secrets.Entry(ref); ok && e.Current.Generation() > ev.Generation {
			ev.Generation = e.Current.Generation()
			ev.Age = x.start.Sub(e.Current.Loaded())
		}
	}
}

func (x *exchange) injectFailed(ev *audit.Credential, err error) *refusal {
	if m, ok := errors.AsType[*secret.MissingError](err); ok {
		ev.Outcome = "missing"
		return &refusal{reasonCredentialMissing, m.Error()}
	}
	if q, ok := errors.AsType[*inject.QueryError](err); ok {
		return &refusal{string(policy.QueryAmbiguous), q.Error()}
	}
	if f := x.requestFault(err); f != nil {
		return f
	}
	return &refusal{reasonCredentialError, err.Error()}
}

// requestFault is the refusal for what is wrong with the request rather than
// with the credential, nil if that is not it.
func (x *exchange) requestFault(err error) *refusal {
	if f := x.body.failure(); f != nil {
		return f
	}
	if b, ok := errors.AsType[*inject.BodyTooLargeError](err); ok {
		return &refusal{reasonBodyTooLarge, b.Error()}
	}
	if r, ok := errors.AsType[*inject.RequestError](err); ok {
		return &refusal{reasonBadRequest, r.Error()}
	}
	if _, ok := errors.AsType[*inject.BodyError](err); ok {
		if f := x.brokenOff(); f != nil {
			return f
		}
		return &refusal{reasonBodyAborted, ""} // the cause may quote what the client sent
	}
	return nil
}

// RoundTrip implements [http.RoundTripper], for ReverseProxy too.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	if x.failure != nil {
		return nil, x.failure
	}
	up := x.snap.Direct
	if x.rule != nil {
		up = x.rule.Upstream
	}
	x.event.Attempts = 1
	sent := x.p.now()
	x.event.Phases.Added = sent.Sub(x.start)
	res, err := up.RoundTrip(out)
	if err == nil && res.StatusCode == http.StatusUnauthorized {
		if next := x.again(out); next != nil {
			discard(res)
			x.event.Attempts = 2
			res, err = up.RoundTrip(next)
		}
	}
	x.answered = x.p.now()
	x.event.Phases.FirstByte = x.answered.Sub(sent)
	x.event.Reused, x.event.ResolvedIP = x.info.Reused, x.info.IP()
	if f := x.body.brokenOff(); f != nil && err == nil {
		// The upstream answered what it had of the body before the connection was gone.
		_ = res.Body.Close()
		return nil, f
	}
	return res, err
}

// modifyResponse sees the upstream's answer before the client does.
func (x *exchange) modifyResponse(res *http.Response) error {
	x.event.UpstreamStatus = res.StatusCode
	switch code := res.StatusCode; {
	case code == http.StatusProxyAuthRequired:
		return &refusal{reasonUpstreamProxyAuth, ""}
	case code == http.StatusSwitchingProtocols && !asked(res):
		return &refusal{string(dial.BadResponse), "a switch of protocols that nobody asked for"}
	case code < 200 && code != http.StatusSwitchingProtocols, code > 999: // net/http panics when it is to write one
		return &refusal{string(dial.BadResponse), "no status code"}
	}
	stripAnswer(res.Header)
	stripTrailer(res.Trailer) // the names that are announced
	if res.StatusCode >= 400 {
		res.Header.Add("Proxy-Status", "attache; received-status="+res.Status[:3])
	}
	if err := x.scrubResponse(res); err != nil {
		return err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.upgraded(res)
	}
	return nil
}

// asked reports whether a 101 is to what the request wants to upgrade to.
func asked(res *http.Response) bool {
	want := res.Request.Header.Get("Upgrade")
	return want != "" && strings.EqualFold(want, res.Header.Get("Upgrade"))
}

// stripAnswer removes from an answer what speaks to proxies, or of us.
func stripAnswer(h http.Header) {
	delete(h, "Alt-Svc") // would lead clients around us
	delete(h, "Proxy-Authenticate")
	delete(h, "Proxy-Authentication-Info")
	delete(h, "Proxy-Connection")
	if claims, ok := h["Proxy-Status"]; ok {
		// Others' entries stay (RFC 9209 §2); nobody else speaks for us.
		claims = slices.DeleteFunc(slices.Clone(claims), func(v string) bool {
			return strings.Contains(strings.ToLower(v), "attache")
		})
		if h["Proxy-Status"] = claims; len(claims) == 0 {
			delete(h, "Proxy-Status")
		}
	}
}

// stripTrailer removes from an answer's trailers what its header may not have either, of one hop or of ours, and the length
// that is another's to say (RFC 9110 §6.5.1).
func stripTrailer(h http.Header) {
	if len(h) > 0 {
		stripAnswer(h)
		removeHopByHop(h)
		delete(h, "Content-Length")
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
