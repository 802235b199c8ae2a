package policy

// Step is how one rule met one call, for people.
type Step struct {
	Rule    int
	Met     [5]Answer // Host, Query, Method, Path, Caller in that order
	Decides bool      // the decision ends here: the rule matches, or meets what is Unclear
	Reached bool      // false for rules after the deciding one
}

// Answer is how one criterion met.
type Answer uint8

// Answers to a criterion.
const (
	No Answer = iota
	Yes
	Any     // the rule does not ask
	Unclear // the path or query is ambiguous: refused at once
)

func (a Answer) String() string { return [...]string{"no", "yes", "any", "unclear"}[a] }

// Explain tells how every rule meets r. It uses the same comparisons as Decide,
// but tries every rule in place of the index. Each criterion is answered for
// itself, whatever the ones before it say. Tunnel rules are shown and never decide.
func (p *Policy) Explain(r *Request) []Step {
	steps := make([]Step, len(p.rules))
	reached := true
	for i := range p.rules {
		ru, v := &p.rules[i], newView(r)
		s := Step{Rule: i, Reached: reached}
		s.Met[Host-1] = ru.meetHost(r.Scheme, r.Host, r.Port)
		s.Met[Query-1] = ru.meetQuery(&v)
		s.Met[Method-1] = ru.meetMethod(&v)
		s.Met[Path-1] = ru.meetPath(&v)
		s.Met[Caller-1], _ = ru.meetCaller(r.Callers)
		if reached && ru.action != Tunnel && s.Met[Host-1] == Yes {
			differs, unclear, _ := ru.meets(&v)
			s.Decides = unclear || differs == None
		}
		reached = reached && !s.Decides
		steps[i] = s
	}
	return steps
}
