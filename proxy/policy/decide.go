package policy

// Request is what a decision looks at.
type Request struct {
	Scheme   string // "https" or "http"
	Host     string // as NormalizeHost returns it; another spelling matches no rule
	Port     uint16
	Method   string
	Path     string   // as sent, still escaped, without the query; "*" is not one
	RawQuery string   // as sent
	Callers  []string // the names of the callers that the peer has proven to be; may be empty
}

// Criterion is one thing a rule looks at.
type Criterion uint8

// The criteria, in the order in which they are tried.
const (
	None Criterion = iota
	Host
	Query
	Method
	Path
	Caller
)

func (c Criterion) String() string {
	return [...]string{"", "host", "query", "method", "path", "caller"}[c]
}

// Reason is the stable code of why a call was refused, or empty.
type Reason string

// The reasons that a decision gives.
const (
	NoRule           Reason = "no_rule"            // no rule names the host
	DeniedByRule     Reason = "denied_by_rule"     // a deny rule matched
	MethodNotAllowed Reason = "method_not_allowed" // the nearest rule differs in the method
	PathNotAllowed   Reason = "path_not_allowed"   // … in the path
	QueryNotAllowed  Reason = "query_not_allowed"  // … in the query
	CallerNotAllowed Reason = "caller_not_allowed" // … in the caller
	PathAmbiguous    Reason = "path_ambiguous"     // the path may mean another one to the upstream, and a rule restricts paths
	QueryAmbiguous   Reason = "query_ambiguous"    // a matched parameter is repeated, or the query cannot be parsed
)

// Decision is the outcome for one call.
type Decision struct {
	Allowed bool
	Rule    int       // index of the deciding rule, -1 if none did
	Caller  string    // the caller by which it matched; empty if the rule asks for none
	Reason  Reason    // empty where Allowed
	Nearest int       // index of the rule that came closest, -1; set where Rule is -1
	Differs Criterion // how Nearest differs
}

// Decide finds the first rule that matches r, tunnel rules skipped: it decides
// requests that Attaché can see. It allocates nothing and reads no clock.
//
// Criteria that differ fall through to the next rule. A path or query that
// cannot be compared beyond doubt with a rule for that host does not: the call
// is refused, with the rule that asked as Nearest.
//
// Nearest is otherwise the rule that matched the most criteria in their order,
// the first of equals. It is never a deny rule: it answers what would have
// allowed the call, and a deny rule that does not match is no obstacle. So
// NoRule is also the reason where only deny or tunnel rules name the host.
func (p *Policy) Decide(r *Request) Decision {
	v := newView(r)
	nearest, furthest := -1, None
	for _, n := range p.index.lookup(r.Scheme, r.Host, r.Port) {
		i, ru := int(n), &p.rules[n]
		if ru.action == Tunnel {
			continue
		}
		differs, unclear, caller := ru.meets(&v)
		switch {
		case unclear:
			return Decision{Rule: -1, Reason: ambiguous(differs), Nearest: i, Differs: differs}
		case differs == None:
			return matched(ru, i, caller)
		case ru.action == Allow && differs > furthest:
			nearest, furthest = i, differs
		}
	}
	return Decision{Rule: -1, Reason: notAllowed(furthest), Nearest: nearest, Differs: furthest}
}

// matched is the decision by a rule that matches.
func matched(ru *rule, i int, caller string) Decision {
	d := Decision{Allowed: ru.action != Deny, Rule: i, Caller: caller, Nearest: -1}
	if !d.Allowed {
		d.Reason = DeniedByRule
	}
	return d
}

func ambiguous(c Criterion) Reason {
	if c == Query {
		return QueryAmbiguous
	}
	return PathAmbiguous
}

// notAllowed is why the nearest rule did not match; None: there is none.
func notAllowed(c Criterion) Reason {
	return [...]Reason{NoRule, NoRule, QueryNotAllowed, MethodNotAllowed, PathNotAllowed, CallerNotAllowed}[c]
}
