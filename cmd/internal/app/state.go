package app

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/proxy/policy"
)

// App is what admin shows.
var _ admin.State = (*App)(nil)

// Draining reports whether the App is shutting down.
func (a *App) Draining() bool { return a.draining.Load() }

// Config tells of the configuration in force.
func (a *App) Config() admin.ConfigStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return admin.ConfigStatus{
		Generation: a.now.generation, Loaded: a.now.loaded,
		Files: a.now.cfg.Files, LastError: a.now.lastError,
	}
}

// Rules tells of the rules, in order.
func (a *App) Rules() []admin.RuleStatus {
	var all []admin.RuleStatus
	for _, r := range a.config().Rules {
		s := admin.RuleStatus{
			ID: r.ID, Owner: r.Owner, Pos: r.Pos, Hosts: r.Hosts, Methods: r.Methods, Paths: r.Paths,
			Callers: r.Callers, Action: actionName(r.Action),
		}
		for _, c := range r.Attach {
			s.Credentials = append(s.Credentials, c.Name)
		}
		all = append(all, s)
	}
	return all
}

func actionName(a policy.Action) string {
	switch a {
	case policy.Deny:
		return "deny"
	case policy.Tunnel:
		return "tunnel"
	default:
		return "allow"
	}
}

// Secrets tells of the secrets: states and versions, never a byte.
func (a *App) Secrets() any { return a.store.Status() }

// CA tells of the CA's generations.
func (a *App) CA() any { return a.ca.Generations() }

// Degraded lists what does not work, one line each.
func (a *App) Degraded() []string {
	var lines []string
	a.mu.Lock()
	now := a.now
	var broken []string
	for i, r := range now.rules {
		if r.err != nil {
			broken = append(broken, fmt.Sprintf("rule %s: upstream: %v", now.cfg.Rules[i].ID, r.err))
		}
	}
	a.mu.Unlock()
	if now.lastError != "" {
		lines = append(lines, "config: the last reload was rejected: "+now.lastError)
	}
	for _, s := range a.store.Status() {
		if s.State.Healthy() {
			continue
		}
		users := []string{"no rule"}
		if ids := UsersOf(now.cfg, s.Name); len(ids) > 0 {
			users = ids
		}
		lines = append(lines, fmt.Sprintf("rule %s: secret %q: %s: %s", strings.Join(users, ", "), s.Name, strings.ToLower(string(s.State)), s.Reason))
	}
	lines = append(lines, broken...)
	if polling, why := a.dirs.Polling(); polling {
		lines = append(lines, "files: watched by polling alone: "+why)
	}
	if n := a.audit.dropped(); n > 0 {
		lines = append(lines, fmt.Sprintf("audit: %d events lost", n))
	}
	return slices.Clip(lines)
}
