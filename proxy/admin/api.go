package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

func (h *handler) addAPI() {
	api := func(path, about string, value func(r *http.Request) any) {
		h.pages[path] = page{about: about, get: func(w http.ResponseWriter, r *http.Request) { h.json(w, value(r)) }}
	}
	api("/api/summary", "what the status page shows: traffic of 15 minutes, rules, secrets, what needs attention", func(*http.Request) any { return h.summary(time.Now()) })
	api("/api/status", "what runs, and what does not work", func(*http.Request) any { return h.status() })
	api("/api/config", "the configuration in force: generation, files, last error", func(*http.Request) any { return h.state.Config() })
	api("/api/rules", "the rules, in order", func(*http.Request) any { return array(h.state.Rules()) })
	api("/api/secrets", "states and versions of secrets, never their content", func(*http.Request) any { return array(h.state.Secrets()) })
	api("/api/ca", "the generations of the CA", func(*http.Request) any { return array(h.state.CA()) })
	api("/api/identity", "who the proxy is and whom it trusts; null if no identity is configured", func(*http.Request) any { return h.state.OwnIdentity() })
	api("/api/decisions", "recent audit events, newest first; ?request_id= for one call", func(r *http.Request) any {
		return h.decisions(r.URL.Query().Get("request_id"))
	})
	h.pages[decisionPath] = page{get: h.decision, about: "one call by its request id, with what to do about it"}
	h.pages["/api/explain"] = page{get: h.explain, about: "what would become of a call now: ?method=POST&url=https://…&caller=NAME"}
	if h.o.Feed != nil {
		h.pages["/api/events"] = page{get: h.events, about: "audit events as they come (text/event-stream); ?changes only that there were some"}
	}
}

// explain tells what would become of a call, decided as the proxy does now.
func (h *handler) explain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	account, err := h.state.Explain(q.Get("method"), q.Get("url"), q.Get("caller"))
	if err != nil {
		p := problem{Title: "this call cannot be explained", Status: http.StatusBadRequest, Reason: "bad_question", Detail: err.Error()}
		if hinted, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			p.Hint = hinted.Hint()
		}
		writeProblem(w, p)
		return
	}
	h.json(w, account)
}

// array is s, or an empty array instead of null.
func array[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

type status struct {
	Version          string   `json:"version"`           // of the binary
	State            string   `json:"state"`             // starting, ready, draining
	ConfigGeneration uint64   `json:"config_generation"` // in force
	Degraded         []string `json:"degraded"`          // one line for each thing that does not work
}

func (h *handler) status() status {
	return status{
		Version: h.o.Version, State: h.stateName(),
		ConfigGeneration: h.state.Config().Generation, Degraded: array(h.state.Degraded()),
	}
}

// recentEvents are the events kept in memory, refusals apart from the rest.
type recentEvents struct {
	Refusals []audit.Event `json:"refusals"` // the last ones, newest first
	Recent   []audit.Event `json:"recent"`   // events of every kind, newest first
}

func (h *handler) decisions(requestID string) recentEvents {
	var d recentEvents
	if h.o.Recent != nil {
		d.Refusals, d.Recent = h.o.Recent.Refusals(), h.o.Recent.All()
	}
	if requestID != "" {
		other := func(e audit.Event) bool { return e.RequestID != requestID }
		d.Refusals, d.Recent = slices.DeleteFunc(d.Refusals, other), slices.DeleteFunc(d.Recent, other)
	}
	d.Refusals, d.Recent = array(d.Refusals), array(d.Recent)
	return d
}

func (h *handler) json(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	h.encode(w, value)
}

// encode writes value as JSON under the head that is set.
func (h *handler) encode(w http.ResponseWriter, value any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // never shown as HTML: nosniff
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		h.o.Log.Error("admin answer cannot be written as JSON", "error", err)
		refuse(w, http.StatusInternalServerError, "internal", "this cannot be shown", "The log says why.")
		return
	}
	_, _ = w.Write(b.Bytes())
}

// index lists the paths.
func (h *handler) index(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	fmt.Fprintf(&b, "attache %s\n\n", h.o.Version)
	for _, path := range slices.Sorted(maps.Keys(h.pages)) {
		if about := h.pages[path].about; about != "" {
			fmt.Fprintf(&b, "%-15s  %s\n", path, about)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(b.String()))
}

// reload loads the configuration anew: all of it or nothing, even if the client hangs up meanwhile.
func (h *handler) reload(w http.ResponseWriter, r *http.Request) {
	h.o.Log.Info("reload asked for over admin", "remote", r.RemoteAddr)
	if err := h.state.Reload(context.WithoutCancel(r.Context())); err != nil {
		writeProblem(w, problem{
			Title: "the configuration was rejected; the former one stays in force", Status: http.StatusUnprocessableEntity,
			Reason: "config_rejected", Detail: err.Error(),
		})
		return
	}
	h.json(w, h.state.Config())
}
