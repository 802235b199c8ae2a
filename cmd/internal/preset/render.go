package preset

import (
	"fmt"
	"slices"
	"strings"
)

// Options say for what a configuration is made. The zero value is for attache run on a developer's
// machine.
type Options struct {
	Project string // names the directory of its secrets; empty: app
	Source  string // where secrets are kept, of [Sources]; empty: file
	Serve   bool   // for attache serve: callers are named, and the CA is kept
	UID     int    // of the application, with Serve
}

// Sources are the places in which a configuration can have its secrets looked for.
func Sources() []string {
	return []string{"file", "env", "op", "pass", "keychain", "secret-tool", "mock"}
}

// Place is where one secret is looked for.
type Place struct {
	Secret string
	Key    string // where a key is made
	YAML   string // the source
	Put    string // the command that puts it there, or what else to do
}

// caller is the name of the application in a configuration for attache serve.
const caller = "app"

// Places tells where the secrets of presets are looked for.
func (o Options) Places(presets []Preset) []Place {
	var all []Place
	for _, p := range presets {
		for _, s := range p.Secrets {
			if !slices.ContainsFunc(all, func(x Place) bool { return x.Secret == s.Name }) {
				all = append(all, o.place(p, s))
			}
		}
	}
	return all
}

// Dir is where secrets are kept that are files.
func (o Options) Dir() string {
	if o.Serve {
		return "/run/secrets"
	}
	return "~/.config/attache/" + o.project()
}

func (o Options) project() string {
	if o.Project == "" {
		return caller
	}
	return o.Project
}

func (o Options) place(p Preset, s Secret) Place {
	at := Place{Secret: s.Name, Key: p.Key}
	item := o.project() + "/" + s.Name
	switch o.Source {
	case "env":
		name := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
		if len(s.Env) > 0 {
			name = s.Env[0]
		}
		at.YAML, at.Put = "{env: "+name+"}", "export "+name+", for Attaché only"
	case "op":
		at.YAML = fmt.Sprintf("{exec: [op, read, \"op://Private/%s/credential\"]}", s.Name)
		at.Put = fmt.Sprintf("op item create --category 'API Credential' --vault Private --title %s credential=…", s.Name)
	case "pass":
		at.YAML, at.Put = fmt.Sprintf("{exec: [pass, show, %s]}", item), "pass insert "+item
	case "keychain":
		at.YAML = fmt.Sprintf("{exec: [security, find-generic-password, -w, -s, %s]}", item)
		at.Put = fmt.Sprintf("security add-generic-password -a \"$USER\" -s %s -w", item)
	case "secret-tool":
		at.YAML = fmt.Sprintf("{exec: [secret-tool, lookup, attache, %s]}", item)
		at.Put = fmt.Sprintf("secret-tool store --label=%s attache %s", item, item)
	case "mock":
		at.YAML, at.Put = fmt.Sprintf("{mock: %q}", s.Prefix), "nothing: it is made up"
	default:
		path := o.Dir() + "/" + s.Name
		at.YAML, at.Put = "{file: "+path+"}", "cat > "+path
		if o.Serve {
			at.Put = "mount it as " + path
		}
	}
	return at
}

// Render is a configuration of presets.
func (o Options) Render(presets []Preset) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# What this project may call, and with whose key. The keys stand elsewhere.")
	line("# attache check tells whether it is sound; attache explain what becomes of a call.")
	line("version: 1")
	o.head(presets, line)
	if places := o.Places(presets); len(places) > 0 {
		line("")
		line("secrets:")
		last := ""
		for _, at := range places {
			if at.Key != last {
				line("  # %s", at.Key)
				last = at.Key
			}
			line("  %s: %s", at.Secret, at.YAML)
		}
	}
	line("")
	line("rules:")
	given := map[string]bool{}
	for _, p := range presets {
		line("  # %s", p.Title)
		if p.Note != "" {
			line("  # %s", p.Note)
		}
		for _, r := range p.Rules {
			o.rule(p, r, given, line)
		}
	}
	line("")
	line("tests:")
	for _, p := range presets {
		for _, t := range p.Tests {
			as := ""
			if o.Serve && o.callers(p, t) {
				as = ", caller: " + caller
			}
			line("  - {call: %s%s, expect: %s}", quote(t.Call), as, t.Expect)
		}
	}
	return b.String()
}

// head writes what stands before the secrets.
func (o Options) head(presets []Preset, line func(string, ...any)) {
	var vars []string
	for _, p := range presets {
		for _, v := range p.Vars {
			vars = append(vars, v[0]+": "+v[1])
		}
	}
	if len(vars) > 0 {
		line("vars: {%s}", strings.Join(vars, ", "))
	}
	if o.Serve {
		line("")
		line("ca: {publish: /run/attache/trust, state: /run/attache/ca}")
		line("callers:")
		line("  %s: {uid: %d} # the user that the application runs as", caller, o.UID)
	}
}

// rule writes one rule. The first that presents a secret gives its variables their placeholders.
func (o Options) rule(p Preset, r Rule, given map[string]bool, line func(string, ...any)) {
	line("  - id: %s", r.ID)
	field := func(key string, values []string) {
		if len(values) > 0 {
			line("    %s: %s", key, sequence(values))
		}
	}
	field("hosts", r.Hosts)
	field("methods", r.Methods)
	field("paths", r.Paths)
	if r.Query != "" {
		line("    query: %s", r.Query)
	}
	switch {
	case r.Deny != "":
		line("    deny: %q", r.Deny)
		return
	case r.Tunnel:
		line("    tunnel: true")
	}
	if o.Serve {
		line("    callers: %s", caller)
	}
	if r.Attach != "" {
		line("    attach: %s", r.Attach)
	}
	field("strip", r.Strip)
	var env []string
	for _, s := range p.Secrets {
		if !slices.Contains(r.Uses, s.Name) || given[s.Name] {
			continue
		}
		given[s.Name] = true
		for _, name := range s.Env {
			env = append(env, name+": "+s.placeholder())
		}
	}
	if len(env) > 0 {
		line("    client_env: {%s}", strings.Join(env, ", "))
	}
}

// callers reports whether the rule that a test expects asks for callers; a refusal's does not matter.
func (o Options) callers(p Preset, t Test) bool {
	return !slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.ID == t.Expect && r.Deny != "" })
}

// sequence is a list, or the one element of it, in YAML.
func sequence(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quote quotes what YAML would read otherwise.
func quote(s string) string {
	if strings.HasPrefix(s, "*") || strings.ContainsAny(s, "{}[],#&?\"'") || strings.Contains(s, ": ") || strings.Contains(s, "$") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
