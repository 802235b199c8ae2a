package app

import (
	"os"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

// TestReloadKeepsWhatDidNotChange: a pool of connections and an injector outlive reloads that do not
// concern them, and no other.
func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	cfg := func(key, header string) *config.Config {
		text := "version: 1\nlisten: {admin: none}\nsecrets: {k: {file: /k}, l: {file: /l}}\n" +
			"credentials: {shared: {bearer: k}}\nrules:\n" +
			"  - {id: a, hosts: a.test, attach: shared}\n  - {id: b, hosts: b.test, attach: shared}\n" +
			"  - {id: c, hosts: c.test, attach: {header: {name: " + header + ", secret: " + key + "}}}\n"
		path := t.TempDir() + "/attache.yaml"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, config.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old, same, other := cfg("l", "X-Key"), cfg("l", "X-Key"), cfg("k", "X-Key")
	keepInjectors(same, old)
	keepInjectors(other, old)
	for i := range old.Rules {
		if same.Rules[i].Attach[0].Injector != old.Rules[i].Attach[0].Injector {
			t.Errorf("rule %s: nothing changed, and it has another injector", old.Rules[i].ID)
		}
	}
	if other.Rules[2].Attach[0].Injector == old.Rules[2].Attach[0].Injector {
		t.Error("the secret changed, and the injector did not")
	}
	if other.Rules[0].Attach[0].Injector != old.Rules[0].Attach[0].Injector || same.Credentials[0].Injector != old.Credentials[0].Injector {
		t.Error("a shared credential did not survive")
	}
}
