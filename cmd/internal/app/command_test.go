package app

import (
	"os"
	"slices"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
)

// TestRunServesNobodyByPlace: a configuration that is made for a container knows its callers by network, by user or by
// pod. On a developer's machine others are there too, and are not served.
func TestRunServesNobodyByPlace(t *testing.T) {
	mine, other := uint32(os.Geteuid()), uint32(os.Geteuid()+1)
	cfg := &config.Config{Callers: []identity.Spec{
		{Name: "me", UID: &mine}, {Name: "www", UID: &other}, {Name: "sidecar", Network: "127.0.0.0/8"},
		{Name: "ci", Token: "ci-token"}, {Name: "pod", SPIFFE: "spiffe://acme.example/shop", Proof: identity.ProofPod},
	}}
	given := slices.Clone(cfg.Callers)
	if err := (&Command{Token: "token-of-the-run", As: "sidecar"}).adapt(cfg); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range cfg.Callers {
		if c.Name != commandUser {
			names = append(names, c.Name)
		}
	}
	if want := []string{"me", "ci", CommandCaller}; !slices.Equal(names, want) {
		t.Errorf("served are %q, want %q", names, want)
	}
	if len(given) != 5 || given[1].Name != "www" {
		t.Error("the configuration's own list was changed")
	}
}
