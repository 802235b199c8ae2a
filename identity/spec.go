package identity

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
)

// Spec is one configured caller; exactly one of Token, UID, Network and SPIFFE is set.
type Spec struct {
	Name    string
	Token   string // name of the secret that holds the token
	UID     *uint32
	Network string // CIDR

	SPIFFE   string // SPIFFE ID or pattern, as [ParsePattern] reads it
	Proof    Proof  // of SPIFFE: mtls, jwt or pod; empty: mtls or jwt
	Audience string // that JWT-SVIDs have to be for, the same for all callers; empty: none is accepted
}

// SpecError is a fault of one configured caller.
type SpecError struct {
	Caller  int    // index
	Name    string // of the caller
	Field   string // "token", "uid", "network", "spiffe", "proof"; empty: the caller as a whole
	Problem string
	Hint    string
}

func (e *SpecError) Error() string {
	s := fmt.Sprintf("caller %q: ", e.Name)
	if e.Field != "" {
		s += e.Field + ": "
	}
	return s + e.Problem
}

// spec is a Spec that was found right. It is comparable: equal means unchanged.
type spec struct {
	name     string
	proof    Proof // empty: mtls or jwt
	token    string
	uid      uint32
	network  netip.Prefix
	spiffe   Pattern
	audience string // of JWT-SVIDs, where they are accepted
}

// accepts reports whether p, mtls or jwt, can prove the caller.
func (s *spec) accepts(p Proof) bool {
	if s.spiffe.IsZero() || s.proof != "" && s.proof != p {
		return false
	}
	return p != ProofJWT || s.audience != ""
}

// only reports whether nothing but p can prove the caller.
func (s *spec) only(p Proof) bool {
	return s.proof == p || s.accepts(p) && !(s.accepts(ProofMTLS) && s.accepts(ProofJWT))
}

// check returns the checked form of the i-th Spec, or what is wrong with it.
func check(i int, s Spec, goos string) (spec, *SpecError) {
	fault := func(field, problem, hint string) (spec, *SpecError) {
		return spec{}, &SpecError{Caller: i, Name: s.Name, Field: field, Problem: problem, Hint: hint}
	}
	if s.Name == "" {
		return fault("", "has no name", "")
	}
	n := 0
	for _, set := range []bool{s.Token != "", s.UID != nil, s.Network != "", s.SPIFFE != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fault("", "needs exactly one of token, uid, network and spiffe", "for two proofs of one caller, name two callers")
	}

	if s.Proof != "" && s.SPIFFE == "" {
		return fault("proof", "says how a SPIFFE ID is proven, and there is none", "")
	}
	switch {
	case s.SPIFFE != "":
		return checkSPIFFE(s, fault)
	case s.Token != "" && s.Name == userJWT:
		return fault("token", "the name jwt is how clients present a JWT-SVID", "choose another name")
	case s.Token != "":
		// RFC 7617 §2: a user-id has no colon and no control character.
		if strings.ContainsFunc(s.Name, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }) {
			return fault("token", "the name is the user name clients send, so it cannot hold ':' or control characters", "")
		}
		return spec{name: s.Name, proof: ProofToken, token: s.Token}, nil
	case s.UID != nil:
		if goos != "linux" && goos != "darwin" {
			return fault("uid", "not supported on "+goos, "use token")
		}
		return spec{name: s.Name, proof: ProofUID, uid: *s.UID}, nil
	}

	return checkNetwork(s, fault)
}

type faulter func(field, problem, hint string) (spec, *SpecError)

func checkSPIFFE(s Spec, fault faulter) (spec, *SpecError) {
	p, err := ParsePattern(s.SPIFFE)
	if err != nil {
		return fault("spiffe", err.Error(), `as in "spiffe://acme.example/ns/shop/sa/checkout", or with /** at its end`)
	}
	c := spec{name: s.Name, proof: s.Proof, spiffe: p}
	switch s.Proof {
	case ProofJWT:
		if s.Audience == "" {
			return fault("proof", "jwt needs the audience that JWT-SVIDs have to be for", "set listen.proxy.audience")
		}
		c.audience = s.Audience
	case "":
		c.audience = s.Audience
	case ProofMTLS, ProofPod:
	default:
		return fault("proof", fmt.Sprintf("%q is not mtls, jwt or pod", s.Proof), "")
	}
	return c, nil
}

func checkNetwork(s Spec, fault faulter) (spec, *SpecError) {
	p, err := netip.ParsePrefix(s.Network)
	switch {
	case err != nil:
		hint := ""
		if a, err := netip.ParseAddr(s.Network); err == nil {
			a = a.Unmap().WithZone("")
			hint = "for the one address write " + netip.PrefixFrom(a, a.BitLen()).String()
		}
		return fault("network", fmt.Sprintf("%q is not a network", s.Network), cmp.Or(hint, "write it as 10.1.0.0/16"))
	case p.Addr().Is4In6():
		return fault("network", "an IPv4 network in IPv6 form never matches", "write it as 10.1.0.0/16")
	case p != p.Masked():
		return fault("network", fmt.Sprintf("%s has bits behind its mask", p), "did you mean "+p.Masked().String()+"?")
	case p.Bits() == 0:
		return fault("network", p.String()+" is everyone, which proves nothing", "")
	}
	return spec{name: s.Name, proof: ProofNetwork, network: p}, nil
}

// New checks specs and returns their Authenticator, or an error, a *[SpecError], per faulty spec.
func New(specs []Spec) (*Authenticator, []error) { return newFor(runtime.GOOS, specs) }

func newFor(goos string, specs []Spec) (*Authenticator, []error) {
	a := &Authenticator{byName: make(map[string]int, len(specs)), firstToken: -1}
	var errs []error
	for i, s := range specs {
		c, fault := check(i, s, goos)
		if _, twice := a.byName[s.Name]; twice && fault == nil {
			fault = &SpecError{Caller: i, Name: s.Name, Problem: "is there twice"}
		}
		if fault != nil {
			errs = append(errs, fault)
			continue
		}
		a.byName[s.Name] = len(a.specs)
		a.specs = append(a.specs, c)
		switch c.proof {
		case ProofToken:
			if a.firstToken < 0 {
				a.firstToken = len(a.specs) - 1
			}
		case ProofUID:
			a.uids = true
		}
		if c.accepts(ProofJWT) {
			a.audience = c.audience
		}
	}
	if errs != nil {
		return nil, errs
	}
	return a, nil
}
