package config

import (
	"strings"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/policy"
)

// buildGateway builds the way to the Attaché that decides on the rest.
func (b *builder) buildGateway() {
	doc, n := b.the("gateway")
	s := doc.Gateway
	if s == nil || n.faulty() {
		return
	}
	b.needIdentity(n)
	g := Gateway{Address: s.Address, Peer: s.Peer, Audience: s.Audience}
	if _, port, err := policy.SplitAuthority(s.Address, 0); err != nil || port == 0 {
		b.fail(n.at("address"), `as in "attache-gateway.attache.svc:15001"`, "gateway.address: must be host:port")
	}
	const hint = `as in "spiffe://acme.example/ns/attache/sa/gateway"`
	pattern, err := identity.ParsePattern(s.Peer)
	switch {
	case !strings.HasPrefix(s.Peer, "spiffe://"): // what it is instead is not repeated
		b.fail(n.at("peer"), hint, "gateway.peer: not a SPIFFE ID")
	case err != nil:
		b.fail(n.at("peer"), hint, "gateway.peer: %v", err)
	case pattern.Exact() && g.Audience == "":
		g.Audience = s.Peer
	}
	b.cfg.Gateway = g
}

// passesOn reports whether there is a gateway.
func (c *Config) passesOn() bool { return c.Gateway.Address != "" }
