package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher"
)

// secretSpecs are the secrets of a configuration as the store keeps them.
func secretSpecs(cfg *config.Config) []watcher.Spec {
	specs := make([]watcher.Spec, len(cfg.Secrets))
	certificates := map[secret.Ref]bool{}
	for _, r := range cfg.Rules {
		certificates[r.Upstream.Client] = true
	}
	for i, s := range cfg.Secrets {
		specs[i] = watcher.Spec{
			Name: s.Name, Source: s.Source, Field: s.Field, Optional: s.Optional,
			Owner: s.Owner, Poll: s.Poll, MaxStale: s.MaxStale, Key: s.Key,
		}
		spec := &specs[i]
		if spec.Expect.Kind = s.Expect; s.Pattern != "" {
			spec.Expect, _ = watcher.Regex(s.Pattern) // the configuration has compiled it
		}
		if spec.Expect.Kind == "" && certificates[secret.Ref(s.Name)] {
			spec.Expect.Kind = "pem" // what is none must not replace one
			spec.Key += " pem"
		}
		if s.Revoke {
			spec.OnDeleted = watcher.Withdraw
		}
		if s.Deny {
			spec.OnInvalid = watcher.Withdraw
		}
	}
	return specs
}

// unread is the Set of secrets that nobody has looked for yet.
func unread(cfg *config.Config) *secret.Set {
	entries := map[string]secret.Entry{}
	for _, s := range cfg.Secrets {
		entries[s.Name] = secret.Entry{Problem: "not read yet"}
	}
	return secret.NewSet(entries)
}

// Resolve reads every secret of a configuration once and tells how that went. It keeps nothing.
func Resolve(ctx context.Context, cfg *config.Config) []watcher.Status {
	store := watcher.New(watcher.Options{})
	defer store.Close()
	store.Apply(ctx, secretSpecs(cfg))
	all := store.Status()
	for i := range all {
		e, _ := store.Set().Entry(secret.Ref(all[i].Name))
		for _, text := range []string{shortFor(cfg, e.Current), weakToken(cfg, e.Current)} {
			if text != "" {
				all[i].Warnings = append(slices.Clone(all[i].Warnings), text)
			}
		}
	}
	return all
}

// onSet puts a new version of a secret in force.
func (a *App) onSet(set *secret.Set) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now.set = set
	switch {
	case a.now.hold: // published with the configuration that is about to follow
	case a.now.clientsDiffer(set):
		a.publishLocked() // a client certificate is part of a connection pool's identity
	default:
		a.live.SetSecrets(a.secretsLocked())
	}
}

// publishLocked puts what was last built in force with the newest secrets. App.mu is held.
func (a *App) publishLocked() {
	a.showLocked(a.now.identityState())
	a.now.showing = a.now.identity
	a.now.connect(a.pool, a.now.set, a.log)
	s := a.now.snapshot(a.now.generation, a.secretsLocked())
	s.Identity = a.now.identityState()
	a.live.Publish(s)
	a.pool.Retain(a.now.upstreams())
}

// verifyToken compares hashes, so that neither content nor length shows in the time it takes. A
// missing secret and an empty token verify nothing.
func verifyToken(set *secret.Set, name secret.Ref, presented string) bool {
	v, err := set.Lookup(name)
	if err != nil || v.Reveal() == "" {
		return false
	}
	want, got := sha256.Sum256([]byte(v.Reveal())), sha256.Sum256([]byte(presented))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
