package config

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/policy"
)

// upstream builds how a rule's hosts are reached.
func (b *builder) upstream(r *ruled) {
	s := r.spec.Upstream
	if s.Node == nil {
		return
	}
	r.rule.Upstream = Upstream{
		ConnectTo: s.ConnectTo, ServerName: s.ServerName, CA: b.path(s.CA), Peer: s.Peer,
		Client: s.Client, Protocol: s.Protocol, Plaintext: s.Plaintext,
	}
	if s.Client == ownSVID {
		b.presentSVID(r, s.Node.at("client"))
	}
	at := r.at.to("upstream")
	b.connectTo(s, at)
	for i, a := range s.Allow {
		to := at.to("allow")
		n := s.Node.at("allow").element(i)
		if n.faulty() {
			continue
		}
		p, ok := b.prefix(n, to.String(), a)
		if ok && p.Bits() == 0 {
			b.warn(n, "name the networks", "%s: allows every address, those of metadata services too", to)
		}
		r.rule.Upstream.Allow = append(r.rule.Upstream.Allow, a)
	}
	fail := func(key, hint, problem string) {
		to := at.to(key)
		if n := s.Node.at(key); !n.faulty() {
			b.fail(n, hint, "%s: %s", to, problem)
		}
	}
	if s.ServerName != "" {
		if _, err := policy.NormalizeHost(s.ServerName); err != nil {
			fail("server_name", "", "not a host name")
		}
	}
	b.peer(r, fail)
	if s.Plaintext {
		for _, e := range s.Node.entries {
			if slices.Contains([]string{"server_name", "ca", "peer", "client"}, e.key.text) {
				to := at.to(e.key.text)
				b.fail(e.key, "", "%s: does nothing beside plaintext", to)
			}
		}
	}
}

// ownSVID is the word for the proxy's own SVID where the name of a secret could stand.
const ownSVID = "svid"

// presentSVID notes that a rule presents the proxy's own SVID, because of what stands at n.
func (b *builder) presentSVID(r *ruled, n *node) {
	b.refs = slices.DeleteFunc(b.refs, func(ref reference) bool { return ref.node == n })
	b.needIdentity(n)
	r.rule.Upstream.SVID = true
	if r.rule.Upstream.Client == ownSVID {
		r.rule.Upstream.Client = ""
	}
}

// peer checks whom the server must be.
func (b *builder) peer(r *ruled, fail func(key, hint, problem string)) {
	s := r.spec.Upstream
	n := s.Node.at("peer")
	if s.Peer == "" || n.faulty() {
		return
	}
	const hint = `as in "spiffe://acme.example/ns/crm/sa/api"`
	switch _, err := identity.ParsePattern(s.Peer); {
	case s.CA == "" && !strings.HasPrefix(s.Peer, "spiffe://"): // what it is instead is not repeated
		fail("peer", hint, "not a SPIFFE ID")
	case s.CA == "" && err != nil:
		fail("peer", hint, err.Error())
	case s.CA != "" && strings.Contains(s.Peer, "*"):
		fail("peer", "name one, or leave ca out", "beside ca, not a pattern")
	case s.CA != "" && !spiffeID(s.Peer):
		fail("peer", hint, "not a SPIFFE ID")
	case s.CA == "" && r.rule.Upstream.Client != "":
		fail("client", "", "the SVID of identity is presented, as peer without ca asks")
	case s.CA == "":
		b.presentSVID(r, n)
	}
	if s.ServerName != "" {
		fail("server_name", "", "does nothing beside peer, which takes the place of the name")
	}
}

// connectTo checks the address that is dialled in place of the host.
func (b *builder) connectTo(s upstreamSpec, at *trail) {
	to := at.to("connect_to")
	n := s.Node.at("connect_to")
	switch path, socket := strings.CutPrefix(s.ConnectTo, "unix:"); {
	case s.ConnectTo == "" && s.Node.get("connect_to").value == nil, n.faulty():
	case socket && strings.HasPrefix(path, "@"):
		b.fail(n, "give the path of a file", "%s: abstract socket names have no permissions", to)
	case socket && !filepath.IsAbs(path) && !strings.HasPrefix(path, "/"):
		b.fail(n, "", "%s: a socket's path must be absolute", to)
	case socket:
	default:
		if _, port, err := policy.SplitAuthority(s.ConnectTo, 0); err != nil || port == 0 {
			b.fail(n, `as in "10.1.2.3:443" or "unix:/run/api.sock"`, "%s: must be host:port or unix:/path", to)
		}
	}
}

// spiffeID reports whether s is a SPIFFE ID (SPIFFE-ID, section 2): a trust
// domain and a path of plain segments.
func spiffeID(s string) bool {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	domain, path, _ := strings.Cut(rest, "/")
	if !ok || len(s) > 2048 || domain == "" || strings.Trim(domain, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || !headerName(segment) ||
			strings.ContainsAny(segment, "!#$%&'*+^`|~") {
			return false
		}
	}
	return true
}

// buildEgress builds the way out.
func (b *builder) buildEgress() {
	doc, n := b.the("egress")
	s := doc.Egress.Via
	if s == nil || n.faulty() {
		return
	}
	n = n.at("via")
	e := Egress{Via: s.URL, User: s.User, Password: s.Password, CA: b.path(s.CA)}
	at := n.at("url")
	u, err := url.Parse(s.URL)
	switch {
	case err == nil && u.User != nil:
		b.fail(at, "write user and password, the name of a secret, beside url", "egress.via: credentials never stand in a URL")
		return
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		b.fail(at, `as in "http://proxy.corp.example:3128"`, "egress.via: must be an http:// or https:// URL")
		return
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		b.fail(at, "", "egress.via: must be scheme, host and port only")
		return
	case u.Port() == "":
		b.fail(at, "", "egress.via: must name a port")
		return
	}
	if _, _, err := policy.SplitAuthority(u.Host, 0); err != nil {
		b.fail(at, "", "egress.via: must name a host and port")
	}
	if s.Password != "" && s.User == "" {
		b.fail(n.at("password"), "", "egress.via: a password needs a user")
	}
	if s.CA != "" && u.Scheme != "https" {
		b.fail(n.at("ca"), "", "egress.via: ca does nothing for an http:// proxy")
	}
	b.cfg.Egress = e
}

// buildCA builds the certificate authority's specs.
func (b *builder) buildCA() {
	doc, n := b.the("ca")
	s := doc.CA
	b.cfg.CA = CA{
		Publish: b.path(s.Publish), State: b.path(s.State), Permit: s.Permit,
		Unconstrained: s.Constraints == "off", Cert: b.path(s.Cert), Key: b.path(s.Key),
	}
	if s.Constraints == "off" {
		b.warn(n.at("constraints"), "", "ca.constraints: off: whoever takes the CA's key can pose as any host")
	}
	switch {
	case s.Cert != "" && s.Key == "":
		b.fail(n.at("cert"), "", "ca.cert: needs ca.key")
	case s.Key != "" && s.Cert == "":
		b.fail(n.at("key"), "", "ca.key: needs ca.cert")
	case s.Cert != "":
		b.warn(n.at("cert"), "", "ca.cert: the proxy cannot limit or renew a given CA")
		if s.State != "" {
			b.warn(n.at("state"), "", "ca.state: does nothing beside ca.cert")
		}
	}
	if s.Publish != "" && s.State != "" && within(s.Publish, s.State) {
		b.fail(n.at("state"), "use a directory that callers cannot read", "ca.state: lies in ca.publish, and it holds the CA's key")
	}
	if len(s.Permit) == 0 || n.at("permit").faulty() {
		return
	}
	// The policy knows what a host pattern is.
	_, faults := policy.New([]policy.Spec{{ID: "permit", Hosts: s.Permit}})
	for _, f := range faults {
		b.fail(n.at("permit").element(f.Index), f.Hint, "ca.permit: %s", f.Problem)
	}
	for i, p := range s.Permit {
		if strings.HasPrefix(p, "http://") {
			b.fail(n.at("permit").element(i), "", "ca.permit: nothing is signed for hosts in clear")
		}
	}
}

// within reports whether path is dir or below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
