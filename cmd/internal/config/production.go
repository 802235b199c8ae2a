package config

import (
	"slices"
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/policy"
)

// notForProduction notes what check --production refuses.
func (b *builder) notForProduction(n *node, hint, format string, args ...any) {
	b.cfg.Production = append(b.cfg.Production, n.problem(hint, format, args...))
}

// checkProduction looks for what is meant for a developer's machine, or for a while.
func (b *builder) checkProduction() {
	for _, doc := range b.docs {
		b.unsafeKeys(doc.Node)
		b.localLayers(doc.Node)
	}
	if doc, n := b.the("unmatched"); doc.Unmatched != nil && doc.Unmatched.Until != nil {
		b.notForProduction(n.at("observe_until"), "name the hosts in rules", "unmatched.observe_until: lets calls pass to hosts that no rule names")
	}
	if _, n := b.the("audit"); b.cfg.Audit.File == "" {
		b.notForProduction(n.at("file"), `write to a file, or "-"`, "audit.file: nothing records who called what")
	}
	b.productionSecrets()
	b.productionRules()
}

// unsafeKeys finds every unsafe_ key that is switched on.
func (b *builder) unsafeKeys(n *node) {
	for _, e := range n.entries {
		if strings.HasPrefix(e.key.text, "unsafe_") && e.value.text == "true" {
			b.notForProduction(e.key, "", "%s: its name says why", e.key.text)
		}
		b.unsafeKeys(e.value)
	}
	for _, item := range n.items {
		b.unsafeKeys(item)
	}
}

// localLayers finds what comes from a file that is for one machine.
func (b *builder) localLayers(root *node) {
	told := map[string]bool{}
	tell := func(n *node) {
		if strings.Contains(n.file, "."+localLayer+".") && n.file != root.file && !told[n.file] {
			told[n.file] = true
			b.notForProduction(n, "", "%s is for one machine and not committed", n.file)
		}
	}
	for _, e := range root.entries {
		tell(e.key)
		for _, inner := range e.value.entries {
			tell(inner.key)
		}
		for _, item := range e.value.items {
			tell(item)
		}
	}
}

func (b *builder) productionSecrets() {
	known := map[secret.Ref]bool{b.cfg.AdminToken: b.cfg.AdminToken != ""}
	for _, c := range b.cfg.Callers {
		known[secret.Ref(c.Token)] = true
	}
	for _, s := range b.cfg.Secrets {
		n := b.secrets[s.Name]
		if why := unfit(s.Kind); why != "" {
			b.notForProduction(n, "read it from a file or a store", "secret %q: %s", s.Name, why)
		}
		if known[secret.Ref(s.Name)] && s.Optional {
			b.notForProduction(n, "", "secret %q: callers prove themselves by it, so it cannot be optional", s.Name)
		}
	}
}

// unfit says why a source is for development only, "" if it is not.
func unfit(kind string) string {
	switch kind {
	case "exec":
		return "runs a command, as whoever changes that command likes"
	case "mock":
		return "is made up"
	case "env":
		return "an environment variable cannot rotate, and other processes inherit it"
	}
	return ""
}

func (b *builder) productionRules() {
	intercepts := false
	for _, r := range b.cfg.Rules {
		n := b.ids[r.ID]
		if n == nil {
			continue
		}
		intercepts = intercepts || r.Action == policy.Allow
		presents := len(r.Attach) > 0 || r.Upstream.Client != ""
		if presents && len(r.Callers) == 0 {
			b.notForProduction(n, "name its callers", "rule %q: presents a credential for everyone the listener admits", r.ID)
		}
		if presents && r.Scrub == "off" {
			b.notForProduction(n, "leave scrub out", "rule %q: an answer that repeats its credential reaches the caller", r.ID)
		}
		if slices.ContainsFunc(r.Upstream.Allow, func(cidr string) bool { return strings.HasSuffix(cidr, "/0") }) {
			b.notForProduction(n, "name the networks", "rule %q: may reach every address, those of metadata services too", r.ID)
		}
	}
	if intercepts && b.cfg.CA.State == "" && b.cfg.CA.Cert == "" {
		_, n := b.the("ca")
		b.notForProduction(n, "give it a directory that callers cannot read", "ca.state: without it a restart makes a new CA, which running clients do not trust")
	}
}
