package dial

import (
	"log/slog"
	"net"
	"slices"
	"sync"
)

// Pool keeps an Upstream per Profile.
type Pool struct {
	opt Options

	mu       sync.Mutex
	ups      map[profileKey]*Upstream
	identity *Identity
	draining []*Upstream // forgotten, with connections that rest on the identity
}

// NewPool returns an empty Pool.
func NewPool(opt Options) *Pool {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Resolver == nil {
		opt.Resolver = net.DefaultResolver
	}
	return &Pool{opt: opt, ups: map[profileKey]*Upstream{}}
}

// Upstream returns the Upstream of a Profile, the same one for an equal
// Profile. An error says which part of the profile is unusable, without secret bytes.
func (p *Pool) Upstream(profile Profile) (*Upstream, error) {
	key := profile.key()
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.ups[key]; u != nil {
		return u, nil
	}
	u, err := newUpstream(profile, p.opt, p.identity)
	if err != nil {
		return nil, err
	}
	p.ups[key] = u
	return u, nil
}

// Retain forgets every Upstream not in keep: new requests can no longer reach
// it, its idle connections close, requests under way end as they would.
func (p *Pool) Retain(keep []*Upstream) {
	p.mu.Lock()
	var gone []*Upstream
	p.draining = slices.DeleteFunc(p.draining, func(u *Upstream) bool { return len(u.heldConns()) == 0 })
	for key, u := range p.ups {
		if !slices.Contains(keep, u) {
			gone = append(gone, u)
			delete(p.ups, key)
			if u.profile.shows() {
				p.draining = append(p.draining, u)
			}
		}
	}
	p.mu.Unlock()
	for _, u := range gone {
		u.retire()
	}
}

// Close forgets all: idle connections close now, others when their requests end.
func (p *Pool) Close() { p.Retain(nil) }
