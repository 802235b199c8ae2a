package identity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxID is the longest SPIFFE ID in bytes (SPIFFE-ID §2.3).
const maxID = 2048

// Pattern names one SPIFFE ID, or the IDs of one trust domain whose path matches:
// "*" is one whole segment, "**" at the end is one segment or more. It is comparable;
// the zero Pattern matches nothing.
type Pattern struct {
	domain spiffeid.TrustDomain
	path   string // with the leading slash
}

// ParsePattern reads "spiffe://acme.example/ns/shop/sa/*". A pattern without a single literal
// segment is refused as too wide: it would name whatever the trust domain's issuer ever signs.
func ParsePattern(s string) (Pattern, error) {
	fault := func(what string) (Pattern, error) {
		return Pattern{}, fmt.Errorf("SPIFFE ID %q: %s", s, what)
	}
	if len(s) > maxID {
		return Pattern{}, fmt.Errorf("SPIFFE ID: %d bytes, at most %d", len(s), maxID)
	}
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return fault("has to begin with spiffe://")
	}
	name, path, ok := strings.Cut(rest, "/")
	if strings.Contains(name, "*") {
		return fault("the trust domain has to be named, without *")
	}
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return fault(err.Error())
	}
	if !ok {
		return fault("names a trust domain, not a workload of it; a path is missing")
	}
	if err := checkSegments(path); err != nil {
		return fault(err.Error())
	}
	return Pattern{domain: domain, path: "/" + path}, nil
}

// checkSegments checks a path without its leading slash.
func checkSegments(path string) error {
	literal := false
	for segment, more := "", true; more; {
		segment, path, more = strings.Cut(path, "/")
		switch {
		case segment == "**" && more:
			return errors.New("** can only stand at the end")
		case segment == "*" || segment == "**":
		case strings.Contains(segment, "*"):
			return fmt.Errorf("in %q, * has to be a whole segment", segment)
		default:
			if err := spiffeid.ValidatePathSegment(segment); err != nil {
				return err
			}
			literal = true
		}
	}
	if !literal {
		return errors.New("too wide: name at least one segment of the path")
	}
	return nil
}

// Match reports whether id is one that p names. It compares whole segments, so that
// "/sa/api" never matches "/sa/api-admin".
func (p Pattern) Match(id spiffeid.ID) bool {
	if p.path == "" || id.TrustDomain() != p.domain || id.Path() == "" {
		return false
	}
	want, have := p.path[1:], id.Path()[1:]
	for {
		w, wantRest, wantMore := strings.Cut(want, "/")
		h, haveRest, haveMore := strings.Cut(have, "/")
		switch {
		case w == "**":
			return true
		case w != "*" && w != h:
			return false
		case !wantMore || !haveMore:
			return wantMore == haveMore
		}
		want, have = wantRest, haveRest
	}
}

// TrustDomain is the one trust domain whose IDs p can match.
func (p Pattern) TrustDomain() spiffeid.TrustDomain { return p.domain }

// IsZero reports whether p is the zero Pattern.
func (p Pattern) IsZero() bool { return p == Pattern{} }

// Exact reports whether p names a single ID.
func (p Pattern) Exact() bool { return p.path != "" && !strings.Contains(p.path, "*") }

func (p Pattern) String() string {
	if p.IsZero() {
		return ""
	}
	return p.domain.IDString() + p.path
}
