package config

import (
	"slices"
	"strings"
)

// framing are the headers that hold a message together, or belong to one hop:
// no rule decides about them.
func framing() []string {
	return []string{
		"connection", "content-length", "content-encoding", "host", "keep-alive", "proxy-authorization", "proxy-connection",
		"te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
	}
}

// headers checks strip and pass.
func (b *builder) headers(r *ruled) {
	for key, names := range map[string][]string{"strip": r.spec.Strip, "pass": r.spec.Pass} {
		to := r.at.to(key)
		for i, name := range names {
			n := r.spec.Node.at(key).element(i)
			switch {
			case n.faulty():
			case !headerName(name):
				b.fail(n, "", "%s: not the name of a header", to)
			case slices.Contains(framing(), sameHeader(name)):
				b.fail(n, "", "%s: %s belongs to the connection", to, name)
			}
		}
	}
	for i, name := range r.spec.Pass {
		if slices.ContainsFunc(r.spec.Strip, func(s string) bool { return sameHeader(s) == sameHeader(name) }) {
			b.fail(r.spec.Node.at("pass").element(i), "", "%s: strips and passes one header", r)
		}
	}
	if len(r.spec.Pass) > 0 && r.spec.Attach == nil && r.known {
		b.warn(r.spec.Node.get("pass").key, "", "%s: attaches nothing, so the client's credentials pass anyway", r)
	}
}

func (b *builder) upgrades(r *ruled) {
	to := r.at.to("upgrades")
	for i, u := range r.spec.Upgrades {
		n, name := r.spec.Node.at("upgrades").element(i), strings.ToLower(u)
		protocol, version, _ := strings.Cut(name, "/")
		switch {
		case n.faulty():
		case protocol == "h2c" || protocol == "http" || protocol == "tls":
			b.fail(n, "", "%s: %s would take the requests that follow out of sight", to, protocol)
		case !headerName(protocol) || version != "" && !headerName(version):
			b.fail(n, `as in "spdy/3.1"`, "%s: not a protocol", to)
		default:
			r.rule.Upgrades = append(r.rule.Upgrades, name)
		}
	}
}

// checkAction refuses keys that say nothing beside tunnel or deny.
func (b *builder) checkAction(r *ruled) {
	n := r.spec.Node
	if r.spec.Tunnel && r.spec.Deny.set() {
		b.fail(n.get("deny").key, "", "%s: tunnel and deny exclude each other", r)
		return
	}
	meaningless := []string{"attach", "strip", "pass", "allow_plaintext", "upgrades", "client_env"}
	switch {
	case r.spec.Deny.set():
		meaningless = append(meaningless, "upstream", "limits")
	case r.spec.Tunnel:
		for _, e := range n.at("upstream").entries {
			if !slices.Contains([]string{"connect_to", "allow"}, e.key.text) && n.get("upstream").value != nil {
				b.fail(e.key, "", "%s: a tunnel is not opened, so upstream.%s does nothing", r, e.key.text)
			}
		}
		for _, e := range n.at("limits").entries {
			if !slices.Contains([]string{"stream_idle", "total", "connect", "in_flight"}, e.key.text) && n.get("limits").value != nil {
				b.fail(e.key, "", "%s: a tunnel is not opened, so limits.%s does nothing", r, e.key.text)
			}
		}
	default:
		return
	}
	word := "tunnel"
	if r.spec.Deny.set() {
		word = "deny"
	}
	for _, key := range meaningless {
		if e := n.get(key); e.value != nil {
			b.fail(e.key, "", "%s: %s and %s exclude each other", r, word, key)
		}
	}
}

// checkPlaintext holds promise 4 as far as the configuration can.
func (b *builder) checkPlaintext(r *ruled) {
	if r.spec.Attach == nil || r.spec.AllowPlaintext {
		return
	}
	const hint = "write allow_plaintext: true if the upstream is on loopback or a unix socket"
	for i, h := range r.spec.Hosts {
		if strings.HasPrefix(strings.ToLower(h), "http://") {
			b.fail(r.spec.Node.at("hosts").element(i), hint, "%s: would send a credential in clear", r)
		}
	}
	if r.spec.Upstream.Plaintext {
		b.fail(r.spec.Node.at("upstream", "plaintext"), hint, "%s: would send a credential in clear", r)
	}
}

// checkVia holds promise 11 where another proxy resolves the names.
func (b *builder) checkVia(r *ruled) {
	if b.cfg.Egress.Via == "" || r.spec.Deny.set() {
		return
	}
	for i, h := range r.spec.Hosts {
		if strings.Contains(h, "*") {
			b.fail(r.spec.Node.at("hosts").element(i), "name the hosts, one by one",
				"%s: behind egress.via, whose addresses cannot be judged, only exact hosts are allowed", r)
		}
	}
}
