package identity

import (
	"go/build"
	"strings"
	"testing"
)

// TestIdentityImportsNoneOfOurs holds DESIGN §3: identity knows none of our packages, and what serves in the
// binary for the demo does not bring package testing into it, nor what it is there to test.
func TestIdentityImportsNoneOfOurs(t *testing.T) {
	for _, dir := range []string{".", "identitytest"} {
		pkg, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range pkg.Imports {
			if strings.HasPrefix(path, "github.com/attache-proxy/attache") || path == "testing" {
				t.Errorf("%s imports %s", dir, path)
			}
		}
	}
}
