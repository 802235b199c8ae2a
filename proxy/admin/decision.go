package admin

import (
	"net/http"
	"strings"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

const decisionPath = "/api/decision/"

// Decision is all that is remembered of one call.
type Decision struct {
	RequestID        string        `json:"request_id"`             // as asked
	Events           []audit.Event `json:"events"`                 // newest first: how it ended, before that that it was opened
	Reason           *Reason       `json:"reason,omitempty"`       // of the refusal or failure
	Hint             string        `json:"hint,omitempty"`         // what to do; in the deny rule's words if it has any
	Rule             *RuleStatus   `json:"rule,omitempty"`         // as configured now
	Nearest          *RuleStatus   `json:"nearest_rule,omitempty"` // as configured now
	ConfigGeneration uint64        `json:"config_generation"`      // in force now
	Now              time.Time     `json:"now"`                    // when this was written
}

// Memory is how far back events are remembered: refusals apart from the rest, so for longer.
type Memory struct {
	Events        int       `json:"events"`
	Since         time.Time `json:"since,omitzero"` // the oldest of them
	Refusals      int       `json:"refusals"`
	RefusalsSince time.Time `json:"refusals_since,omitzero"`
}

// decision answers for one call by its id.
func (h *handler) decision(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, decisionPath)
	if h.o.Recent == nil || id == "" {
		refuse(w, http.StatusNotFound, "not_found", "there is nothing at this path", "")
		return
	}
	d := Decision{RequestID: id, Events: h.o.Recent.Find(id), ConfigGeneration: h.state.Config().Generation, Now: time.Now().UTC()}
	if len(d.Events) == 0 {
		m := h.o.Recent.Memory()
		h.forgotten(w, Memory{m.Events, m.EventsSince.UTC(), m.Refusals, m.RefusalsSince.UTC()})
		return
	}
	last := &d.Events[0]
	for _, rule := range h.state.Rules() {
		switch rule.ID {
		case last.Rule:
			d.Rule = &rule
		case last.NearestRule:
			d.Nearest = &rule
		}
	}
	if reason, ok := h.o.Reasons[last.Reason]; ok {
		d.Reason, d.Hint = &reason, h.hint(last, d.Rule)
	}
	h.json(w, d)
}

// hint is what to do about how a call ended; the rule that decided may say it in its own words.
func (h *handler) hint(e *audit.Event, rule *RuleStatus) string {
	if e.Reason == "denied_by_rule" && rule != nil && rule.Hint != "" {
		return rule.Hint
	}
	return h.o.Reasons[e.Reason].Hint
}

// forgotten answers that no call of an id is remembered, and how far back memory goes.
func (h *handler) forgotten(w http.ResponseWriter, m Memory) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusNotFound)
	h.encode(w, struct {
		problem
		Memory Memory `json:"memory"`
	}{problem{
		Title: "no call of this id is remembered", Status: http.StatusNotFound, Reason: "call_unknown",
		Hint: "Older calls are in the audit log.",
	}, m})
}
