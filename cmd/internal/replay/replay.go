package replay

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy/policy"
)

// How the decision about calls compares with the one then.
const (
	Refused = "refused" // allowed then, refused now
	Other   = "other"   // allowed then and now, by another rule or in another way
	Allowed = "allowed" // refused then, allowed now
	Same    = "same"
	Unknown = "unknown" // the log does not hold what decides
)

// Report is what became of the calls of a log.
type Report struct {
	Calls   int       `json:"calls"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Same    int       `json:"same"`
	Refused int       `json:"refused"`
	Other   int       `json:"other"`
	Allowed int       `json:"allowed"`
	Unknown int       `json:"unknown"`
	Skipped int       `json:"skipped"` // refused then for what no rule decides, such as a missing credential's 407
	Broken  int       `json:"broken"`  // lines that are no event
	Events  int       `json:"-"`       // lines that are one, of whatever kind
	Changes []Change  `json:"changes"` // of all but Same, those that matter most first
	More    int       `json:"more"`    // calls of changes beyond those that are kept
}

// Change is calls that changed in the same way.
type Change struct {
	How    string   `json:"how"`
	Count  int      `json:"count"`
	Then   string   `json:"then"`            // the rule's id, or the reason of the refusal
	Now    string   `json:"now"`             // the same
	Rules  []string `json:"rules,omitempty"` // of Unknown: the rules whose path or query the log cannot answer
	Caller string   `json:"caller,omitempty"`
	Method string   `json:"method"`
	Host   string   `json:"host"`
}

// mostChanges bounds the report: hosts and methods are what clients made them.
const mostChanges = 5000

type key struct{ how, then, now, caller, method, host string }

// Run reads a log and judges its calls by cfg, as of now.
func Run(in io.Reader, cfg *config.Config, now time.Time) (*Report, error) {
	rep := &Report{Changes: []Change{}}
	found := map[key]*Change{}
	broken, err := lines(in, func(e event) {
		rep.Events++
		if e.Type != "request" || e.Address == "" {
			return
		}
		then, ok := before(e)
		if !ok {
			rep.Skipped++
			return
		}
		rep.Calls++
		if rep.From.IsZero() || e.Time.Before(rep.From) {
			rep.From = e.Time
		}
		if e.Time.After(rep.To) {
			rep.To = e.Time
		}
		v := judge(cfg, e, now)
		how := compare(then, v)
		rep.count(how)
		if how == Same {
			return
		}
		k := key{how, then.name, v.name, e.Caller.Name, e.Method, e.Address}
		c := found[k]
		if c == nil && len(found) >= mostChanges {
			rep.More++
			return
		}
		if c == nil {
			c = &Change{How: how, Then: then.name, Now: v.name, Rules: v.open, Caller: e.Caller.Name, Method: e.Method, Host: e.Address}
			found[k] = c
		}
		c.Count++
	})
	rep.Broken = broken
	for _, c := range found {
		rep.Changes = append(rep.Changes, *c)
	}
	order := []string{Refused, Other, Allowed, Unknown}
	slices.SortFunc(rep.Changes, func(a, b Change) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.How), slices.Index(order, b.How)), cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.Then, b.Then), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Caller, b.Caller),
		)
	})
	return rep, err
}

func (r *Report) count(how string) {
	switch how {
	case Refused:
		r.Refused++
	case Other:
		r.Other++
	case Allowed:
		r.Allowed++
	case Unknown:
		r.Unknown++
	default:
		r.Same++
	}
}

// outcome is what became, or would become, of a call.
type outcome struct {
	passes bool
	how    string   // of what passes: opened, tunnel, observed, gateway
	name   string   // the rule's id, or the reason of the refusal
	open   []string // rules that decide by what is not known; the outcome is none then
}

func compare(then, now outcome) string {
	switch {
	case len(now.open) > 0:
		return Unknown
	case then.passes && !now.passes:
		return Refused
	case !then.passes && now.passes:
		return Allowed
	case then.passes && (then.name != now.name || then.how != now.how):
		return Other
	default:
		return Same
	}
}

// before is what became of a call, unless something else than rules refused it.
func before(e event) (outcome, bool) {
	switch e.Decision {
	case "allow":
		return outcome{passes: true, how: "opened", name: e.Rule}, true
	case "tunnel":
		return outcome{passes: true, how: "tunnel", name: e.Rule}, true
	case "would_deny":
		return outcome{passes: true, how: "observed", name: "observed"}, true
	case "gateway":
		return outcome{passes: true, how: "gateway", name: "gateway"}, true
	}
	switch policy.Reason(e.Reason) {
	case policy.NoRule, policy.MethodNotAllowed, policy.PathNotAllowed, policy.QueryNotAllowed,
		policy.CallerNotAllowed, policy.PathAmbiguous, policy.QueryAmbiguous:
		return outcome{name: e.Reason}, true
	case policy.DeniedByRule:
		return outcome{name: cmp.Or(e.Rule, e.Reason)}, true
	}
	return outcome{}, false
}
