package preset

import "slices"

// Preset is one API, or several that share a key.
type Preset struct {
	Name    string // in the command line
	Title   string // for people
	Key     string // where a key is made, and with which rights
	Vars    [][2]string
	Secrets []Secret
	Rules   []Rule
	Tests   []Test
	Uses    []string // dependencies that show that a project uses it: "npm:stripe", "go:github.com/stripe/stripe-go"
	Note    string   // what to know besides; may be empty
	Known   string   // where its facts were looked up
}

// Secret is one that a preset needs.
type Secret struct {
	Name   string
	Prefix string   // how such keys begin; may be empty
	Env    []string // the variables in which SDKs look for it; they get a placeholder
}

// placeholder is what an SDK is given that insists on a key.
func (s Secret) placeholder() string { return s.Prefix + "placeholder" }

// Rule is one rule of a preset. Empty lists mean any.
type Rule struct {
	ID      string
	Hosts   []string
	Methods []string
	Paths   []string
	Query   string   // YAML
	Attach  string   // YAML; empty: nothing
	Strip   []string // headers with which clients present other credentials there
	Uses    []string // the secrets that Attach presents
	Tunnel  bool
	Deny    string // hint for the caller; not empty: a deny rule
}

// Test is a call and what must become of it.
type Test struct{ Call, Expect string }

// Find returns the preset of that name.
func Find(name string) (Preset, bool) {
	all := All()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return all[i], true
}

// Names are the names of all presets.
func Names() []string {
	var names []string
	for _, p := range All() {
		names = append(names, p.Name)
	}
	return names
}

// All are the presets in the order in which their rules stand in a configuration: what passes hosts on
// unopened comes last.
func All() []Preset {
	return slices.Concat(models(), code(), services(), observability(), packages())
}

// api is a preset of one host and one key, which attach presents.
func api(name, title, key, host, attach string, secret Secret, methods, paths []string) Preset {
	return Preset{
		Name: name, Title: title, Key: key, Secrets: []Secret{secret},
		Rules: []Rule{{ID: name, Hosts: []string{host}, Methods: methods, Paths: paths, Attach: attach, Uses: []string{secret.Name}}},
	}
}

// using adds how a project shows that it uses a preset.
func (p Preset) using(uses ...string) Preset { p.Uses = uses; return p }

// holding adds tests.
func (p Preset) holding(tests ...Test) Preset { p.Tests = tests; return p }

// known says where the facts were looked up, and what to know besides.
func (p Preset) known(where, note string) Preset { p.Known, p.Note = where, note; return p }

// stripping removes headers with which clients present other credentials.
func (p Preset) stripping(headers ...string) Preset {
	for i := range p.Rules {
		if p.Rules[i].Attach != "" {
			p.Rules[i].Strip = headers
		}
	}
	return p
}

// also adds rules after the others.
func (p Preset) also(rules ...Rule) Preset { p.Rules = append(p.Rules, rules...); return p }

// denying puts a deny rule before the others.
func (p Preset) denying(id string, hosts, paths []string, hint string) Preset {
	p.Rules = append([]Rule{{ID: id, Hosts: hosts, Paths: paths, Deny: hint}}, p.Rules...)
	return p
}

func list(items ...string) []string { return items }
