package policy

import (
	"go/build"
	"slices"
	"testing"
)

// TestPolicyIsPure holds DESIGN §3: rules know no I/O, no clock, no logs and
// none of our other packages.
func TestPolicyIsPure(t *testing.T) {
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"errors", "fmt", "maps", "net/netip", "slices", "strconv", "strings", "unicode/utf8", "golang.org/x/net/idna", "golang.org/x/net/publicsuffix"}
	for _, path := range pkg.Imports {
		if !slices.Contains(allowed, path) {
			t.Errorf("policy imports %s", path)
		}
	}
}
