package explain

import (
	"net/http"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

// The outcomes of a call.
const (
	Allowed  = "allowed"
	Refused  = "refused"
	Tunnel   = "tunnel"   // passed on unopened
	Observed = "observed" // no rule names the host, and unmatched.observe_until lets it pass for now
	Gateway  = "gateway"  // no rule names the host: passed on unopened to the gateway, which decides
)

// verdict is what would become of a call.
type verdict struct {
	policy.Decision
	outcome   string
	request   policy.Request
	atConnect bool // decided at the CONNECT: nothing inside the connection was looked at
	reason    proxy.ReasonInfo
	hint      string
}

// decide tells what would become of a call, by the functions that the proxy itself decides with.
func decide(cfg *config.Config, method, address string, callers []string, now time.Time) (verdict, error) {
	d, err := config.Decide(cfg, method, address, callers)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{Decision: d.Decision, request: d.Request, outcome: Allowed}
	r := &v.request
	v.atConnect = r.Scheme == "https" && d.Connect.Verdict != policy.ConnectIntercept
	switch {
	case d.Gateway:
		v.Decision, v.outcome = policy.Decision{Rule: -1, Nearest: -1}, Gateway
		v.hint = "its own rules decide: run attache explain with its configuration"
	case d.Tunnelled:
		v.outcome = Tunnel
	case !v.atConnect && (r.Method == http.MethodTrace || r.Method == http.MethodConnect):
		v.Decision = policy.Decision{Rule: -1, Nearest: -1}
		v.refuse("method_unsupported")
	case !d.Allowed:
		v.refuse(string(d.Reason))
		v.explainRefusal(cfg, d.Unnamed && now.Before(cfg.ObserveUntil))
	default:
		rule := cfg.Rules[d.Rule]
		if len(rule.Attach) > 0 && (r.Scheme == "http" || rule.Upstream.Plaintext) && !rule.AllowPlaintext {
			v.refuse(string(dial.PlaintextRefused))
		}
	}
	return v, nil
}

// refuse makes v a refusal for a reason.
func (v *verdict) refuse(code string) {
	v.outcome, v.reason = Refused, Reason(code)
	v.hint = v.reason.Hint
}

// explainRefusal puts in what only the configuration knows of a refusal.
func (v *verdict) explainRefusal(cfg *config.Config, observing bool) {
	if v.Reason == policy.NoRule && observing {
		v.outcome = Observed
		v.hint = "unmatched.observe_until lets it pass, unopened, until " + cfg.ObserveUntil.UTC().Format(time.RFC3339)
	}
	if v.Reason == policy.NoRule && cfg.Gateway.Address != "" && v.request.Scheme == "http" {
		v.hint = "Call https, which is left to the gateway, or add a rule for this host."
	}
	if v.Reason == policy.DeniedByRule && v.Rule >= 0 && cfg.Rules[v.Rule].Hint != "" {
		v.hint = cfg.Rules[v.Rule].Hint
	}
}

// Reason documents a reason code.
func Reason(code string) proxy.ReasonInfo {
	for _, r := range proxy.Reasons() {
		if r.Code == code {
			return r
		}
	}
	return proxy.ReasonInfo{Code: code, Status: http.StatusForbidden, Fault: proxy.FaultPolicy}
}
