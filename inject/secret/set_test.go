package secret_test

import (
	"errors"
	"go/build"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/inject/secret"
)

func TestMissingSecretIsAnError(t *testing.T) {
	v := value()
	set := secret.NewSet(map[string]secret.Entry{
		"pay":  {Current: v},
		"gone": {Previous: v, Problem: "not found (file /run/secrets/gone)"},
	})
	if got, err := set.Lookup("pay"); err != nil || !got.Same(v) {
		t.Errorf("pay: %v %v", got, err)
	}
	for set, want := range map[*secret.Set]map[secret.Ref]string{
		set: {
			"gone":  `secret "gone": not found (file /run/secrets/gone)`,
			"other": `secret "other": not configured`,
			"":      `secret "": not configured`,
		},
		nil: {"pay": `secret "pay": not configured`},
	} {
		for name, msg := range want {
			got, err := set.Lookup(name)
			if _, ok := errors.AsType[*secret.MissingError](err); !ok || err.Error() != msg || !got.IsZero() {
				t.Errorf("%q: got %v, error %v; want %s", name, got, err, msg)
			}
		}
	}
}

// A leaf: what everything imports must drag nothing of Attaché along.
func TestForbiddenImports(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range p.Imports {
		if strings.Contains(path, ".") {
			t.Errorf("imports %s: this package uses the standard library only", path)
		}
	}
}
