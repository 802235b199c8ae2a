package policy

import (
	"maps"
	"slices"
)

// Action is what a rule does with a call that it matches.
type Action uint8

// The actions of a rule.
const (
	Allow  Action = iota // opened, decided on each request, forwarded
	Deny                 // refused
	Tunnel               // passed on without being opened
)

// Spec is one rule as configured.
//
// A host is a name, "*.name" (one label more), "**.name" (one or more) or an IP
// literal, IPv6 in brackets, each with an optional ":port". It means https and
// port 443; "http://host" means clear text and port 80.
//
// A path pattern is compared with the path decoded once, case-sensitively. "*"
// stands for one segment that is not empty; "**", as the last segment, for any
// number of segments, none included: "/v1/**" matches "/v1", "/v1/" and
// "/v1/x/y". "/v1" does not match "/v1/".
type Spec struct {
	ID      string
	Owner   string
	Pos     string // where it is written, for people: "10-checkout.yaml:9"
	Hosts   []string
	Methods []string          // empty: any; GET implies HEAD
	Paths   []string          // empty: any
	Query   map[string]string // decoded names and values that must be there
	Callers []string          // empty: everyone the listener admits
	Action  Action
	Hint    string // of a Deny rule, shown to the caller
}

// SpecError is a fault of one field of one rule.
type SpecError struct {
	Rule    int    // index
	Field   string // "hosts", "paths", …
	Index   int    // of the list element, -1 for the field as a whole
	Problem string
	Hint    string
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Problem }

// Policy is a compiled, immutable list of rules. The zero Policy has none and
// refuses everything.
type Policy struct {
	specs []Spec
	rules []rule
	index index
}

// rule is a Spec made ready for comparison.
type rule struct {
	action  Action
	hosts   []hostPattern
	query   []parameter
	methods []string // HEAD is listed where GET is
	paths   []pathPattern
	callers []string
}

// New compiles specs; all faults are returned at once, and no policy with them.
func New(specs []Spec) (*Policy, []*SpecError) {
	p := &Policy{specs: make([]Spec, len(specs)), rules: make([]rule, len(specs))}
	var faults []*SpecError
	byID := make(map[string]int, len(specs))
	for i := range specs {
		c := compiler{index: i}
		c.compile(&specs[i], &p.rules[i])
		if first, ok := byID[specs[i].ID]; ok && specs[i].ID != "" {
			c.duplicate(&specs[i], &specs[first])
		} else {
			byID[specs[i].ID] = i
		}
		faults = append(faults, c.faults...)
		p.specs[i] = cloned(specs[i])
	}
	if len(faults) > 0 {
		return nil, faults
	}
	p.index = newIndex(p.rules)
	return p, nil
}

// cloned keeps the caller of New from changing a Policy through its slices.
func cloned(s Spec) Spec {
	s.Hosts, s.Methods = slices.Clone(s.Hosts), slices.Clone(s.Methods)
	s.Paths, s.Callers = slices.Clone(s.Paths), slices.Clone(s.Callers)
	s.Query = maps.Clone(s.Query)
	return s
}

// Rules are the specs that the policy was made of. Do not change them.
func (p *Policy) Rules() []Spec { return p.specs }

// Named reports whether any rule, of whatever action, names the host, as https
// or in clear, on that port.
func (p *Policy) Named(host string, port uint16) bool {
	return len(p.index.lookup("https", host, port)) > 0 || len(p.index.lookup("http", host, port)) > 0
}

// InterceptedHosts lists the https host patterns of allow rules, without port: "api.x", "*.x",
// "**.x", "10.0.0.1". The CA may sign for these. Each is listed once, in the order of the rules.
func (p *Policy) InterceptedHosts() []string {
	var hosts []string
	seen := map[string]bool{}
	for i := range p.rules {
		if p.rules[i].action != Allow {
			continue
		}
		for _, h := range p.rules[i].hosts {
			if name := h.String(); !h.clear && !seen[name] {
				seen[name] = true
				hosts = append(hosts, name)
			}
		}
	}
	return hosts
}
