package identity

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TestIDPrefixConfusion: segments are compared whole, and a trust domain is never a beginning of another.
func TestIDPrefixConfusion(t *testing.T) {
	for _, tc := range []struct {
		pattern, id string
		want        bool
	}{
		{"spiffe://acme.example/sa/api", "spiffe://acme.example/sa/api", true},
		{"spiffe://acme.example/sa/api", "spiffe://acme.example/sa/api-admin", false},
		{"spiffe://acme.example/sa/api", "spiffe://acme.example/sa/api/admin", false},
		{"spiffe://acme.example/sa/api", "spiffe://acme.example/sa/ap", false},
		{"spiffe://acme.example/sa/api", "spiffe://acme.example/sa", false},
		{"spiffe://acme.example/sa/api", "spiffe://acme.example/sa/API", false},
		{"spiffe://acme.example/sa/api", "spiffe://acme.example.evil/sa/api", false},
		{"spiffe://acme.example/sa/api", "spiffe://evil-acme.example/sa/api", false},
		{"spiffe://acme.example/sa/*", "spiffe://acme.example/sa/api", true},
		{"spiffe://acme.example/sa/*", "spiffe://acme.example/sa", false},
		{"spiffe://acme.example/sa/*", "spiffe://acme.example/sa/api/x", false},
		{"spiffe://acme.example/ns/*/sa/api", "spiffe://acme.example/ns/shop/sa/api", true},
		{"spiffe://acme.example/ns/*/sa/api", "spiffe://acme.example/ns/shop/x/sa/api", false},
		{"spiffe://acme.example/ns/*/sa/api", "spiffe://acme.example/ns/shop/sa/api2", false},
		{"spiffe://acme.example/ns/**", "spiffe://acme.example/ns/shop/sa/api", true},
		{"spiffe://acme.example/ns/**", "spiffe://acme.example/ns/shop", true},
		{"spiffe://acme.example/ns/**", "spiffe://acme.example/ns", false},
		{"spiffe://acme.example/ns/**", "spiffe://acme.example/nsx/shop", false},
		{"spiffe://acme.example/ns/**", "spiffe://acme.example", false},
		{"spiffe://acme.example/*/sa/api", "spiffe://acme.example/x/sa/api", true},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(spiffeid.RequireFromString(tc.id)); got != tc.want {
			t.Errorf("%s matches %s: %v", tc.pattern, tc.id, got)
		}
		if p.String() != tc.pattern || p.Exact() == strings.Contains(tc.pattern, "*") {
			t.Errorf("%s: printed %s, exact %v", tc.pattern, p, p.Exact())
		}
	}
	if (Pattern{}).Match(spiffeid.ID{}) || (Pattern{}).Match(spiffeid.RequireFromString(shop)) {
		t.Error("the zero Pattern matches")
	}
}

func TestWidePatternsAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "*", "spiffe://", "spiffe:///sa", "spiffe://*/sa/api", "spiffe://*.example/sa/api", "spiffe://acme.example",
		"spiffe://acme.example/", "spiffe://acme.example/*", "spiffe://acme.example/**", "spiffe://acme.example/*/**",
		"spiffe://acme.example/*/*", "spiffe://acme.example/**/sa", "spiffe://acme.example/sa/api-*", "spiffe://acme.example/sa/***",
		"spiffe://acme.example/sa//x", "spiffe://acme.example/sa/", "spiffe://acme.example/sa/..", "spiffe://acme.example/sa/./x",
		"spiffe://Acme.example/sa", "SPIFFE://acme.example/sa", "https://acme.example/sa", "spiffe://acme.example/s%61",
		"spiffe://acme.example/sa?x", "spiffe://acme.example/sa#x", "spiffe://acme.example:443/sa", "spiffe://u@acme.example/sa",
		"spiffe://acme.example/" + strings.Repeat("a", maxID),
	} {
		if p, err := ParsePattern(s); err == nil {
			t.Errorf("%q is accepted as %v", s, p)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("spiffe://acme.example/ns/*/sa/**", "spiffe://acme.example/ns/shop/sa/api")
	f.Add("spiffe://acme.example/sa/api", "spiffe://acme.example/sa/api-admin")
	f.Fuzz(func(t *testing.T, text, id string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Fatalf("%q prints %q", text, p)
		}
		if again, err := ParsePattern(p.String()); err != nil || again != p {
			t.Fatalf("%q: %v", text, err)
		}
		sid, err := spiffeid.FromString(id)
		if err != nil {
			return
		}
		if p.Match(sid) && (sid.TrustDomain() != p.TrustDomain() || sid.Path() == "" || p.Exact() && id != text) {
			t.Fatalf("%q matches %q", text, id)
		}
	})
}
