package explain

import (
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
)

// CallerRef names a caller.
type CallerRef struct {
	Name  string `json:"name"`
	ID    string `json:"id,omitempty"` // SPIFFE ID, or pattern
	Proof string `json:"proof"`        // the accepted ones, joined by "or"

	// Accepted are the proofs in words, for callers known by a SPIFFE ID.
	Accepted []string `json:"accepted,omitempty"`
}

// CallerError is a caller that the configuration does not know.
type CallerError struct {
	Name  string
	Known []string
}

func (e *CallerError) Error() string { return fmt.Sprintf("caller %q: not configured", e.Name) }

// Hint says which callers there are.
func (e *CallerError) Hint() string {
	if len(e.Known) == 0 {
		return "none is configured"
	}
	return "configured: " + strings.Join(e.Known, ", ")
}

// findCaller finds what is configured under a name, or for a SPIFFE ID: a peer with that ID is all callers
// that name it.
func findCaller(cfg *config.Config, wanted string) (*CallerRef, []string, error) {
	if wanted == "" {
		return nil, nil, nil
	}
	id, err := spiffeid.FromString(wanted)
	if err == nil {
		return findID(cfg, id)
	}
	for _, s := range cfg.Callers {
		if s.Name == wanted {
			return callerRef(cfg, s), []string{wanted}, nil
		}
	}
	return nil, nil, &CallerError{wanted, callerNames(cfg)}
}

// findID finds the callers that a peer with the ID is. It is those with proof pod only where it can be no
// other: they are not about the peer's ID, but about the proxy's own.
func findID(cfg *config.Config, id spiffeid.ID) (*CallerRef, []string, error) {
	for _, pod := range []bool{false, true} {
		var names []string
		var ref *CallerRef
		for _, s := range cfg.Callers {
			p, err := identity.ParsePattern(s.SPIFFE)
			if err != nil || !p.Match(id) || (s.Proof == identity.ProofPod) != pod {
				continue
			}
			if names = append(names, s.Name); ref == nil {
				ref = callerRef(cfg, s)
			}
		}
		if ref != nil {
			ref.Name, ref.ID = strings.Join(names, ", "), id.String()
			return ref, names, nil
		}
	}
	return nil, nil, &CallerError{id.String(), callerNames(cfg)}
}

func callerNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.Callers))
	for i, s := range cfg.Callers {
		names[i] = s.Name
	}
	return names
}

func callerRef(cfg *config.Config, s identity.Spec) *CallerRef {
	ref := &CallerRef{Name: s.Name, ID: s.SPIFFE, Proof: string(proofOf(s))}
	if s.SPIFFE == "" {
		return ref
	}
	var proofs []string
	accept := func(p identity.Proof, words string) {
		proofs, ref.Accepted = append(proofs, string(p)), append(ref.Accepted, words)
	}
	either := s.Proof == ""
	if s.Proof == identity.ProofPod {
		accept(identity.ProofPod, "same pod as the holder of this SVID")
	}
	if s.Proof == identity.ProofMTLS || either && cfg.Listen.TLS {
		accept(identity.ProofMTLS, "this X509-SVID in TLS with the proxy")
	}
	if s.Audience != "" {
		accept(identity.ProofJWT, fmt.Sprintf("a JWT-SVID for %q", s.Audience))
	}
	ref.Proof = strings.Join(proofs, " or ")
	return ref
}

func proofOf(s identity.Spec) identity.Proof {
	switch {
	case s.Token != "":
		return identity.ProofToken
	case s.UID != nil:
		return identity.ProofUID
	default:
		return identity.ProofNetwork
	}
}
