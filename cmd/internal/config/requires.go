package config

import (
	"cmp"
	"strconv"
	"strings"
)

// release is major, minor and patch.
type release [3]int

// parseRelease reads "1", "1.4" or "v1.4.2-rc.1+meta". What stands behind a
// hyphen does not count: a candidate of 1.4 has what 1.4 has.
func parseRelease(s string) (release, bool) {
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "+")
	s, _, _ = strings.Cut(s, "-")
	var r release
	parts := strings.Split(s, ".")
	if len(parts) > len(r) {
		return r, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return r, false
		}
		r[i] = int(n)
	}
	return r, true
}

// older reports whether a binary of that version is too old for a file that
// requires another. Binaries without a release number satisfy all: they are
// built from a working copy.
func older(version, required string) bool {
	have, ok := parseRelease(version)
	want, wanted := parseRelease(required)
	if !ok || !wanted || have == (release{}) {
		return false
	}
	return cmp.Or(cmp.Compare(have[0], want[0]), cmp.Compare(have[1], want[1]), cmp.Compare(have[2], want[2])) < 0
}
