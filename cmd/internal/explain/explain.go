package explain

import (
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy/policy"
)

// Account is everything that can be told of one call.
type Account struct {
	Outcome   string     `json:"outcome"` // allowed, refused, tunnel, observed, gateway
	Status    int        `json:"status,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Fault     string     `json:"fault,omitempty"`
	AtConnect bool       `json:"at_connect,omitempty"`
	Host      string     `json:"host"`
	Rule      *RuleRef   `json:"rule,omitempty"`
	Nearest   *RuleRef   `json:"nearest_rule,omitempty"`
	DiffersBy string     `json:"differs_by,omitempty"`
	Hint      string     `json:"hint,omitempty"`
	Caller    *CallerRef `json:"caller,omitempty"`
	Attaches  []string   `json:"attaches,omitempty"`
	Removes   []string   `json:"removes,omitempty"`
	Connects  string     `json:"connects,omitempty"`
	Limits    string     `json:"limits,omitempty"`
	Answer    string     `json:"answer,omitempty"`
	InOrder   []RuleStep `json:"in_order"`
	Elsewhere int        `json:"rules_for_other_hosts"`
	Warning   string     `json:"warning,omitempty"`
	Live      *Live      `json:"live,omitempty"`
	rule      int        // the deciding one, -1 if none did
}

// Live is what only the running proxy knows.
type Live struct {
	ConfigGeneration uint64        `json:"config_generation"`
	Secrets          []SecretState `json:"secrets,omitempty"` // of which the rule's credentials are made
}

// SecretState is how one secret is doing.
type SecretState struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	Usable     bool   `json:"usable"`
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason,omitempty"`
}

// RuleRef names a rule.
type RuleRef struct {
	ID    string `json:"id"`
	Owner string `json:"owner,omitempty"`
	Pos   string `json:"position"`
}

// RuleStep is how one rule met the call.
type RuleStep struct {
	Rule    string `json:"rule"`
	Host    string `json:"host"`
	Query   string `json:"query"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	Caller  string `json:"caller"`
	Outcome string `json:"outcome,omitempty"` // decides, nearest, not reached
}

// Call tells what cfg makes of a call at a time. The scheme may be left out of the URL; the
// caller is a configured name or a SPIFFE ID, none being one that has proven nothing. An error is a [CallerError], or says what is wrong with the URL.
func Call(cfg *config.Config, method, url, caller string, now time.Time) (*Account, error) {
	known, callers, err := findCaller(cfg, caller)
	if err != nil {
		return nil, err
	}
	v, err := decide(cfg, strings.ToUpper(method), url, callers, now)
	if err != nil {
		return nil, err
	}
	r := &v.request
	a := &Account{Outcome: v.outcome, AtConnect: v.atConnect, Host: r.Host, Hint: v.hint, Caller: known, rule: v.Rule}
	if v.outcome == Refused {
		a.Status, a.Reason, a.Fault = v.reason.Status, v.reason.Code, string(v.reason.Fault)
	}
	if v.Rule >= 0 {
		a.Rule = refTo(cfg.Rules[v.Rule])
	} else if v.Nearest >= 0 {
		a.Nearest, a.DiffersBy = refTo(cfg.Rules[v.Nearest]), v.Differs.String()
	} else if v.outcome == Gateway {
		a.Connects = cfg.Gateway.Address + ", TLS by trust bundles, only " + cfg.Gateway.Peer + ", client certificate Attaché's SVID, HTTP/2"
	} else if i := cfg.Policy.NearestHost(r.Host); i >= 0 {
		a.Nearest, a.DiffersBy = refTo(cfg.Rules[i]), policy.Host.String()
	}
	if v.Rule >= 0 && v.outcome != Refused {
		a.describe(cfg, cfg.Rules[v.Rule], r)
	}
	a.inOrder(cfg, r, v)
	return a, nil
}

// Refuse makes a the account of a refusal for a reason that only the running proxy can know.
func (a *Account) Refuse(code string) {
	r := Reason(code)
	a.Outcome, a.Status, a.Reason, a.Fault, a.Hint = Refused, r.Status, r.Code, string(r.Fault), r.Hint
}

// Secrets are the names of the secrets that the deciding rule's credentials are made of.
func (a *Account) Secrets(cfg *config.Config) []string {
	if a.rule < 0 || a.Outcome == Refused {
		return nil
	}
	return secretsOf(cfg.Rules[a.rule])
}

func refTo(r config.Rule) *RuleRef { return &RuleRef{r.ID, r.Owner, r.Pos} }

// inOrder lists how the rules for this host met the call; rules for other hosts are only counted, so
// that a thousand rules stay readable.
func (a *Account) inOrder(cfg *config.Config, r *policy.Request, v verdict) {
	a.InOrder = []RuleStep{}
	for _, s := range cfg.Policy.Explain(r) {
		step := RuleStep{
			Rule: cfg.Rules[s.Rule].ID, Host: met(s, policy.Host), Query: met(s, policy.Query),
			Method: met(s, policy.Method), Path: met(s, policy.Path), Caller: met(s, policy.Caller),
		}
		switch {
		case s.Rule == v.Rule:
			step.Outcome = "decides"
		case v.Rule >= 0 && s.Rule > v.Rule:
			step.Outcome = "not reached"
		case v.Rule < 0 && s.Rule == v.Nearest:
			step.Outcome = "nearest"
		}
		if step.Host == "no" && step.Outcome != "decides" && step.Outcome != "nearest" {
			a.Elsewhere++
			continue
		}
		a.InOrder = append(a.InOrder, step)
	}
}

// met is a word for how a rule's criterion met the call.
func met(s policy.Step, c policy.Criterion) string {
	switch s.Met[c-policy.Host] {
	case policy.Yes:
		return "yes"
	case policy.Any:
		return "any"
	default:
		return "no"
	}
}
