package mitm

import (
	"fmt"
	"slices"
	"time"
)

// ensure makes the generations that wanted needs beside gens, keeps and
// publishes the whole, and then puts it in force. Whether a generation counts
// as permitting a host depends on its age: any that still signs, or (renewing)
// only those in the first half of their life. The caller holds mu.
func (a *Authority) ensure(gens []*generation, wanted names, renewing bool) (added []*generation, err error) {
	now := a.now()
	signs := func(g *generation) bool { return g.signs(now) }
	counts := signs
	if renewing {
		counts = func(g *generation) bool { return g.young(now) }
	}
	before := slices.DeleteFunc(slices.Clone(gens), func(g *generation) bool { return !g.Given && !g.live(now) })
	if len(a.missing(before, wanted, counts)) > 0 {
		if added, err = a.generate(wanted, now); err != nil {
			return nil, err
		}
	}
	after := a.bound(append(slices.Clone(before), added...), len(added))
	if a.live.Load() == nil || len(added) > 0 || len(after) != len(gens) {
		if err := a.keep(after); err != nil {
			return nil, err
		}
		if err := a.publish(after); err != nil {
			return nil, err
		}
	}
	a.live.Store(&after)
	a.wanted = wanted
	if len(added) > 0 {
		a.report(before, added, a.missing(before, wanted, signs))
	}
	return added, nil
}

// missing lists what no counting generation permits. Without any generation
// there is something missing even for no hosts: ca.pem must not be empty.
func (a *Authority) missing(gens []*generation, wanted names, counts func(*generation) bool) []string {
	covered := func(host string) bool {
		return slices.ContainsFunc(gens, func(g *generation) bool { return counts(g) && g.covers(host) })
	}
	all := wanted.list()
	if len(gens) > 0 && gens[0].Given {
		return nil
	}
	if a.opts.Unconstrained || len(all) == 0 {
		if !slices.ContainsFunc(gens, func(g *generation) bool { return counts(g) && (g.free || !a.opts.Unconstrained) }) {
			return []string{"**"}
		}
		return nil
	}
	return slices.DeleteFunc(all, covered)
}

// generate makes the generations for all of wanted, so that one alone serves
// once the older ones are gone; more than one where the names are too long for one.
func (a *Authority) generate(wanted names, now time.Time) ([]*generation, error) {
	if a.opts.Unconstrained {
		wanted = names{}
	}
	parts := wanted.split()
	if len(parts) > maxGenerations/2 {
		return nil, fmt.Errorf("ca: %d names are too many for its constraints; permit their common parents instead, as **.name", len(wanted.dns)+len(wanted.ips))
	}
	var out []*generation
	for _, part := range parts {
		g, err := newGeneration(part, a.opts.Unconstrained, now)
		if err != nil {
			return nil, fmt.Errorf("ca: new generation: %w", err)
		}
		out = append(out, g)
	}
	return out, nil
}

// bound drops the oldest above maxGenerations, never one just made.
func (a *Authority) bound(gens []*generation, added int) []*generation {
	for len(gens) > maxGenerations && len(gens) > added {
		a.log.Warn("CA generation dropped: there are too many; clients that read the CA before the next one was made must read it again",
			"generation", gens[0].ID, "created", gens[0].Created, "next", gens[1].Created)
		gens = gens[1:]
	}
	return gens
}

// report says who must read the CA again, and when.
func (a *Authority) report(before, added []*generation, unsigned []string) {
	ids := make([]string, len(added))
	for i, g := range added {
		ids[i] = g.ID
	}
	until := added[0].NotAfter
	switch {
	case len(before) == 0:
		a.log.Info("CA made", "generations", ids, "not_after", until)
	case len(unsigned) > 0:
		a.log.Warn("CA generation added: clients that read the CA before must read it again to reach these hosts",
			"generations", ids, "hosts", unsigned[:min(len(unsigned), 20)], "count", len(unsigned), "not_after", until)
	default:
		a.log.Info("CA successor published: clients must have read the CA again by this time",
			"generations", ids, "by", before[0].NotAfter.Add(-leafLife), "not_after", until)
	}
}
