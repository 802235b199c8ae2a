package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/attache-proxy/attache/proxy/policy"
)

// Where the proxy and its admin listen unless told otherwise.
const (
	defaultProxy = "127.0.0.1:15001"
	defaultAdmin = "127.0.0.1:15000"
)

// maxSocketPath is what a unix socket's address holds on darwin, the shortest
// of ours (sys/un.h; Linux has 107).
const maxSocketPath = 103

// address is where a listener binds.
type address struct {
	path string // of a unix socket, or empty
	host netip.Addr
	port uint16
}

// local reports whether only this machine can reach it.
func (a address) local() bool { return a.path != "" || a.host.IsLoopback() }

// clashes reports whether two listeners cannot both bind.
func (a address) clashes(o address) bool {
	if a.path != "" || o.path != "" {
		return a.path != "" && filepath.Clean(a.path) == filepath.Clean(o.path)
	}
	return a.port == o.port && a.port != 0 && (a.host == o.host || a.host.IsUnspecified() || o.host.IsUnspecified())
}

const addressHint = `as in "127.0.0.1:15001" or "unix:/run/attache/proxy.sock"`

// parseAddress reads host:port or unix:/path; problem is empty if it could.
func parseAddress(s string) (a address, problem, hint string) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case strings.HasPrefix(path, "@"), strings.HasPrefix(path, "\x00"):
			return a, "abstract socket names have no permissions", "give the path of a file"
		case !filepath.IsAbs(path) && !strings.HasPrefix(path, "/"):
			return a, "a socket's path must be absolute", addressHint
		case len(path) > maxSocketPath:
			return a, "a socket's path may have " + strconv.Itoa(maxSocketPath) + " bytes", ""
		case strings.HasSuffix(path, "/"):
			return a, "a socket's path must name a file", addressHint
		}
		return address{path: path}, "", ""
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return a, "must be host:port or unix:/path", addressHint
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil {
		return a, "must end in a port from 0 to 65535", addressHint
	}
	a.port = uint16(port)
	switch host := s[:i]; {
	case host == "":
		a.host = netip.IPv6Unspecified()
	case host == "localhost":
		a.host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		inner, bracketed := strings.CutPrefix(host, "[")
		inner = strings.TrimSuffix(inner, "]")
		if a.host, err = netip.ParseAddr(inner); err != nil || a.host.Is6() != bracketed {
			return a, "the host must be an IP address or localhost", addressHint
		}
		a.host = a.host.Unmap()
	}
	return a, "", ""
}

// bound is one listener, for the checks between them.
type bound struct {
	key     string
	node    *node
	address address
	calls   bool // it takes calls: the proxy or a route
	tls     bool
}

func (b *builder) buildListen() {
	doc, n := b.the("listen")
	l := doc.Listen
	out := Listen{IPConnectSNI: l.IPConnect == "sni", UnsafeOpen: l.UnsafeOpen, TLS: l.Proxy.TLS == "spiffe"}
	var all []bound
	one := func(key, given, byDefault string, calls bool) string {
		at := n.get(key).value
		switch {
		case at == nil:
			at, given = n, byDefault
		case at.shape == dict && given == "":
			given = byDefault
		case at.shape == dict:
			at = at.at("address")
		}
		if given == none || at.bad {
			return ""
		}
		if a, ok := b.address(at, "listen."+key, given); ok {
			all = append(all, bound{key, at, a, calls, calls && out.TLS})
		}
		return given
	}
	out.Proxy = one("proxy", l.Proxy.Address, defaultProxy, true)
	out.Admin = one("admin", l.Admin, defaultAdmin, false)
	out.Health = one("health", l.Health, none, false)
	for _, r := range l.Routes {
		if r.Node == nil { // an empty item, which decoding has reported
			continue
		}
		route, ok := b.route(r)
		if a, fine := b.address(r.Node.at("listen"), "listen.routes: listen", r.Listen); fine {
			all = append(all, bound{"routes", r.Node, a, true, false})
		}
		if ok {
			out.Routes = append(out.Routes, route)
		}
	}
	b.buildProxyTLS(l.Proxy, out)
	b.checkClashes(all)
	b.bound = all
	b.cfg.Listen, b.cfg.AdminToken = out, l.AdminToken
	if out.Proxy == "" && len(l.Routes) == 0 && !n.faulty() {
		b.fail(n, "", "listen: there is neither a proxy nor a route")
	}
}

// address parses one address, or reports why not.
func (b *builder) address(n *node, what, s string) (address, bool) {
	if n.faulty() && n.shape != dict {
		return address{}, false
	}
	a, problem, hint := parseAddress(s)
	if problem != "" {
		b.fail(n, hint, "%s: %s", what, problem)
	}
	return a, problem == ""
}

// route reads the target of a route.
func (b *builder) route(s routeSpec) (Route, bool) {
	if s.Node == nil || s.Node.faulty() {
		return Route{}, false
	}
	n := s.Node.at("to")
	fail := func(problem string) (Route, bool) {
		b.fail(n, `as in "https://api.openai.com"`, "listen.routes: to: %s", problem)
		return Route{}, false
	}
	u, err := url.Parse(s.To)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fail("must be an https:// or http:// URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return fail("must name an origin only: scheme, host and port")
	}
	port := uint16(443)
	if u.Scheme == "http" {
		port = 80
	}
	host, port, err := policy.SplitAuthority(u.Host, port)
	if err != nil {
		return fail("must name a host")
	}
	return Route{Listen: s.Listen, To: s.To, Scheme: u.Scheme, Host: host, Port: port}, true
}

func (b *builder) checkClashes(all []bound) {
	for i, x := range all {
		for _, y := range all[:i] {
			if x.address.clashes(y.address) {
				b.fail(x.node, "", "listen.%s: has the address of listen.%s, at %s", x.key, y.key, y.node.seenFrom(x.node))
				break
			}
		}
	}
}

// prefix reads a CIDR, or reports why not.
func (b *builder) prefix(n *node, what, s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		hint := `as in "10.20.0.0/16"`
		if a, err := netip.ParseAddr(s); err == nil {
			hint = "for one address, write /" + strconv.Itoa(a.BitLen()) + " behind it"
		}
		b.fail(n, hint, "%s: must be a network in CIDR", what)
	case p.Masked() != p:
		b.fail(n, "did you mean "+strconv.Quote(p.Masked().String())+"?", "%s: has bits beyond its mask", what)
	case p.Addr().Is4In6():
		b.fail(n, "write it as IPv4", "%s: an IPv4 network in IPv6 notation matches nothing", what)
	default:
		return p, true
	}
	return p, false
}
