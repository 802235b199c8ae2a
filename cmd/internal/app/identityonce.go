package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/watcher"
)

// startIdentity starts what keeps an identity. A source that files feed comes with its store, which run has begun to apply.
func startIdentity(ctx context.Context, spec config.Identity, o identity.SourceOptions, notices watcher.Notices, run func(func())) (*identity.Source, *watcher.Store) {
	source := identity.NewSource(o)
	if spec.Address != "" {
		return source, nil
	}
	files := identityStore(o.Log, notices, source)
	run(func() { files.Apply(ctx, identitySpecs(spec.Files)) })
	return source, files
}

// identityOnce starts an identity outside of an App. The caller closes it.
func identityOnce(ctx context.Context, spec config.Identity) *ownIdentity {
	o := identity.SourceOptions{Address: spec.Address, Log: slog.New(slog.DiscardHandler)}
	own := &ownIdentity{spec: spec}
	own.source, own.files = startIdentity(ctx, spec, o, nil, func(f func()) { f() })
	return own
}

// ResolveIdentity tells what the proxy would be, nil if the configuration gives it no identity. It waits for an SVID until
// identityWait is over, or ctx.
func ResolveIdentity(ctx context.Context, cfg *config.Config) *admin.IdentityStatus {
	if cfg.Identity.Key == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	own := identityOnce(ctx, cfg.Identity)
	defer own.close()
	select {
	case <-own.ready():
	case <-ctx.Done():
	}
	status := own.source.Status()
	return toldIdentity(&status, own.warnings())
}

// TokenOptions say whose JWT-SVID to get.
type TokenOptions struct {
	Config   string // path of a configuration that says where the identity comes from; empty: the environment does
	Profile  string
	Requires string // version that requires: is compared with
}

// Token gets a JWT-SVID for an audience: of the identity in a configuration, if one is named; else by
// SPIFFE_ENDPOINT_SOCKET; else by the configuration in its usual place. It tries until ctx ends.
func Token(ctx context.Context, audience string, o TokenOptions) (string, error) {
	spec, err := o.identity()
	if err != nil {
		return "", err
	}
	own := identityOnce(ctx, spec)
	defer own.close()
	if own.files != nil {
		return "", errors.New("the configured identity is in files, which hold no JWT-SVIDs")
	}
	for {
		token, _, err := own.source.Token(ctx, audience)
		switch {
		case err == nil:
			return token, nil
		case errors.Is(err, context.DeadlineExceeded):
			return "", fmt.Errorf("JWT-SVID for %q: %s", audience, cmp.Or(own.source.Status().Problem, "no answer from "+spec.Address))
		case ctx.Err() != nil:
			return "", err
		}
		select {
		case <-time.After(tokenRetry):
		case <-ctx.Done():
			return "", err
		}
	}
}

const tokenRetry = 250 * time.Millisecond

// identity is where the identity of the options comes from.
func (o TokenOptions) identity() (config.Identity, error) {
	path := o.Config
	if path == "" {
		if spec, err := config.EnvironmentIdentity(os.LookupEnv); err != nil {
			return spec, &UsageError{Err: err, Hint: "as in unix:/run/spire/agent.sock"}
		} else if spec.Key != "" {
			return spec, nil
		}
		var err error
		if path, err = DefaultConfig(); err != nil {
			return config.Identity{}, &UsageError{
				Err:  errors.New("SPIFFE_ENDPOINT_SOCKET is not set, and there is no configuration"),
				Hint: "set it to the address of the Workload API, as in unix:/run/spire/agent.sock",
			}
		}
	}
	cfg, err := LoadConfig(path, o.Profile, o.Requires)
	if err != nil {
		return config.Identity{}, err
	}
	if cfg.Identity.Key == "" {
		return config.Identity{}, &UsageError{Err: errors.New("the configuration has no identity"), Hint: "write identity: {spiffe: unix:/path}, or set SPIFFE_ENDPOINT_SOCKET"}
	}
	return cfg.Identity, nil
}
