package policy

import "slices"

// Shadow is a rule that never matches a call, and the one before it that takes
// every such call. Both are indices.
type Shadow struct{ Rule, By int }

// Unreachable lists the rules that can never be the deciding one, since one
// rule before them matches whatever they match. It names no rule wrongly; a rule that only
// several others together cover is not found.
func (p *Policy) Unreachable() []Shadow {
	var all []Shadow
	for i := range p.rules {
		for j := range i {
			if p.rules[j].covers(&p.rules[i]) {
				all = append(all, Shadow{i, j})
				break
			}
		}
	}
	return all
}

// covers reports whether ru, tried first, leaves nothing to o.
func (ru *rule) covers(o *rule) bool {
	if !allCovered(o.hosts, ru.hosts, hostPattern.covers) || !coversNames(ru.callers, o.callers) {
		return false
	}
	if o.action == Tunnel {
		return true // DecideConnect looks at host and caller alone
	}
	// A tunnel rule does not stand before requests that come otherwise than
	// by CONNECT.
	if ru.action == Tunnel || !coversNames(ru.methods, o.methods) {
		return false
	}
	for _, p := range ru.query {
		if !slices.Contains(o.query, p) {
			return false
		}
	}
	return len(ru.paths) == 0 || len(o.paths) > 0 && allCovered(o.paths, ru.paths, pathPattern.covers)
}

// coversNames takes an empty list for every name.
func coversNames(names, of []string) bool {
	if len(names) == 0 {
		return true
	}
	return len(of) > 0 && !slices.ContainsFunc(of, func(n string) bool { return !slices.Contains(names, n) })
}

// allCovered reports whether each of patterns is covered by one of by.
func allCovered[P any](patterns, by []P, covers func(P, P) bool) bool {
	for _, p := range patterns {
		if !slices.ContainsFunc(by, func(b P) bool { return covers(b, p) }) {
			return false
		}
	}
	return true
}
