package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestNearestHost(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "denied", Hosts: []string{"api.stripe.com", "denied.test"}, Action: Deny},
		Spec{ID: "stripe", Hosts: []string{"api.stripe.com"}},
		Spec{ID: "npm", Hosts: []string{"registry.npmjs.org"}, Action: Tunnel},
		Spec{ID: "crm", Hosts: []string{"*.crm.example:8443", "http://192.0.2.1"}},
		Spec{ID: "files", Hosts: []string{"files.stripe.com", "ab"}},
	)
	for host, want := range map[string]int{
		"api.stripe.com":                   1, // on another port
		"api.stirpe.com":                   1,
		"apistripe.com":                    1,
		"api.stripe.co":                    1,
		"fles.stripe.com":                  4, // a slip before the domain
		"m.stripe.com":                     1,
		"registry.npmjs.com":               -1,
		"npmjs.org":                        2,
		"a.b.crm.example":                  3,
		"192.0.2.1":                        3,
		"192.0.2.2":                        -1,
		"denied.tset":                      -1,
		"evil.test":                        -1,
		"xy":                               -1, // two of two letters are another name
		"localhost":                        -1,
		"com":                              -1,
		"API.stripe.com":                   -1,
		"":                                 -1,
		strings.Repeat("a.", 500) + "test": -1,
	} {
		if got := p.NearestHost(host); got != want {
			t.Errorf("%s: %d, want %d", host, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, rng.IntN(9))
		for i := range b {
			b[i] = "ab."[rng.IntN(3)]
		}
		return string(b)
	}
	for range 20_000 {
		a, b, limit := word(), word(), rng.IntN(4)
		if got, want := distance(a, b, limit), min(slowDistance(a, b), limit+1); got != want {
			t.Fatalf("%q, %q within %d: %d, want %d", a, b, limit, got, want)
		}
	}
}

func slowDistance(a, b string) int {
	switch {
	case a == "" || b == "":
		return len(a) + len(b)
	case a[0] == b[0]:
		return slowDistance(a[1:], b[1:])
	}
	return 1 + min(slowDistance(a[1:], b), slowDistance(a, b[1:]), slowDistance(a[1:], b[1:]))
}

// A client can ask for hosts as it likes: this is what each refusal costs at most.
func BenchmarkNearestHost(b *testing.B) {
	long := strings.Repeat("abcdefghi.", 24)
	var specs []Spec
	for i := range 1000 {
		specs = append(specs, Spec{ID: fmt.Sprint(i), Hosts: []string{fmt.Sprintf("%sx%d.test", long, i)}})
	}
	p := mustNew(b, specs...)
	b.ReportAllocs()
	for b.Loop() {
		p.NearestHost(long + "xyz.test")
	}
}
