package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/policy"
)

type explainCmd struct {
	configFlag
	outputFlag
	Method string `arg:"" help:"HTTP method, as in POST."`
	URL    string `arg:"" name:"url" help:"What would be called, as in https://api.stripe.com/v1/charges."`
	Caller string `placeholder:"NAME" help:"Name of the caller, as configured. Without it: one that has proven nothing."`
}

// explained is everything that explain tells.
type explained struct {
	Outcome   string     `json:"outcome"` // allowed, refused, tunnel, observed
	Status    int        `json:"status,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Fault     string     `json:"fault,omitempty"`
	AtConnect bool       `json:"at_connect,omitempty"`
	Rule      *ruleRef   `json:"rule,omitempty"`
	Nearest   *ruleRef   `json:"nearest_rule,omitempty"`
	DiffersBy string     `json:"differs_by,omitempty"`
	Hint      string     `json:"hint,omitempty"`
	Caller    *callerRef `json:"caller,omitempty"`
	Attaches  []string   `json:"attaches,omitempty"`
	Removes   []string   `json:"removes,omitempty"`
	Connects  string     `json:"connects,omitempty"`
	Limits    string     `json:"limits,omitempty"`
	Answer    string     `json:"answer,omitempty"`
	InOrder   []ruleStep `json:"in_order"`
	Elsewhere int        `json:"rules_for_other_hosts"`
	Warning   string     `json:"warning,omitempty"`
	request   policy.Request
}

type ruleRef struct {
	ID    string `json:"id"`
	Owner string `json:"owner,omitempty"`
	Pos   string `json:"position"`
}

type callerRef struct {
	Name  string `json:"name"`
	Proof string `json:"proof"`
}

// ruleStep is how one rule met the call.
type ruleStep struct {
	Rule    string `json:"rule"`
	Host    string `json:"host"`
	Query   string `json:"query"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	Caller  string `json:"caller"`
	Outcome string `json:"outcome,omitempty"` // decides, nearest, not reached
}

func (e explainCmd) Run(c *console) error {
	path, err := e.path()
	if err != nil {
		return err
	}
	cfg, err := app.LoadConfig(path, thisBuild().required())
	if err != nil {
		return err
	}
	x, err := e.explain(cfg, time.Now())
	if err != nil {
		return err
	}
	if e.json() {
		return printJSON(c.out, x)
	}
	x.print(c.out)
	return nil
}

func (e explainCmd) explain(cfg *config.Config, now time.Time) (*explained, error) {
	caller, callers, err := findCaller(cfg.Callers, e.Caller)
	if err != nil {
		return nil, err
	}
	v, err := decide(cfg, strings.ToUpper(e.Method), e.URL, callers, now)
	if err != nil {
		return nil, &app.UsageError{Err: err, Hint: "attache explain POST https://api.example.com/v1/things"}
	}
	r := &v.request
	x := &explained{Outcome: v.outcome, AtConnect: v.atConnect, Hint: v.hint, Caller: caller, request: *r}
	if v.outcome == refused {
		x.Status, x.Reason, x.Fault = v.reason.Status, v.reason.Code, string(v.reason.Fault)
	}
	if v.Rule >= 0 {
		x.Rule = refTo(cfg.Rules[v.Rule])
	} else if v.Nearest >= 0 {
		x.Nearest, x.DiffersBy = refTo(cfg.Rules[v.Nearest]), v.Differs.String()
	} else if i := cfg.Policy.NearestHost(r.Host); i >= 0 {
		x.Nearest, x.DiffersBy = refTo(cfg.Rules[i]), policy.Host.String()
	}
	if v.Rule >= 0 && v.outcome != refused {
		x.describe(cfg, cfg.Rules[v.Rule], r)
	}
	x.inOrder(cfg, r, v)
	return x, nil
}

func refTo(r config.Rule) *ruleRef { return &ruleRef{r.ID, r.Owner, r.Pos} }

// findCaller finds a configured caller by name.
func findCaller(specs []identity.Spec, name string) (*callerRef, []string, error) {
	if name == "" {
		return nil, nil, nil
	}
	var known []string
	for _, s := range specs {
		if s.Name == name {
			return &callerRef{name, string(proofOf(s))}, []string{name}, nil
		}
		known = append(known, s.Name)
	}
	hint := "none is configured"
	if len(known) > 0 {
		hint = "configured: " + strings.Join(known, ", ")
	}
	return nil, nil, &app.UsageError{Err: fmt.Errorf("caller %q: not configured", name), Hint: hint}
}

func proofOf(s identity.Spec) identity.Proof {
	switch {
	case s.Token != "":
		return identity.ProofToken
	case s.UID != nil:
		return identity.ProofUID
	default:
		return identity.ProofNetwork
	}
}

// inOrder lists how the rules for this host met the call; rules for other hosts are only counted, so
// that a thousand rules stay readable.
func (x *explained) inOrder(cfg *config.Config, r *policy.Request, v verdict) {
	x.InOrder = []ruleStep{}
	for _, s := range cfg.Policy.Explain(r) {
		step := ruleStep{
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
			x.Elsewhere++
			continue
		}
		x.InOrder = append(x.InOrder, step)
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
