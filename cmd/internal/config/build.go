package config

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

// builder checks across the files and builds the specs.
type builder struct {
	*decoder
	docs []*document
	env  Env
	cfg  *Config

	callers     map[string]*node // names → where they are defined
	secrets     map[string]*node
	credentials map[string]*node
	ids         map[string]*node

	bound  []bound               // listeners
	needs  []*node               // that need the proxy to have an identity
	tokens []*node               // that need it to give tokens
	named  map[string]Credential // built, by name
	used   map[string]bool       // named credentials that a rule attaches

	placeholders map[string]placeholder // of client_env, by variable
}

func newBuilder(d *decoder, docs []*document, env Env) *builder {
	return &builder{
		decoder: d, docs: docs, env: env, cfg: &Config{},
		callers: map[string]*node{}, secrets: map[string]*node{}, credentials: map[string]*node{}, ids: map[string]*node{},
		named: map[string]Credential{}, used: map[string]bool{},
		placeholders: map[string]placeholder{},
	}
}

// incomplete reports whether a file could not be parsed.
func (b *builder) incomplete(files []file, roots []*node) bool {
	for _, f := range files {
		parsed := slices.ContainsFunc(roots, func(n *node) bool { return n.file == f.name })
		if !parsed && slices.ContainsFunc(b.errors, func(p Problem) bool { return p.File == f.name }) {
			return true
		}
	}
	return false
}

// singletons holds what is one thing to one place over all files.
func (b *builder) singletons() {
	for _, key := range []string{"listen", "identity", "ca", "unmatched", "clients", "gateway", "egress", "limits", "audit"} {
		var first *node
		for _, doc := range b.docs {
			switch e := doc.Node.get(key); {
			case e.key == nil:
			case first == nil:
				first = e.key
			default:
				b.fail(e.key, "", "%s: may stand in one file only; it is at %s", key, first.seenFrom(e.key))
			}
		}
	}
}

// the returns the document that has the singleton, and its node; or an empty
// document and the place where it could be.
func (b *builder) the(key string) (*document, *node) {
	for _, doc := range b.docs {
		if e := doc.Node.get(key); e.value != nil {
			return doc, e.value
		}
	}
	return &document{}, b.docs[0].Node
}

// build makes the Config. What it returns is to be used only if no error has
// been reported.
func (b *builder) build() *Config {
	b.buildSecrets()
	b.buildCallers()
	b.buildCredentials()
	b.buildListen()
	b.buildCA()
	b.buildLimits()
	b.buildAudit()
	b.buildEgress()
	b.buildGateway()
	b.buildUnmatched()
	b.buildClients()
	b.buildRules()
	b.checkDirect()
	b.buildTests()
	b.buildIdentity()
	b.checkRefs()
	b.checkOpen()
	b.checkProduction()
	return b.cfg
}

// define claims a name for a thing. It reports whether it could.
func (b *builder) define(names map[string]*node, noun string, key *node) bool {
	name := key.text
	if first := names[name]; first != nil {
		b.fail(key, "", "%s %q: defined twice, first at %s", noun, name, first.seenFrom(key))
		return false
	}
	names[name] = key
	switch {
	case validName(name):
	case plainName(name):
		b.fail(key, nameHint, "%s %q: not a name", noun, name)
	default:
		b.fail(key, nameHint, "%s: not a name", noun)
	}
	return true
}

// defined returns names for suggestions.
func defined(names map[string]*node) []string { return slices.Sorted(maps.Keys(names)) }

// undefined reports a name that stands for nothing.
func (b *builder) undefined(n *node, noun, name string, names map[string]*node) {
	hint := perhaps(name, defined(names))
	if !plainName(name) {
		// Whoever pastes a key where its name belongs must not find it in a log.
		b.fail(n, cmp.Or(hint, "define it, and write its name here"), "not the name of a %s", noun)
		return
	}
	if hint == "" && len(names) == 0 {
		hint = "there are none"
	}
	b.fail(n, hint, "%s %q: not defined", noun, name)
}

func (b *builder) buildSecrets() {
	for _, doc := range b.docs {
		for _, e := range section(doc, "secrets") {
			s := doc.Secrets[e.key.text]
			if !b.define(b.secrets, "secret", e.key) || s == nil {
				continue
			}
			if e.key.text == "svid" {
				b.fail(e.key, "", `secret "svid": the name is reserved`)
			}
			out := Secret{
				Name: e.key.text, Field: s.Field, Optional: s.Optional, Owner: s.Owner,
				Key: canonical(s.Node), Pos: e.key.where(),
			}
			out.Revoke, out.Deny = s.OnDeleted == "revoke", s.OnInvalid == "deny"
			set(&out.Poll, s.Poll)
			set(&out.MaxStale, s.MaxStale)
			if s.Expect != nil {
				out.Expect, out.Pattern = s.Expect.kind, s.Expect.pattern
			}
			if s.Kind.kind != nil {
				out.Kind = s.Kind.kind.name
				out.Source = b.source(s.Kind, source.Env{
					Getenv: b.env.Getenv, Dir: b.env.Dir, MayRun: b.env.MayRun, Repository: b.env.repository,
				})
			}
			b.cfg.Secrets = append(b.cfg.Secrets, out)
		}
	}
}

// section returns the entries of a map at the top of a file.
func section(doc *document, key string) []entry {
	if e := doc.Node.get(key); e.value != nil {
		return e.value.entries
	}
	return nil
}

func (b *builder) buildCredentials() {
	for _, doc := range b.docs {
		for _, e := range section(doc, "credentials") {
			c := doc.Credentials[e.key.text]
			if !b.define(b.credentials, "credential", e.key) || c == nil || c.Kind.kind == nil {
				continue
			}
			out := Credential{Name: e.key.text, Kind: c.Kind.kind.name, Key: canonical(c.Node)}
			if out.Injector = b.injector(c.Kind); out.Injector == nil {
				continue
			}
			b.named[out.Name] = out
			b.cfg.Credentials = append(b.cfg.Credentials, out)
		}
	}
}

// checkRefs holds every place that names a secret to the secrets there are,
// and the other way round.
func (b *builder) checkRefs() {
	used := map[secret.Ref]bool{}
	for _, ref := range b.refs {
		used[ref.name] = true
		if b.secrets[string(ref.name)] == nil {
			b.undefined(ref.node, "secret", string(ref.name), b.secrets)
		}
	}
	for _, s := range b.cfg.Secrets {
		if !used[secret.Ref(s.Name)] {
			b.warn(b.secrets[s.Name], "", "secret %q: not used", s.Name)
		}
	}
	for _, c := range b.cfg.Credentials {
		if !b.used[c.Name] {
			b.warn(b.credentials[c.Name], "", "credential %q: not used", c.Name)
		}
	}
}

func (b *builder) buildAudit() {
	doc, _ := b.the("audit")
	a := doc.Audit
	b.cfg.Audit = Audit{File: "-", Refuse: a.OnFull == "refuse", Paths: a.Paths}
	switch a.File {
	case "":
	case none:
		b.cfg.Audit.File = ""
	default:
		b.cfg.Audit.File = b.path(a.File)
	}
}

// path makes a relative path start where the configuration's do.
func (b *builder) path(path string) string {
	if path == "" || path == "-" || b.env.Dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(b.env.Dir, path)
}

func (b *builder) buildUnmatched() {
	doc, n := b.the("unmatched")
	if doc.Unmatched == nil || doc.Unmatched.Until == nil {
		return
	}
	until := time.Time(*doc.Unmatched.Until)
	b.cfg.ObserveUntil = until
	if n := n.at("observe_until"); !until.After(b.env.Now()) {
		b.warn(n, "take it out", "unmatched.observe_until: has passed; unmatched hosts are refused")
	} else if b.cfg.passesOn() {
		b.fail(n, "", "unmatched.observe_until: does nothing beside gateway, which decides on hosts that no rule names")
	} else if b.cfg.Egress.Via != "" {
		// Nobody judges the addresses of what the other proxy resolves (promise 11).
		b.fail(n, "", "unmatched.observe_until: behind egress.via only hosts that rules name are allowed")
	}
}
