package admin

import (
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// Summary is all that the status page and `attache status` show. Fields are only added.
type Summary struct {
	Version   string          `json:"version"`            // of the binary
	Host      string          `json:"host,omitempty"`     // of the machine or pod
	State     string          `json:"state"`              // starting, ready, draining
	Now       time.Time       `json:"now"`                // when this was written
	Began     time.Time       `json:"began"`              // when the process began to count
	Config    ConfigStatus    `json:"config"`             // in force
	Attention []Attention     `json:"attention"`          // what somebody should see to, worst first
	Traffic   Traffic         `json:"traffic"`            // all calls
	Rules     []RuleSummary   `json:"rules"`              // in order
	NoRule    RuleTraffic     `json:"no_rule"`            // calls that no rule decided; keys as those of a rule
	Secrets   []SecretStatus  `json:"secrets"`            // all, by name
	Identity  *IdentityStatus `json:"identity,omitempty"` // absent: none is configured
	CA        []CAStatus      `json:"ca"`                 // live generations, oldest first
	Refusals  []audit.Event   `json:"refusals"`           // the last ones, newest first
	Kinds     []RefusalKind   `json:"refusal_kinds"`      // all that are remembered, those that are alike together, the latest first
}

// RuleSummary is a rule and its traffic.
type RuleSummary struct {
	RuleStatus
	RuleTraffic
}

// RefusalKind are refusals that are alike: of the same reason, rule and caller, to the same place.
type RefusalKind struct {
	Last  audit.Event `json:"last"`           // the latest of them.
	Count int         `json:"count"`          // how many are remembered
	Hint  string      `json:"hint,omitempty"` // what to do
}

// shownRefusals is how many refusals a Summary carries.
const shownRefusals = 20

func (h *handler) summary(now time.Time) Summary {
	s := Summary{
		Version: h.o.Version, Host: h.o.Hostname, State: h.stateName(), Now: now.UTC(),
		Config: h.state.Config(), Secrets: array(h.state.Secrets()), CA: array(h.state.CA()),
		Identity: h.state.OwnIdentity(), Refusals: []audit.Event{}, Rules: []RuleSummary{},
		NoRule: RuleTraffic{PerMinute: []uint32{}},
	}
	var rules map[string]RuleTraffic
	if h.o.Window != nil {
		s.Began = h.o.Window.began.UTC()
		s.Traffic, rules = h.o.Window.read(now)
	}
	for _, r := range h.state.Rules() {
		t, called := rules[r.ID]
		if !called {
			t.PerMinute = []uint32{}
		}
		s.Rules = append(s.Rules, RuleSummary{r, t})
	}
	if t, called := rules[unknown]; called {
		s.NoRule = t
	}
	if h.o.Recent != nil {
		s.Refusals = array(h.o.Recent.Refusals())
		s.Refusals = s.Refusals[:min(len(s.Refusals), shownRefusals)]
	}
	s.Kinds = array(h.kinds())
	s.Attention = attention(&s, h.state.Degraded())
	return s
}

func (h *handler) stateName() string {
	switch {
	case h.state.Draining():
		return "draining"
	case !h.state.Started():
		return "starting"
	}
	return "ready"
}

// kinds puts refusals that are alike together, the latest first.
func (h *handler) kinds() []RefusalKind {
	if h.o.Recent == nil {
		return nil
	}
	hints := map[string]string{}
	for _, r := range h.state.Rules() {
		hints[r.ID] = r.Hint
	}
	type alike struct{ reason, rule, nearest, caller, call string }
	at := map[alike]int{}
	var all []RefusalKind
	for _, e := range h.o.Recent.Refusals() {
		call := callOf(e)
		k := alike{e.Reason, e.Rule, e.NearestRule, e.Caller, call}
		i, ok := at[k]
		if !ok {
			i = len(all)
			at[k] = i
			all = append(all, RefusalKind{Last: e, Hint: h.hint(&e, &RuleStatus{Hint: hints[e.Rule]})})
		}
		all[i].Count++
	}
	return all
}
