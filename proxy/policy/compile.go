package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// compiler turns one Spec into a rule and gathers its faults.
type compiler struct {
	index  int
	faults []*SpecError
}

// fault is what is wrong with a text, and what to write instead.
type fault struct{ problem, hint string }

func (c *compiler) add(field string, index int, problem, hint string) {
	c.faults = append(c.faults, &SpecError{Rule: c.index, Field: field, Index: index, Problem: problem, Hint: hint})
}

func (c *compiler) compile(s *Spec, r *rule) {
	if s.ID == "" {
		c.add("id", -1, "missing", "give the rule a name: logs, metrics and refusals use it")
	}
	if s.Action > Tunnel {
		c.add("action", -1, "unknown action", "")
	}
	r.action = s.Action
	c.hosts(s, r)
	c.methods(s, r)
	c.paths(s, r)
	c.query(s, r)
	for i, name := range s.Callers {
		if name == "" {
			c.add("callers", i, "empty name", "")
		}
	}
	r.callers = slices.Clone(s.Callers)
	if s.Action == Tunnel {
		c.tunnel(s)
	}
}

func (c *compiler) hosts(s *Spec, r *rule) {
	if len(s.Hosts) == 0 {
		c.add("hosts", -1, "missing", "name at least one host, such as api.example.com")
	}
	for i, text := range s.Hosts {
		h, f := parseHostPattern(text)
		switch {
		case f != nil:
			c.add("hosts", i, fmt.Sprintf("host %q: %s", text, f.problem), f.hint)
		case h.clear && s.Action == Tunnel:
			c.add("hosts", i, fmt.Sprintf("host %q: a tunnel rule cannot name a clear-text host", text),
				"tunnels are TLS that is not opened; allow the http:// host in a rule of its own")
		default:
			r.hosts = append(r.hosts, h)
		}
	}
}

func (c *compiler) methods(s *Spec, r *rule) {
	for i, m := range s.Methods {
		upper := strings.ToUpper(m)
		switch {
		case !isToken(m):
			c.add("methods", i, fmt.Sprintf("method %q: not a method", m), "")
		case m != upper:
			c.add("methods", i, fmt.Sprintf("method %q: methods are case-sensitive", m), "write "+upper)
		default:
			r.methods = append(r.methods, m)
		}
	}
	if slices.Contains(r.methods, "GET") && !slices.Contains(r.methods, "HEAD") {
		r.methods = append(r.methods, "HEAD")
	}
}

func (c *compiler) paths(s *Spec, r *rule) {
	for i, text := range s.Paths {
		pattern, f := parsePathPattern(text)
		if f != nil {
			c.add("paths", i, fmt.Sprintf("path %q: %s", text, f.problem), f.hint)
			continue
		}
		r.paths = append(r.paths, pattern)
	}
}

func (c *compiler) query(s *Spec, r *rule) {
	for _, name := range slices.Sorted(maps.Keys(s.Query)) {
		if name == "" {
			c.add("query", -1, "empty name", "")
			continue
		}
		r.query = append(r.query, parameter{name, s.Query[name]})
	}
}

// tunnel refuses what a rule cannot ask of requests that nobody sees.
func (c *compiler) tunnel(s *Spec) {
	const hint = "a tunnel is not opened, so its requests cannot be judged; drop this, or drop tunnel"
	for _, asked := range []struct {
		field string
		n     int
	}{{"methods", len(s.Methods)}, {"paths", len(s.Paths)}, {"query", len(s.Query)}} {
		if asked.n > 0 {
			c.add(asked.field, -1, "not possible in a tunnel rule", hint)
		}
	}
}

func (c *compiler) duplicate(s, first *Spec) {
	at := ""
	if first.Pos != "" {
		at = " at " + first.Pos
	}
	c.add("id", -1, fmt.Sprintf("rule %q: already written%s", s.ID, at), "give one of the two another id")
}

// isToken reports whether s is a token (RFC 9110 §5.6.2), as methods are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c|0x20) && !strings.Contains("!#$%&'*+-.^_`|~", s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

// isAlphanumeric takes lower case only.
func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
