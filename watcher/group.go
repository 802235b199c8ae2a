package watcher

import (
	"strings"

	"github.com/attache-proxy/attache/watcher/source"
)

// group is what secrets share that are fields of one and the same pair of
// files: a user name and its password. They are published as one version or not
// at all. Empty: none.
func (k *kept) group() string {
	if len(k.paths) < 2 {
		return ""
	}
	return strings.Join(k.paths, "\x00")
}

// together holds back what was read of a group unless all of it came from one
// version.
func together(ks []*kept, outcomes []outcome) {
	first := map[string]int{}
	var torn map[string]error
	for i, k := range ks {
		g := k.group()
		if g == "" {
			continue
		}
		f, seen := first[g]
		if !seen {
			first[g] = i
			f = i
		}
		switch {
		case outcomes[i].err != nil && torn[g] == nil:
			torn = put(torn, g, outcomes[i].err)
		case outcomes[i].err == nil && outcomes[f].err == nil && outcomes[i].raw != outcomes[f].raw:
			torn = put(torn, g, &source.UnsettledError{Where: "files " + strings.Join(k.paths, ", ")})
		}
	}
	for i, k := range ks {
		if err := torn[k.group()]; err != nil && outcomes[i].err == nil {
			outcomes[i].err, outcomes[i].text = err, nil
		}
	}
}

func put(m map[string]error, key string, err error) map[string]error {
	if m == nil {
		m = map[string]error{}
	}
	m[key] = err
	return m
}

// warningsOf is what a look showed of where a secret is kept.
func warningsOf(o outcome) []string {
	var all []string
	for _, t := range o.troubles {
		all = append(all, t.String())
	}
	return all
}
