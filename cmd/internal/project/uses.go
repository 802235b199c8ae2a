package project

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
)

// Use is a secret that a configuration lets a command use without seeing it, and where.
type Use struct {
	What string   `json:"what"`           // "op read op://staging/stripe/key", "file keys/stripe", "env STRIPE_KEY"
	On   []string `json:"on"`             // host patterns, with what is special about the way there; empty: none
	Runs bool     `json:"runs,omitempty"` // What is a command that is run
}

// uses lists every secret, used or not: reading one may run a command.
func uses(p *Project) []Use {
	cfg := p.Config
	var all []Use
	for _, s := range cfg.Secrets {
		use := Use{What: p.where(s)}
		_, use.Runs = s.Source.(commander)
		for _, r := range cfg.Rules {
			if presents(r, secret.Ref(s.Name)) {
				use.On = append(use.On, p.destinations(r)...)
			}
		}
		if cfg.Egress.Via != "" && cfg.Egress.Password == secret.Ref(s.Name) {
			use.On = append(use.On, "the proxy "+cfg.Egress.Via)
		}
		slices.Sort(use.On)
		use.On = slices.Compact(use.On)
		all = append(all, use)
	}
	for _, r := range cfg.Rules {
		for _, c := range r.Attach {
			if _, fetched := c.Injector.(inject.Minter); fetched {
				all = append(all, Use{What: p.identity() + ", " + string(c.Injector.Secrets()[0]), On: p.destinations(r)})
			} else if len(c.Injector.Secrets()) == 0 {
				all = append(all, Use{What: "a credential of kind " + c.Kind, On: p.destinations(r)})
			}
		}
		if r.Upstream.SVID {
			all = append(all, Use{What: p.identity(), On: p.destinations(r)})
		}
	}
	return all
}

// identity names who the proxy would be.
func (p *Project) identity() string {
	f := p.Config.Identity.Files
	if path := cmp.Or(f.PEM, f.Cert, f.Dir); path != "" {
		return "the SVID in " + p.told(path)
	}
	return "this machine's own SPIFFE identity"
}

// presents reports whether a rule presents a secret upstream.
func presents(r config.Rule, name secret.Ref) bool {
	if r.Upstream.Client == name {
		return true
	}
	return slices.ContainsFunc(r.Attach, func(c config.Credential) bool { return slices.Contains(c.Injector.Secrets(), name) })
}

// destinations are a rule's hosts, with what leads elsewhere than their names say.
func (p *Project) destinations(r config.Rule) []string {
	var special []string
	if r.Upstream.ConnectTo != "" {
		special = append(special, "dialled at "+r.Upstream.ConnectTo)
	}
	if r.Upstream.ServerName != "" {
		special = append(special, "as "+r.Upstream.ServerName)
	}
	if r.Upstream.CA != "" {
		special = append(special, "trusted by "+p.short(r.Upstream.CA))
	}
	if r.AllowPlaintext {
		special = append(special, "in clear")
	}
	if r.Scrub != "all" {
		special = append(special, "scrub "+r.Scrub)
	}
	way := ""
	if len(special) > 0 {
		way = " (" + strings.Join(special, ", ") + ")"
	}
	var all []string
	for _, h := range r.Hosts {
		all = append(all, h+way)
	}
	return all
}

// commander is a source that runs a command.
type commander interface {
	Command() []string
}

// where tells what a secret is read from, in full.
func (p *Project) where(s config.Secret) string {
	if c, ok := s.Source.(commander); ok {
		var words []string
		for _, w := range c.Command() {
			words = append(words, quoted(w))
		}
		return strings.Join(words, " ")
	}
	what := s.Source.Describe()
	for _, path := range s.Source.Paths() {
		what += " " + p.told(path)
	}
	return what
}

// quoted is a word of a command as a shell would need it.
func quoted(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(c rune) bool {
		return c <= ' ' || strings.ContainsRune("'\"\\$`|&;<>()*?[]#~!{}", c)
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// also lists what the configuration does beside presenting secrets: what it has Attaché write, what it sets for a command,
// and where it sends calls that no rule names.
func also(p *Project) []string {
	cfg := p.Config
	var all []string
	for _, w := range [][2]string{
		{"the audit log", strings.TrimPrefix(cfg.Audit.File, "-")}, {"the CA's certificates", cfg.CA.Publish}, {"the CA's key", cfg.CA.State},
	} {
		if w[1] != "" {
			all = append(all, "It would write "+w[0]+" to "+p.told(w[1]))
		}
	}
	set := map[string]bool{}
	for _, r := range cfg.Rules {
		for name := range r.ClientEnv {
			set[name] = true
		}
	}
	if len(set) > 0 {
		all = append(all, "It would set "+strings.Join(slices.Sorted(maps.Keys(set)), ", "))
	}
	if cfg.Gateway.Address != "" {
		all = append(all, "It would send what no rule names to "+cfg.Gateway.Address)
	}
	if cfg.Egress.Via != "" {
		all = append(all, "It would send all calls by the proxy "+cfg.Egress.Via)
	}
	return all
}
