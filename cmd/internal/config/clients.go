package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/proxy/policy"
)

// buildClients takes what run and env tell clients.
func (b *builder) buildClients() {
	doc, n := b.the("clients")
	for i, entry := range doc.Clients.NoProxy {
		at := n.at("no_proxy").element(i)
		switch {
		case at.faulty():
		case entry == "" || strings.ContainsFunc(entry, func(c rune) bool { return c <= ' ' || c == ',' || c == ';' || c > '~' }):
			b.fail(at, `as in ".svc" or "10.0.0.0/8"`, "clients.no_proxy: not a name, an address or a network")
		case strings.Trim(entry, "*.") == "":
			b.fail(at, "", "clients.no_proxy: would keep clients from using Attaché at all")
		default:
			b.cfg.NoProxy = append(b.cfg.NoProxy, entry)
		}
	}
}

// checkDirect warns of hosts that clients would call directly, past the rules that name them.
func (b *builder) checkDirect() {
	doc, n := b.the("clients")
	for i, entry := range doc.Clients.NoProxy {
		at := n.at("no_proxy").element(i)
		suffix := "." + strings.ToLower(strings.TrimLeft(entry, "*."))
		for _, r := range b.cfg.Rules {
			if r.Action == policy.Deny || at.faulty() || !slices.ContainsFunc(r.Hosts, func(h string) bool { return hasSuffix(h, suffix) }) {
				continue
			}
			b.warn(at, "take one of them out", "clients.no_proxy: clients call hosts of rule %q directly, past the rule", r.ID)
			break
		}
	}
}

// hasSuffix reports whether a host pattern lies at or below a domain, given with its dot.
func hasSuffix(pattern, suffix string) bool {
	h := strings.TrimPrefix(strings.ToLower(pattern), "http://")
	if i := strings.LastIndexByte(h, ':'); i >= 0 && !strings.HasSuffix(h, "]") {
		h = h[:i]
	}
	return strings.HasSuffix("."+strings.TrimLeft(h, "*."), suffix)
}

// placeholder is what client_env gives for one variable.
type placeholder struct {
	text string
	at   *node
}

// clientEnv checks the placeholders of one rule. Messages name no variable: the place does, and who
// mistakes the one side of the map for the other must not find a key in a log.
func (b *builder) clientEnv(r *ruled) {
	given := r.spec.ClientEnv
	e := r.spec.Node.get("client_env")
	if len(given) == 0 || e.value == nil {
		return
	}
	if r.known && r.rule.Action == policy.Allow && len(r.rule.Attach) == 0 && r.rule.Upstream.Client == "" {
		b.warn(e.key, "attach a credential, or take client_env out", "%s: attaches nothing, so placeholders of client_env would go upstream", r)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		at, text := e.value.at(name), given[name]
		first, twice := b.placeholders[name]
		switch {
		case at.faulty():
		case !varName(name):
			b.fail(at, "", "%s.client_env: not the name of a variable", r.at)
		case steers(name):
			b.fail(at, "a placeholder stands for a key", "%s.client_env: the variable decides what programs run, or how they connect", r.at)
		case strings.ContainsAny(text, "\x00\r\n"):
			b.fail(at, "", "%s.client_env: a placeholder is one line of text", r.at)
		case twice && first.text != text:
			b.fail(at, "", "%s.client_env: the variable has another placeholder at %s", r.at, first.at.seenFrom(at))
		case !twice:
			b.placeholders[name] = placeholder{text, at}
		}
	}
	r.rule.ClientEnv = given
}

// steers reports variables that would make more of a placeholder than text: a repository's
// configuration, once allowed for its hosts, could run code by them or lead calls elsewhere.
func steers(name string) bool {
	name = strings.ToUpper(name)
	for _, prefix := range []string{"LD_", "DYLD_", "GIT_", "ATTACHE_", "SSL_", "CURL_", "NPM_CONFIG_", "PIP_", "CARGO_"} {
		if strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, "_TOKEN") && !strings.HasSuffix(name, "_KEY") {
			return true
		}
	}
	switch name {
	case "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "PROMPT_COMMAND", "EDITOR", "VISUAL", "PAGER", "BROWSER",
		"NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PERL5OPT", "PERL5LIB",
		"RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE":
		return true
	}
	return false
}
