package config

import (
	"net/netip"
	"slices"

	"github.com/attache-proxy/attache/identity"
)

func (b *builder) buildCallers() {
	for _, doc := range b.docs {
		for _, e := range section(doc, "callers") {
			c := doc.Callers[e.key.text]
			if !b.define(b.callers, "caller", e.key) || c == nil || e.value.faulty() {
				continue
			}
			spec := identity.Spec{Name: e.key.text, Token: string(c.Token), UID: c.UID, SPIFFE: c.SPIFFE, Proof: identity.Proof(c.Proof)}
			if c.Network != "" {
				if p, ok := b.prefix(e.value.at("network"), "callers."+e.key.text+".network", c.Network); ok {
					spec.Network = p.String()
				}
			}
			b.checkSPIFFE(&spec, e)
			b.cfg.Callers = append(b.cfg.Callers, spec)
		}
	}
}

// checkSPIFFE checks what a caller has to do with SPIFFE: its ID, and that there is a way to prove it.
func (b *builder) checkSPIFFE(s *identity.Spec, e entry) {
	at := "callers." + s.Name
	if s.Token != "" && s.Name == "jwt" {
		b.fail(e.key, "choose another name", "caller %q: the name by which clients present a JWT-SVID", s.Name)
	}
	if s.SPIFFE == "" {
		if n := e.value.get("proof").key; n != nil {
			b.fail(n, "", "%s.proof: says how a SPIFFE ID is proven, and there is none", at)
		}
		return
	}
	n, proof := e.value.at("spiffe"), e.value.at("proof")
	if _, err := identity.ParsePattern(s.SPIFFE); err != nil {
		b.fail(n, `as in "spiffe://acme.example/ns/shop/sa/checkout", or ending in /*, or in /** behind at least one name`, "%s.spiffe: %v", at, err)
		return
	}
	b.needIdentity(n)
	listen, _ := b.the("listen")
	tls := listen.Listen.Proxy.TLS != ""
	if s.Proof == identity.ProofJWT || s.Proof == "" {
		s.Audience = listen.Listen.Proxy.Audience
	}
	const needTLS, needAudience = "listen: {proxy: {address: …, tls: spiffe}}", "listen: {proxy: {address: …, audience: …}}"
	switch s.Proof {
	case identity.ProofMTLS:
		if !tls {
			b.fail(proof, "write "+needTLS, "%s.proof: no listener speaks TLS, so nobody can show an X509-SVID", at)
		}
	case identity.ProofJWT:
		if s.Audience == "" {
			b.fail(proof, "write "+needAudience, "%s.proof: no audience is configured that a JWT-SVID would have to be for", at)
		}
	case "":
		if !tls && s.Audience == "" {
			b.fail(n, "for X509-SVIDs, "+needTLS+"; for JWT-SVIDs, "+needAudience+"; or proof: pod", "%s: cannot be proven: no listener speaks TLS, and no audience for JWT-SVIDs is configured", at)
		}
	}
}

// buildProxyTLS checks what the proxy's listener wants of SPIFFE.
func (b *builder) buildProxyTLS(p proxySpec, l Listen) {
	if p.Audience != "" {
		n := p.Node.at("audience")
		b.tokens = append(b.tokens, n) // without JWT-SVIDs there are no bundles for them either
		if !slices.ContainsFunc(b.cfg.Callers, func(s identity.Spec) bool { return s.Audience != "" }) {
			b.warn(n, "", "listen.proxy.audience: no caller is known by a JWT-SVID")
		}
	}
	if !l.TLS || l.Proxy == "" {
		return
	}
	n := p.Node.at("tls")
	b.needIdentity(n)
	if len(b.callers) == 0 {
		b.fail(n, "define callers", "listen.proxy.tls: asks clients who they are, and nobody is known")
	}
}

// checkOpen holds promise 13: whoever can reach a listener from elsewhere must
// prove who they are.
func (b *builder) checkOpen() {
	_, listen := b.the("listen")
	for _, l := range b.bound {
		switch {
		case l.address.local():
		case l.calls && b.cfg.Listen.UnsafeOpen:
			b.warn(listen.at("unsafe_open"), "", "listen.%s: open to whoever can reach it", l.key)
		case l.calls:
			b.checkProven(l)
		case l.key == "admin":
			b.warn(l.node, "use 127.0.0.1, or a unix socket", "listen.admin: tells whoever can reach it about rules and callers")
		}
	}
}

// checkProven looks for callers that can prove themselves over TCP from elsewhere.
func (b *builder) checkProven(l bound) {
	proven, network, clear := false, false, false
	for _, c := range b.cfg.Callers {
		proven = proven || c.Token != "" || c.Audience != "" || l.tls && (c.Proof == identity.ProofMTLS || c.Proof == "" && c.SPIFFE != "")
		clear = clear || c.Audience != "" && !l.tls
		network = network || c.Network != ""
		if p, err := netip.ParsePrefix(c.Network); err == nil && p.Bits() == 0 {
			b.fail(b.callers[c.Name], "name the networks, or write listen.unsafe_open: true",
				"caller %q: the whole address space proves nothing on a listener that is not on loopback", c.Name)
		}
	}
	switch {
	case !proven && !network:
		b.fail(l.node, "bind 127.0.0.1 or a unix socket, or define callers by SPIFFE ID, token or network",
			"listen.%s: not on loopback, and nobody has to prove who they are", l.key)
	case network:
		b.warn(l.node, "prefer SPIFFE IDs or tokens", "listen.%s: callers known by their network only are weakly proven", l.key)
	}
	if clear {
		b.warn(l.node, "", "listen.%s: JWT-SVIDs would come over the network in clear", l.key)
	}
}
