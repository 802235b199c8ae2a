package mitm

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

func TestParseNames(t *testing.T) {
	n, err := parseNames([]string{"b.test", "*.a.test", "a.test", "x.a.test", "10.0.0.2"}, []string{"**.C.test", "::ffff:10.0.0.1", "2001:DB8::1", "b.test", "ab.test"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(n.list(), " "), "a.test ab.test b.test c.test 10.0.0.1 10.0.0.2 2001:db8::1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for host, want := range map[string]bool{
		"a.test": true, "deep.x.a.test": true, "xa.test": false, "test": false, "10.0.0.1": true, "10.0.0.3": false, "2001:db8::1": true, "2001:db8::2": false,
	} {
		if n.covers(host) != want {
			t.Errorf("%s: want %v", host, want)
		}
	}
	for _, bad := range []string{"", "*", "**", "*.", "a.*.test", "*.*.test", "a b.test", "a.test.", "bücher.test", "*.10.0.0.1", "fe80::1%eth0", "a.test:443", "[::1]", strings.Repeat("a", 64) + ".test", "a" + longHost} {
		if _, err := parseNames([]string{bad}); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}

func TestSplitLosesNothing(t *testing.T) {
	var n names
	for i := range 300 {
		n.dns = append(n.dns, strings.Repeat("a.", 100)+string(rune('a'+i%26))+strings.Repeat("b", 1+i/26)+".test")
	}
	n.tidy()
	var got []string
	for _, p := range n.split() {
		got = append(got, p.list()...)
	}
	if !slices.Equal(got, n.list()) || len(n.split()) < 3 {
		t.Errorf("%d names in %d parts, want %d", len(got), len(n.split()), len(n.dns))
	}
}

// TestImportsNothingOfOurs: the CA knows no policy, rules, callers or secrets.
func TestImportsNothingOfOurs(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range p.Imports {
		if strings.HasPrefix(path, "github.com/attache-proxy/") {
			t.Errorf("imports %s", path)
		}
	}
}
