package config

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/proxy/policy"
)

// ruled is a rule of the files, beside what was built of it.
type ruled struct {
	spec  *ruleSpec
	at    *trail
	rule  *Rule
	known bool // the node is sound enough for checks between its keys
}

// String names the rule in messages.
func (r *ruled) String() string {
	if plainName(r.spec.ID) {
		return fmt.Sprintf("rule %q", r.spec.ID)
	}
	return r.at.String()
}

// buildRules builds the rules of all files, in order, and the policy.
func (b *builder) buildRules() {
	var all []ruled
	for _, doc := range b.docs {
		at := (&trail{}).to("rules")
		for i, s := range doc.Rules {
			if s == nil || s.Node == nil || s.Node.shape != dict {
				continue
			}
			all = append(all, ruled{spec: s, at: at.element(i), known: !s.Node.faulty()})
		}
	}
	b.cfg.Rules = make([]Rule, len(all))
	specs := make([]policy.Spec, len(all))
	for i := range all {
		r := &all[i]
		r.rule = &b.cfg.Rules[i]
		b.buildRule(r)
		specs[i] = r.rule.Spec
	}
	if len(all) == 0 && len(b.errors) == 0 && !b.cfg.passesOn() {
		b.warn(b.docs[0].Node, "", "there are no rules: every call is refused")
	}
	p, faults := policy.New(specs)
	for _, f := range faults {
		b.fault(f, all)
	}
	if b.cfg.Policy = p; len(faults) > 0 {
		return
	}
	for _, s := range p.Unreachable() {
		rule, by := all[s.Rule].spec, all[s.By].spec
		b.warn(rule.Node, "", "rule %q is never reached: %q (%s) already takes every such request", rule.ID, by.ID, seen(by.Node, rule.Node))
	}
}

// seen is a short place: the line, and the file if it is another.
func seen(n, from *node) string {
	if n.file == from.file {
		return "line " + strconv.Itoa(n.line)
	}
	return n.where()
}

// fault maps what the policy refuses to its place, unless decoding has said
// what is wrong there.
func (b *builder) fault(f *policy.SpecError, all []ruled) {
	if f.Rule < 0 || f.Rule >= len(all) {
		return
	}
	r := all[f.Rule]
	n, at := r.spec.Node, r.at.to(f.Field)
	if e := n.get(f.Field); e.value != nil {
		n = e.value.element(f.Index)
		if e.value.shape == list && f.Index >= 0 {
			at = at.element(f.Index)
		}
	}
	if !n.faulty() {
		b.fail(n, f.Hint, "%s: %s", at, f.Problem)
	}
}

// buildRule builds one rule and checks what only the configuration knows of it.
func (b *builder) buildRule(r *ruled) {
	s, n := r.spec, r.spec.Node
	*r.rule = Rule{
		Spec: policy.Spec{
			ID: s.ID, Owner: s.Owner, Pos: n.where(),
			Hosts: s.Hosts, Methods: s.Methods, Paths: s.Paths, Query: s.Query, Callers: s.Callers,
		},
		Strip: s.Strip, Pass: s.Pass, AllowPlaintext: s.AllowPlaintext, Limits: b.cfg.Limits,
	}
	r.rule.NoRetry401 = s.Retry401 != nil && !*s.Retry401
	s.Limits.apply(&r.rule.Limits)
	r.rule.Scrub = "all"
	if s.Scrub != nil {
		r.rule.Scrub = s.Scrub.extent
	}
	switch {
	case s.Deny.set():
		r.rule.Action, r.rule.Hint = policy.Deny, s.Deny.hint
	case s.Tunnel:
		r.rule.Action = policy.Tunnel
	}
	b.ruleID(r)
	for i, name := range s.Callers {
		if at := n.at("callers").element(i); b.callers[name] == nil && !at.faulty() {
			b.undefined(at, "caller", name, b.callers)
		}
	}
	if s.Attach != nil {
		b.attach(r)
	}
	b.headers(r)
	b.upgrades(r)
	b.upstream(r)
	b.clientEnv(r)
	if len(s.Callers) == 0 && (len(r.rule.Attach) > 0 || r.rule.Upstream.Client != "" || r.rule.Upstream.SVID) {
		b.warn(n, "name its callers for serve; run admits its own command alone", "%s: presents a credential for everyone the listener admits", r)
	}
	if r.known {
		b.checkAction(r)
		b.checkPlaintext(r)
		b.checkVia(r)
	}
}

// ruleID checks a rule's id and claims it.
func (b *builder) ruleID(r *ruled) {
	e := r.spec.Node.get("id")
	if e.value == nil || e.value.bad {
		return
	}
	id := r.spec.ID
	switch first := b.ids[id]; {
	case !validName(id):
		b.fail(e.value, nameHint, "%s: not an id", r)
	case slices.Contains(outcomes(), id):
		b.fail(e.value, "", "rule %q: the word has a meaning in tests", id)
	case first != nil:
		b.fail(e.value, "", "rule %q: defined twice, first at %s", id, first.seenFrom(e.value))
	default:
		b.ids[id] = e.value
	}
}

// attach resolves what a rule attaches.
func (b *builder) attach(r *ruled) {
	for _, item := range r.spec.Attach.items {
		var c Credential
		switch {
		case item.kind.kind != nil:
			c = Credential{Name: r.spec.ID, Kind: item.kind.kind.name, Key: canonical(item.node), Injector: b.injector(item.kind)}
			if n := len(r.rule.Attach); n > 0 {
				c.Name += "." + string(rune('1'+min(n, 8)))
			}
		case item.name == "":
			if !item.node.faulty() {
				b.fail(item.node, "", "%s.attach: must name a credential", r.at)
			}
			continue
		default:
			b.used[item.name] = true
			if b.credentials[item.name] == nil {
				b.noCredential(item)
				continue
			}
			c = b.named[item.name]
		}
		if _, fetched := c.Injector.(inject.Minter); fetched {
			b.needIdentity(item.node)
			b.tokens = append(b.tokens, item.node)
		}
		if c.Injector != nil {
			b.checkOwned(r, c, item.node)
			r.rule.Attach = append(r.rule.Attach, c)
		}
	}
}

// noCredential reports an attach that names none; naming the secret itself is
// the mistake that most people make once.
func (b *builder) noCredential(item attachment) {
	if b.secrets[item.name] != nil && plainName(item.name) {
		b.fail(item.node, "say how it is presented, as in {bearer: "+item.name+"}", "credential %q: not defined, but a secret is", item.name)
		return
	}
	b.undefined(item.node, "credential", item.name, b.credentials)
}

// checkOwned refuses two credentials in one place, and one that the rule
// leaves to the client.
func (b *builder) checkOwned(r *ruled, c Credential, at *node) {
	owned := c.Injector.Owns()
	for _, other := range r.rule.Attach {
		o := other.Injector.Owns()
		for _, h := range owned.Headers {
			if slices.ContainsFunc(o.Headers, func(x string) bool { return sameHeader(x) == sameHeader(h) }) {
				b.fail(at, "", "%s: two of its credentials set the header %s", r, h)
			}
		}
		for _, q := range owned.Query {
			if slices.Contains(o.Query, q) {
				b.fail(at, "", "%s: two of its credentials set the query parameter %s", r, q)
			}
		}
		for _, k := range owned.Cookies {
			if slices.Contains(o.Cookies, k) {
				b.fail(at, "", "%s: two of its credentials set the cookie %s", r, k)
			}
		}
	}
	for i, p := range r.spec.Pass {
		if slices.ContainsFunc(owned.Headers, func(h string) bool { return sameHeader(h) == sameHeader(p) }) {
			b.fail(r.spec.Node.at("pass").element(i), "", "%s: passes the header that its own credential sets", r)
		}
	}
}
