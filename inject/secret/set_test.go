package secret_test

import (
	"errors"
	"go/build"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// TestKnownExpiredIsMissing: promise 9 holds even where whoever publishes Sets is late.
func TestKnownExpiredIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := secret.NewExpiring("jwt", 1, time.Now(), time.Now().Add(time.Minute), []byte("of no use tomorrow"))
		set := secret.NewSet(map[string]secret.Entry{"jwt": {Current: v}})
		time.Sleep(time.Minute - time.Nanosecond)
		if got, err := set.Lookup("jwt"); err != nil || !got.Same(v) {
			t.Errorf("before: %v %v", got, err)
		}
		time.Sleep(time.Nanosecond)
		got, err := set.Lookup("jwt")
		if _, ok := errors.AsType[*secret.MissingError](err); !ok || !got.IsZero() || err.Error() != `secret "jwt": expired` {
			t.Errorf("at its end: %v %v", got, err)
		}
	})
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
