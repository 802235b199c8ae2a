package proxy

import (
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/inject"
)

// ClientCredentials are the headers in which clients send credentials of
// their own. A rule that attaches removes them, unless its pass: names them.
func ClientCredentials() []string {
	return []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "Private-Token"}
}

// neverForwarded are headers that claim what only we could know, or that speak
// to us; so are all that begin with a prefix of neverForwardedPrefix.
func neverForwarded() []string {
	return []string{"Forwarded", "X-Real-Ip", "Http2-Settings", "Host"}
}

const (
	prefixForwarded = "X-Forwarded-"
	prefixSPIFFE    = "X-Spiffe-"
	prefixProxy     = "Proxy-"
)

// methodOverrides are headers that some frameworks take for the method.
func methodOverrides() []string {
	return []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}
}

// removal is what a rule removes from a request, made once per configuration.
type removal struct {
	headers map[string]struct{} // canonical, "-" for "_"
	query   []string
	cookies []string
	method  bool // the "_method" parameter, which some frameworks take for the method
}

// pathOverrides are headers that some frameworks take for the path.
func pathOverrides() []string { return []string{"X-Original-Url", "X-Rewrite-Url"} }

// compile works out what the rule removes. methods and paths say that those of
// its hosts are restricted, by it or by a rule before it.
func (r *Rule) compile(methods, paths bool) {
	m := removal{headers: map[string]struct{}{}}
	add := func(names ...string) {
		for _, n := range names {
			m.headers[canonical(n)] = struct{}{}
		}
	}
	if len(r.Attach) > 0 {
		add(ClientCredentials()...)
	}
	add(r.Strip...)
	for _, n := range r.Pass {
		delete(m.headers, canonical(n))
	}
	for _, c := range r.Attach {
		o := c.Injector.Owns()
		add(o.Headers...)
		m.query = append(m.query, o.Query...)
		m.cookies = append(m.cookies, o.Cookies...)
	}
	if paths {
		add(pathOverrides()...)
	}
	if methods {
		add(methodOverrides()...)
		m.method = true
	}
	add(neverForwarded()...)
	r.removal = m
	r.Attach = signersLast(r.Attach)
}

// signersLast puts what signs the request behind what it signs.
func signersLast(attach []Credential) []Credential {
	signs := func(c Credential) int {
		if _, ok := c.Injector.(inject.Signer); ok {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(attach), func(a, b Credential) int { return signs(a) - signs(b) })
}

// canonical is the spelling under which header names are compared: servers
// fold case, and many take "_" for "-".
func canonical(name string) string {
	return textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// removes reports whether a request header or trailer, as net/http spells it, is removed. A
// nil Rule removes what is never forwarded.
func (r *Rule) removes(name string) bool {
	if strings.IndexByte(name, '_') >= 0 {
		name = canonical(name)
		if name == "Content-Length" || name == "Transfer-Encoding" {
			return true // HTTP/2 lets it in; an upstream that takes "_" for "-" would be smuggled to
		}
	}
	if r != nil {
		if _, ok := r.removal.headers[name]; ok {
			return true
		}
	}
	switch name {
	case "Forwarded", "X-Real-Ip", "Http2-Settings", "Host":
		return true
	}
	return strings.HasPrefix(name, prefixForwarded) || strings.HasPrefix(name, prefixSPIFFE) || strings.HasPrefix(name, prefixProxy)
}

// strip removes from out what the client may not set: promise 3.
func (x *exchange) strip(out *http.Request) {
	for name := range out.Header {
		if x.rule.removes(name) {
			delete(out.Header, name)
		}
	}
	if x.rule != nil && len(x.rule.removal.cookies) > 0 {
		inject.StripCookies(out.Header, x.rule.removal.cookies)
	}
}

// stripQuery removes the query parameters that the rule owns, keeping order
// and bytes of the others. An error says that the query cannot be parsed and
// that it matters.
func (x *exchange) stripQuery() (err error) {
	x.query = x.in.URL.RawQuery
	if x.rule == nil || x.query == "" {
		return nil
	}
	m := &x.rule.removal
	if len(m.query) > 0 {
		if x.query, err = inject.StripQuery(x.query, m.query); err != nil {
			return err
		}
	}
	if m.method && mentions(x.query, "_method") {
		x.query, err = inject.StripQuery(x.query, []string{"_method"})
	}
	return err
}

// mentions reports whether word stands in a query, valid escapes decoded and
// faulty ones left.
func mentions(query, word string) bool {
	var b strings.Builder
	for i := 0; i < len(query); i++ {
		if query[i] == '%' && i+2 < len(query) && hexDigit(query[i+1]) >= 0 && hexDigit(query[i+2]) >= 0 {
			b.WriteByte(byte(hexDigit(query[i+1])<<4 | hexDigit(query[i+2])))
			i += 2
			continue
		}
		b.WriteByte(query[i])
	}
	return strings.Contains(b.String(), word)
}

// carriesCredential reports whether a client sends a credential of its own.
func carriesCredential(h http.Header) bool {
	for name := range h {
		if strings.IndexByte(name, '_') >= 0 {
			name = canonical(name)
		}
		switch name {
		case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "Private-Token":
			return true
		}
	}
	return false
}

// compile works out once what requests would otherwise work out each time.
func (s *Snapshot) compile() {
	rules := s.Policy.Rules()
	for i := range s.Rules {
		var methods, paths bool
		for j := range rules[:i+1] {
			if overlap(rules[i].Hosts, rules[j].Hosts) {
				methods = methods || len(rules[j].Methods) > 0
				paths = paths || len(rules[j].Paths) > 0
			}
		}
		s.Rules[i].compile(methods, paths)
	}
}

// overlap reports whether some host may match a pattern of both lists. It may
// err towards yes.
func overlap(a, b []string) bool {
	for _, p := range a {
		for _, q := range b {
			p, q := patternBase(p), patternBase(q)
			if p == q || strings.HasSuffix(p, "."+q) || strings.HasSuffix(q, "."+p) {
				return true
			}
		}
	}
	return false
}

// patternBase is the name that a host pattern ends in.
func patternBase(p string) string {
	p = strings.TrimPrefix(strings.ToLower(p), "http://")
	p = strings.TrimLeft(p, "*.")
	if host, _, err := net.SplitHostPort(p); err == nil {
		return host
	}
	return strings.TrimSuffix(p, ".")
}
