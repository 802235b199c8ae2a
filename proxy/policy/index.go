package policy

import (
	"slices"
	"strings"
)

// index finds the rules that name a host without trying them all. For every
// name that some pattern holds it keeps, ready merged and in the order of the
// rules, who matches the name itself, a name one label below it, and a name
// further below. So one list answers any host: the host's own if it is held,
// else that of its nearest ancestor that is, whose lists include those of the
// ancestors above it.
type index map[hostKey]reached

// reached are rules by number, ascending.
type reached struct{ self, child, deep []int32 }

func newIndex(rules []rule) index {
	var at [3]map[hostKey][]int32 // by depth: as written
	for d := range at {
		at[d] = map[hostKey][]int32{}
	}
	ix := index{}
	for i := range rules {
		for _, h := range rules[i].hosts {
			at[h.depth][h.hostKey] = append(at[h.depth][h.hostKey], int32(i))
			ix[h.hostKey] = reached{}
		}
	}
	for k := range ix {
		var above []int32
		parent, ok := k.parent()
		for up := parent; ok; up, ok = up.parent() {
			above = append(above, at[many][up]...)
		}
		ix[k] = reached{
			self:  merged(at[exact][k], at[one][parent], above),
			child: merged(at[one][k], at[many][k], above),
			deep:  merged(at[many][k], above),
		}
	}
	return ix
}

func merged(lists ...[]int32) []int32 {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all) // one rule may hold several patterns for a host
}

// parent is the key of the name one label up.
func (k hostKey) parent() (hostKey, bool) {
	dot := strings.IndexByte(k.name, '.')
	if dot < 0 {
		return hostKey{}, false
	}
	k.name = k.name[dot+1:]
	return k, true
}

// lookup lists the rules that name the host, in order. It allocates nothing.
func (ix index) lookup(scheme, host string, port uint16) []int32 {
	if scheme != "https" && scheme != "http" || !isCanonical(host) {
		return nil
	}
	k := hostKey{host, port, scheme == "http"}
	if r, ok := ix[k]; ok {
		return r.self
	}
	k, ok := k.parent()
	if !ok {
		return nil
	}
	if r, ok := ix[k]; ok {
		return r.child
	}
	for k, ok = k.parent(); ok; k, ok = k.parent() {
		if r, ok := ix[k]; ok {
			return r.deep
		}
	}
	return nil
}
