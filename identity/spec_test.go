package identity

import (
	"errors"
	"go/build"
	"strings"
	"testing"
)

func uid(n uint32) *uint32 { return &n }

func TestSpecFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec Spec
		os   string
		want string
	}{
		{"no name", Spec{Token: "t"}, "linux", `caller "": has no name`},
		{"nothing", Spec{Name: "a"}, "linux", `caller "a": needs exactly one of token, uid, network and spiffe`},
		{"two", Spec{Name: "a", Token: "t", UID: uid(0)}, "linux", `caller "a": needs exactly one of token, uid, network and spiffe`},
		{"uid 0 counts as set", Spec{Name: "a", Network: "10.0.0.0/8", UID: uid(0)}, "linux", `caller "a": needs exactly one of token, uid, network and spiffe`},
		{"colon", Spec{Name: "a:b", Token: "t"}, "linux", `caller "a:b": token: the name is the user name clients send, so it cannot hold ':' or control characters`},
		{"windows", Spec{Name: "a", UID: uid(1)}, "windows", `caller "a": uid: not supported on windows`},
		{"not a network", Spec{Name: "a", Network: "10.0.0.1"}, "linux", `caller "a": network: "10.0.0.1" is not a network`},
		{"host bits", Spec{Name: "a", Network: "10.0.0.1/8"}, "linux", `caller "a": network: 10.0.0.1/8 has bits behind its mask`},
		{"mapped", Spec{Name: "a", Network: "::ffff:10.0.0.0/104"}, "linux", `caller "a": network: an IPv4 network in IPv6 form never matches`},
		{"everyone", Spec{Name: "a", Network: "0.0.0.0/0"}, "linux", `caller "a": network: 0.0.0.0/0 is everyone, which proves nothing`},
		{"everyone, IPv6", Spec{Name: "a", Network: "::/0"}, "linux", `caller "a": network: ::/0 is everyone, which proves nothing`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, errs := newFor(tc.os, []Spec{tc.spec})
			if a != nil || len(errs) != 1 || errs[0].Error() != tc.want {
				t.Fatalf("got %v, %q; want %q", a, errs, tc.want)
			}
		})
	}
}

func TestSpecFaultsAllAtOnce(t *testing.T) {
	_, errs := New([]Spec{{Name: "a"}, {Name: "b", Token: "t"}, {Name: "b", Token: "t"}, {Name: "c", Network: "x"}})
	var at []int
	for _, err := range errs {
		se, ok := errors.AsType[*SpecError](err)
		if !ok {
			t.Fatalf("%T is not a *SpecError", err)
		}
		at = append(at, se.Caller)
	}
	if len(at) != 3 || at[0] != 0 || at[1] != 2 || at[2] != 3 {
		t.Fatalf("faults at %v, want 0, 2 and 3: %v", at, errs)
	}
}

func TestNetworkHint(t *testing.T) {
	_, errs := New([]Spec{{Name: "a", Network: "10.1.2.3"}})
	if se, ok := errors.AsType[*SpecError](errs[0]); !ok || !strings.Contains(se.Hint, "10.1.2.3/32") {
		t.Fatalf("hint of %v does not give the network of the address", errs)
	}
}

// identity → any of ours: never (DESIGN §3).
func TestImportsNothingOfOurs(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		ctx := build.Default
		ctx.GOOS = goos
		p, err := ctx.ImportDir(".", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range p.Imports {
			if strings.HasPrefix(path, "github.com/attache-proxy/attache") {
				t.Errorf("%s: imports %s", goos, path)
			}
		}
	}
}
