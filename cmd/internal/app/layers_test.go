package app

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLayersAreReloaded: a file that is laid over the configuration, or taken away, is a change of it.
func TestLayersAreReloaded(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("attache.yaml", "version: 1\nrules: [{id: a, hosts: a.example}]\n")
	write("attache.staging.yaml", "version: 1\nrules: [{id: a, hosts: staging.example}]\n")
	a, err := New(filepath.Join(dir, "attache.yaml"), Options{Profile: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	if host := a.Configuration().Rules[0].Hosts[0]; host != "staging.example" {
		t.Errorf("calls %s", host)
	}
	seen := map[string]bool{a.fingerprint(nil): true}
	differs := func(what string) {
		t.Helper()
		if seen[a.fingerprint(nil)] {
			t.Error("no change is seen: ", what)
		}
		seen[a.fingerprint(nil)] = true
	}
	write("attache.staging.yaml", "version: 1\n")
	differs("the profile's content")
	write("attache.local.yaml", "version: 1\n")
	differs("a new local file")
	write("attache.local.yaml", "version: 1\nrules: [{id: a, hosts: local.example}]\n")
	differs("the local file's content")
	b, err := a.load()
	if err != nil || b.cfg.Rules[0].Hosts[0] != "local.example" {
		t.Errorf("%v %v", b, err)
	}
}
