package app

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/dial"
)

// showLocked makes s what is shown to upstreams, and what they are verified by. App.mu is held, so that
// States arrive in their order. It reports whether that is another ID, so that the secrets are others too.
func (a *App) showLocked(s *identity.State) (another bool) {
	if s == a.now.shown {
		return false
	}
	another = s.ID() != a.now.shown.ID()
	if another {
		a.tokens.Discard() // they are of who we were
	}
	a.now.shown = s
	a.pool.SetIdentity(towardsUpstreams(s))
	return another
}

// towardsUpstreams is s as dialling needs it.
func towardsUpstreams(s *identity.State) *dial.Identity {
	if s == nil {
		return nil
	}
	return &dial.Identity{
		Certificate: s.Certificate,
		Verify: func(chain [][]byte, now time.Time) (string, time.Time, error) {
			id, expires, err := s.VerifyX509(chain, now)
			return id.String(), expires, err
		},
	}
}

// gatewayOf is the way to the gateway, nil if there is none. One connection carries all its tunnels, as
// many as clients may have.
func gatewayOf(cfg *config.Config) (*route, error) {
	g := cfg.Gateway
	if g.Address == "" {
		return nil, nil
	}
	p := dial.Profile{ConnectTo: g.Address, Protocol: dial.HTTP2, MaxInFlight: cfg.Limits.Connections, Connect: cfg.Limits.Connect}
	if err := peerOf(&p, g.Peer); err != nil {
		return nil, err
	}
	return &route{profile: p}, nil
}

// peerOf fills in whom a profile's server must be. The configuration has checked the pattern.
func peerOf(p *dial.Profile, peer string) error {
	p.Peer = peer
	if peer == "" || p.CA != nil {
		return nil
	}
	pattern, err := identity.ParsePattern(peer)
	if err != nil {
		return err
	}
	p.PeerIs = func(id string) bool {
		parsed, err := spiffeid.FromString(id)
		return err == nil && pattern.Match(parsed)
	}
	return nil
}
