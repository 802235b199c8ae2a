package identity

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
)

// Spec is one configured caller; exactly one of Token, UID and Network is set.
type Spec struct {
	Name    string
	Token   string // name of the secret that holds the token
	UID     *uint32
	Network string // CIDR
}

// SpecError is a fault of one configured caller.
type SpecError struct {
	Caller  int    // index
	Name    string // of the caller
	Field   string // "token", "uid", "network"; empty: the caller as a whole
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
	name    string
	proof   Proof
	token   string
	uid     uint32
	network netip.Prefix
}

func (s *spec) caller() Caller { return Caller{Name: s.name, Proof: s.proof} }

// check returns the checked form of the i-th Spec, or what is wrong with it.
func check(i int, s Spec, goos string) (spec, *SpecError) {
	fault := func(field, problem, hint string) (spec, *SpecError) {
		return spec{}, &SpecError{Caller: i, Name: s.Name, Field: field, Problem: problem, Hint: hint}
	}
	if s.Name == "" {
		return fault("", "has no name", "")
	}
	n := 0
	for _, set := range []bool{s.Token != "", s.UID != nil, s.Network != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fault("", "needs exactly one of token, uid and network", "for two proofs of one caller, name two callers")
	}

	switch {
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
	}
	if errs != nil {
		return nil, errs
	}
	return a, nil
}
