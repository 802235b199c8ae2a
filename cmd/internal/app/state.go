package app

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/explain"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/proxy/policy"
	"github.com/attache-proxy/attache/watcher/source"
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
	a.mu.Lock()
	now := a.now
	problems := make([]string, len(now.rules))
	for i, r := range now.rules {
		if r.err != nil {
			problems[i] = r.err.Error()
		}
	}
	a.mu.Unlock()
	var all []admin.RuleStatus
	for i, r := range now.cfg.Rules {
		s := admin.RuleStatus{
			ID: r.ID, Owner: r.Owner, Pos: r.Pos, Hosts: r.Hosts, Methods: r.Methods, Paths: r.Paths,
			Callers: r.Callers, Action: actionName(r.Action), Hint: r.Hint, Problem: problems[i],
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
func (a *App) Secrets() []admin.SecretStatus {
	users := usersByName(a.config())
	var all []admin.SecretStatus
	for _, s := range a.store.Status() {
		all = append(all, admin.SecretStatus{
			Name: s.Name, Source: s.Source, Owner: s.Owner, State: string(s.State), Healthy: s.State.Healthy(), Reason: s.Reason,
			Generation: s.Generation, Since: s.Since, LastSuccess: s.LastSuccess, StaleSince: s.StaleSince, Expires: s.Expires,
			ServedUntil: s.ServedUntil, NextLook: s.NextLook, Optional: s.Optional, Warnings: s.Warnings, Rules: users[s.Name],
		})
	}
	return all
}

// CA tells of the CA's generations.
func (a *App) CA() []admin.CAStatus {
	var all []admin.CAStatus
	for _, g := range a.ca.Generations() {
		all = append(all, admin.CAStatus{ID: g.ID, Permits: g.Permits, NotAfter: g.NotAfter, Created: g.Created, Given: g.Given})
	}
	return all
}

// OwnIdentity tells who the proxy is, nil if no identity is configured.
func (a *App) OwnIdentity() *admin.IdentityStatus {
	a.mu.Lock()
	own := a.now.identity
	a.mu.Unlock()
	return toldIdentity(a.Identity(), own.warnings())
}

// toldIdentity is what people are told of an identity.
func toldIdentity(id *identity.Status, warnings []string) *admin.IdentityStatus {
	if id == nil {
		return nil
	}
	s := &admin.IdentityStatus{
		Source: cmp.Or(id.Address, "files"), Generation: id.Generation, Updated: id.Updated, Problem: id.Problem, Since: id.Since, JWTProblem: id.JWTProblem, Warnings: warnings,
		SVIDs: []admin.SVIDStatus{}, Bundles: []admin.BundleStatus{},
	}
	for _, v := range id.SVIDs {
		s.SVIDs = append(s.SVIDs, admin.SVIDStatus{ID: v.ID, Hint: v.Hint, NotBefore: v.NotBefore, NotAfter: v.NotAfter})
	}
	for _, b := range id.Bundles {
		s.Bundles = append(s.Bundles, admin.BundleStatus{TrustDomain: b.TrustDomain, Federated: b.Federated, X509: b.X509, JWT: b.JWT})
	}
	return s
}

// Explain tells what would become of a call now, by the configuration and the secrets in force.
func (a *App) Explain(method, url, caller string) (any, error) {
	a.mu.Lock()
	cfg, generation := a.now.cfg, a.now.generation
	a.mu.Unlock()
	account, err := explain.Call(cfg, cmp.Or(method, http.MethodGet), url, caller, time.Now())
	if err != nil {
		return nil, err
	}
	account.Live = &explain.Live{ConfigGeneration: generation}
	needed := account.Secrets(cfg)
	for _, s := range a.store.Status() {
		if slices.Contains(needed, s.Name) {
			if !s.State.Usable() {
				account.Refuse("credential_missing")
			}
			account.Live.Secrets = append(account.Live.Secrets, explain.SecretState{
				Name: s.Name, State: string(s.State), Usable: s.State.Usable(), Generation: s.Generation, Reason: s.Reason,
			})
		}
	}
	return account, nil
}

// adminReasons documents the reason codes for admin.
func adminReasons() map[string]admin.Reason {
	all := map[string]admin.Reason{}
	for _, r := range proxy.Reasons() {
		all[r.Code] = admin.Reason{Status: r.Status, Fault: string(r.Fault), Meaning: r.Meaning, Hint: r.Hint}
	}
	return all
}

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
	byName := usersByName(now.cfg)
	for _, s := range a.store.Status() {
		if s.State.Healthy() {
			continue
		}
		users := []string{"no rule"}
		if ids := byName[s.Name]; len(ids) > 0 {
			users = ids
		}
		lines = append(lines, fmt.Sprintf("rule %s: secret %q: %s: %s", strings.Join(users, ", "), s.Name, strings.ToLower(string(s.State)), s.Reason))
	}
	lines = append(lines, a.tokensDegraded(now.cfg)...)
	lines = append(lines, broken...)
	lines = append(lines, identityDegraded(a.Identity(), time.Now())...)
	for _, w := range now.identity.warnings() {
		if strings.HasPrefix(w, source.PinnedInode) { // the others tell of how it lies there, not of a fault
			lines = append(lines, "identity: "+w)
		}
	}
	if polling, why := a.dirs.Polling(); polling {
		lines = append(lines, "files: watched by polling alone: "+why)
	}
	if n := a.audit.dropped(); n > 0 {
		lines = append(lines, fmt.Sprintf("audit: %d events lost", n))
	}
	return slices.Clip(lines)
}
