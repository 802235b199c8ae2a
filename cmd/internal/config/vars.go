package config

import (
	"slices"
	"strings"
)

// varPrefix begins the environment variables that fill ${name}.
const varPrefix = "ATTACHE_VAR_"

// variables fills ${name} in scalar values. Only declared names are known, so
// a file cannot fish in the environment.
type variables struct {
	declared map[string]*node // name → default
	names    []string
	getenv   func(string) (string, bool)
	report   *report
	missing  map[string]bool // reported already
}

// declare takes the vars: of all files. It runs before anything is decoded.
func declare(roots []*node, getenv func(string) (string, bool), r *report) *variables {
	v := &variables{declared: map[string]*node{}, getenv: getenv, report: r, missing: map[string]bool{}}
	keys := map[string]*node{}
	for _, root := range roots {
		for _, e := range root.at("vars").entries {
			if root.get("vars").value == nil {
				break
			}
			name := e.key.text
			switch first := keys[name]; {
			case !varName(name):
				r.fail(e.key, "names are letters, digits and _, not beginning with a digit", "vars: not the name of a variable")
			case first != nil:
				r.fail(e.key, "", "variable %q: declared twice, first at %s", name, first.seenFrom(e.key))
			case e.value.shape == null || e.value.shape == list || e.value.shape == dict:
				// Decoding says what is wrong with it.
				v.declared[name], keys[name] = e.value, e.key
			default:
				v.declared[name], keys[name] = e.value, e.key
			}
		}
	}
	for name := range keys {
		v.names = append(v.names, name)
	}
	slices.Sort(v.names)
	return v
}

func varName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// fill fills the variables of all scalar values below a file's root, but for
// vars: itself.
func (v *variables) fill(root *node) {
	for _, e := range root.entries {
		if e.key.text != "vars" {
			v.walk(e.value)
		}
	}
}

func (v *variables) walk(n *node) {
	for _, item := range n.items {
		v.walk(item)
	}
	for _, e := range n.entries {
		if strings.Contains(e.key.text, "${") {
			v.report.fail(e.key, "", "variables work in values, not in keys")
		}
		v.walk(e.value)
	}
	if n.shape == text && strings.Contains(n.text, "${") {
		n.text = v.expand(n)
	}
}

// expand replaces ${name} by its value and $${ by ${.
func (v *variables) expand(n *node) string {
	var b strings.Builder
	rest := n.text
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			return b.String()
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1])
			b.WriteString("${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		name, after, closed := strings.Cut(rest[i+2:], "}")
		if !closed || !varName(name) || !plainName(name) {
			v.report.fail(n, `a variable is "${name}"; a literal "${" is written "$${"`, "not a variable")
			return ""
		}
		b.WriteString(v.value(n, name))
		n.flexible = true
		rest = after
	}
}

// value is the value of one variable, used at n.
func (v *variables) value(n *node, name string) string {
	def := v.declared[name]
	if def == nil {
		hint := perhaps(name, v.names)
		if hint == "" {
			hint = "declare it under vars"
		}
		v.report.fail(n, hint, "variable %q: not declared", name)
		return ""
	}
	// Set but empty counts as unset: compose files pass on unset variables so.
	if s, ok := v.getenv(varPrefix + name); ok && s != "" {
		if strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			v.report.fail(n, "", "variable %q: %s%s holds a control character", name, varPrefix, name)
			return ""
		}
		return s
	}
	if def.text == "" {
		n.bad = true
		if !v.missing[name] {
			v.missing[name] = true
			v.report.fail(n, "set "+varPrefix+name+", or give it a default under vars", "variable %q: not set", name)
		}
	}
	return def.text
}

// values are the declared variables, as they are filled in.
func (v *variables) values() map[string]string {
	values := make(map[string]string, len(v.declared))
	for name, def := range v.declared {
		values[name] = def.text
		if s, ok := v.getenv(varPrefix + name); ok && s != "" {
			values[name] = s
		}
	}
	return values
}
