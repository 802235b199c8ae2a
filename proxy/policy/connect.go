package policy

// ConnectVerdict is what becomes of a CONNECT.
type ConnectVerdict uint8

// The outcomes of a CONNECT.
const (
	ConnectRefuse    ConnectVerdict = iota
	ConnectIntercept                // opened; each request inside is decided
	ConnectTunnel                   // passed on unopened
)

// ConnectDecision is the outcome for one CONNECT. Allowed is true unless the
// Verdict is ConnectRefuse; it says nothing of the requests inside. With
// ConnectIntercept, Rule is the rule that made the choice, -1 if it was made
// because no rule matched and refusals are told inside; then Nearest is the
// rule that differs in the caller.
type ConnectDecision struct {
	Verdict ConnectVerdict
	Decision
}

// DecideConnect decides on an opaque https connection to host and port, by the
// first rule whose host and caller match (DESIGN §4.2). A host that some
// intercepting rule names is never refused here: it is opened, and each request is refused inside.
//
// A deny rule decides even if it restricts methods, paths or query, which
// cannot be seen here: on a host that is opened the requests are decided
// inside; on another, a tunnel rule behind it would carry what it denies, so the
// connection is refused. It allocates nothing.
func (p *Policy) DecideConnect(host string, port uint16, callers []string) ConnectDecision {
	rules := p.index.lookup("https", host, port)
	nearest, differs := -1, None
	for _, n := range rules {
		i, ru := int(n), &p.rules[n]
		answer, caller := ru.meetCaller(callers)
		if answer == No {
			if nearest < 0 && ru.action != Deny {
				nearest, differs = i, Caller
			}
			continue
		}
		d := matched(ru, i, caller)
		switch {
		case ru.action == Tunnel:
			return ConnectDecision{ConnectTunnel, d}
		case ru.action == Allow:
			return ConnectDecision{ConnectIntercept, d}
		case p.anyAllows(rules):
			d.Allowed, d.Reason = true, ""
			return ConnectDecision{ConnectIntercept, d}
		}
		return ConnectDecision{ConnectRefuse, d}
	}
	d := Decision{Rule: -1, Nearest: nearest, Differs: differs}
	if p.anyAllows(rules) {
		d.Allowed = true
		return ConnectDecision{ConnectIntercept, d}
	}
	d.Reason = notAllowed(differs)
	return ConnectDecision{ConnectRefuse, d}
}

func (p *Policy) anyAllows(rules []int32) bool {
	for _, n := range rules {
		if p.rules[n].action == Allow {
			return true
		}
	}
	return false
}
