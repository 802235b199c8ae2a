package policy

import (
	"net/netip"

	"golang.org/x/net/publicsuffix"
)

// maxEdits is how many characters may differ in a name taken for a slip.
const maxEdits = 2

// NearestHost returns the rule that someone may have meant who called host, as
// NormalizeHost returns it, where no rule names it: the one whose host differs
// by the fewest characters, up to two and to a third of the name (so the same
// host on another port or in another scheme comes first), else the first with a
// host of the same registrable domain. It is -1 if there is none. A deny rule is
// never meant. It is for refusals: it looks at every rule.
func (p *Policy) NearestHost(host string) int {
	if !isCanonical(host) || len(host) > maxName {
		return -1
	}
	_, err := netip.ParseAddr(host)
	address := err == nil
	domain := ""
	if !address {
		domain = registrable(host)
	}
	typo, edits, related := -1, min(maxEdits, len(host)/3)+1, -1
	for i := range p.rules {
		if p.rules[i].action == Deny {
			continue
		}
		for _, h := range p.rules[i].hosts {
			if address {
				// Addresses that look alike have nothing in common.
				if h.name == host {
					return i
				}
				continue
			}
			if d := distance(host, h.name, edits-1); d < edits {
				typo, edits = i, d
			}
			if related < 0 && domain != "" && h.domain == domain {
				related = i
			}
		}
	}
	if typo >= 0 {
		return typo
	}
	return related
}

// registrable is empty for a name that is itself a suffix.
func registrable(name string) string {
	domain, _ := publicsuffix.EffectiveTLDPlusOne(name)
	return domain
}

// distance is the number of insertions, deletions and replacements between a
// and b, or limit+1 where it is more than limit. Only cells that near the
// diagonal are looked at, so that a refusal costs little with a thousand rules.
func distance(a, b string, limit int) int {
	if limit < 0 || max(len(a), len(b))-min(len(a), len(b)) > limit || len(b) > maxName {
		return limit + 1
	}
	var cells [2][maxName + 2]int
	row, next := &cells[0], &cells[1]
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := range len(a) {
		from, to := max(0, i-limit), min(len(b), i+limit+1)
		next[from] = limit + 1 // left of the band
		if from == 0 {
			next[0] = i + 1
		}
		for j := from; j < to; j++ {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
		}
		next[to+1] = limit + 1 // above the band of the next row
		row, next = next, row
	}
	return min(row[len(b)], limit+1)
}
