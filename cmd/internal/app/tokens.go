package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/mint"
	"github.com/attache-proxy/attache/inject/secret"
)

// ownTokens gives tokens of the identity in force.
type ownTokens struct{ app *App }

var _ inject.TokenSource = ownTokens{}

// Token implements inject.TokenSource.
func (t ownTokens) Token(ctx context.Context, audience string) (string, time.Time, error) {
	t.app.mu.Lock()
	own := t.app.now.identity
	t.app.mu.Unlock()
	if own == nil {
		return "", time.Time{}, identity.ErrNone
	}
	return own.source.Token(ctx, audience)
}

// fetches are the tokens that a configuration needs, by the name that they have among the secrets.
func (a *App) fetches(cfg *config.Config) map[string]mint.Fetch {
	all := map[string]mint.Fetch{}
	for _, r := range cfg.Rules {
		for _, c := range r.Attach {
			m, ok := c.Injector.(inject.Minter)
			if !ok {
				continue
			}
			all[string(m.Secrets()[0])] = func(ctx context.Context) (string, time.Time, error) {
				return m.Mint(ctx, ownTokens{a})
			}
		}
	}
	return all
}

// onToken puts another version of a token in force.
func (a *App) onToken() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.now.hold {
		a.live.SetSecrets(a.secretsLocked())
	}
}

// onFetch counts a fetch for every credential that presents what it gives.
func (a *App) onFetch(name string, err error) {
	counted := map[string]bool{}
	for _, r := range a.config().Rules {
		for _, c := range r.Attach {
			if _, fetched := c.Injector.(inject.Minter); fetched && !counted[c.Name] && c.Injector.Secrets()[0] == secret.Ref(name) {
				counted[c.Name] = true
				a.metrics.TokenFetch(c.Name, err)
			}
		}
	}
}

// secretsLocked are the newest secrets, tokens among them. App.mu is held.
func (a *App) secretsLocked() *secret.Set { return a.now.set.With(a.tokens.Entries()) }

// showTokensLocked puts the newest tokens in force, and what else is held stays held. App.mu is held.
func (a *App) showTokensLocked() {
	if !a.now.hold {
		a.live.SetSecrets(a.secretsLocked())
	} else if now := a.live.Load(); now != nil {
		a.live.SetSecrets(now.Secrets.With(a.tokens.Entries()))
	}
}

// hasTokens reports whether every token has been there once.
func (a *App) hasTokens() bool {
	for _, e := range a.tokens.Entries() {
		if e.Current.IsZero() {
			return false
		}
	}
	return true
}

// tokensDegraded are the lines for tokens that are not there.
func (a *App) tokensDegraded(cfg *config.Config) []string {
	entries := a.tokens.Entries()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		why := e.Problem
		switch {
		case e.Current.IsZero():
		case e.Current.Expired():
			why = "expired at " + e.Current.Expires().UTC().Format(time.RFC3339)
		default:
			continue
		}
		lines = append(lines, fmt.Sprintf("rule %s: token %q: %s", strings.Join(UsersOf(cfg, name), ", "), name, why))
	}
	return lines
}
