package replay

import (
	"net/http"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy/policy"
)

// judge is what cfg makes of a call, as far as the log tells of it.
func judge(cfg *config.Config, e event, now time.Time) outcome {
	host, err := policy.NormalizeHost(e.Address)
	if err != nil {
		return outcome{name: string(policy.NoRule)}
	}
	r := policy.Request{Scheme: "https", Host: host, Port: e.Port, Method: e.Method, Path: "/"}
	if e.Caller.Name != "" {
		r.Callers = []string{e.Caller.Name}
	}
	if e.Path != nil && len(*e.Path) < cutText && strings.HasPrefix(*e.Path, "/") {
		r.Path = *e.Path
	} else {
		e.Path = nil
	}
	named := cfg.Policy.Named(host, e.Port)
	if !named && cfg.Gateway.Address != "" && (e.Method == http.MethodConnect || e.Port != 80) {
		return outcome{passes: true, how: "gateway", name: "gateway"}
	}
	if !named && now.Before(cfg.ObserveUntil) {
		return outcome{passes: true, how: "observed", name: "observed"}
	}
	// The log does not tell https from http; by default they are told by their ports.
	if e.Port == 80 && e.Method != http.MethodConnect {
		r.Scheme = "http"
	}
	o := decide(cfg, &r, e)
	if o.name == string(policy.NoRule) && r.Scheme == "https" && e.Method != http.MethodConnect {
		r.Scheme = "http"
		o = decide(cfg, &r, e)
	}
	return o
}

func decide(cfg *config.Config, r *policy.Request, e event) outcome {
	if r.Scheme == "https" {
		d := cfg.Policy.DecideConnect(r.Host, r.Port, r.Callers)
		switch {
		case d.Verdict == policy.ConnectTunnel:
			return outcome{passes: true, how: "tunnel", name: cfg.Rules[d.Rule].ID}
		case d.Verdict == policy.ConnectRefuse:
			return refusal(cfg, d.Decision)
		case e.Method == http.MethodConnect:
			// Opened now; what the requests inside are nobody knows.
			return outcome{open: namedRules(cfg, r)}
		}
	}
	open, passes := undecided(cfg, r, e.Path != nil)
	switch {
	case len(open) == 0:
		return exact(cfg, r)
	case !passes:
		return outcome{name: open[0]}
	}
	return outcome{open: open}
}

// exact is the outcome where path and query do not matter, or are known.
func exact(cfg *config.Config, r *policy.Request) outcome {
	d := cfg.Policy.Decide(r)
	if !d.Allowed {
		return refusal(cfg, d)
	}
	return outcome{passes: true, how: "opened", name: cfg.Rules[d.Rule].ID}
}

func refusal(cfg *config.Config, d policy.Decision) outcome {
	if d.Rule >= 0 {
		return outcome{name: cfg.Rules[d.Rule].ID}
	}
	return outcome{name: string(d.Reason)}
}

// undecided are the rules that decide by what the log does not hold: a query, or a path. Those whose other
// criteria do not match, or that come after one that decides anyway, do not count. passes tells whether the
// call may pass at all, by one of them or by what comes after them.
func undecided(cfg *config.Config, r *policy.Request, pathKnown bool) (open []string, passes bool) {
	for _, s := range cfg.Policy.Explain(r) {
		rule := cfg.Rules[s.Rule]
		met := func(c policy.Criterion) policy.Answer { return s.Met[c-policy.Host] }
		path := met(policy.Path)
		switch {
		case rule.Action == policy.Tunnel, met(policy.Host) != policy.Yes, met(policy.Method) == policy.No,
			met(policy.Caller) == policy.No, pathKnown && path == policy.No:
			continue
		}
		passes = passes || rule.Action == policy.Allow
		if met(policy.Query) == policy.Any && (path == policy.Any || pathKnown) {
			return open, passes // decides, whatever else there is
		}
		open = append(open, rule.ID)
	}
	return open, passes
}

// namedRules are the rules for a host.
func namedRules(cfg *config.Config, r *policy.Request) []string {
	var ids []string
	for _, s := range cfg.Policy.Explain(r) {
		if s.Met[0] == policy.Yes {
			ids = append(ids, cfg.Rules[s.Rule].ID)
		}
	}
	return ids
}
