package config

import (
	"strings"
	"testing"
)

// TestIdentityOfEnvironment: SPIFFE_ENDPOINT_SOCKET counts where something needs an identity and the
// configuration has none, and nowhere else.
func TestIdentityOfEnvironment(t *testing.T) {
	const (
		needed   = "version: 1\nrules: [{id: a, hosts: a.example, upstream: {client: svid}}]\n"
		unneeded = "version: 1\nrules: [{id: a, hosts: a.example}]\n"
		own      = "identity: {spiffe: \"unix:/run/own.sock\"}\n"
	)
	for name, tc := range map[string]struct{ text, env, address, problem string }{
		"needed and set":             {needed, "unix:/run/agent.sock", "unix:/run/agent.sock", ""},
		"needed and over TCP":        {needed, "tcp://127.0.0.1:8081", "tcp://127.0.0.1:8081", ""},
		"needed and not set":         {needed, "", "", "needs the proxy to have an identity of its own; write identity: {spiffe: unix:/path}, or set SPIFFE_ENDPOINT_SOCKET"},
		"needed and wrong":           {needed, "/run/agent.sock", "", "SPIFFE_ENDPOINT_SOCKET: must be unix:/path"},
		"not needed":                 {unneeded, "unix:/run/agent.sock", "", ""},
		"not needed and wrong":       {unneeded, "/run/agent.sock", "", ""},
		"needed and configured":      {needed + own, "unix:/run/agent.sock", "unix:/run/own.sock", ""},
		"not needed and configured":  {unneeded + own, "", "unix:/run/own.sock", ""},
		"configured, and that wrong": {needed + own, "nonsense", "unix:/run/own.sock", ""},
	} {
		env := testEnv()
		env.Getenv = func(name string) (string, bool) { return tc.env, name == spiffeSocket && tc.env != "" }
		cfg, err := load([]file{newFile("attache.yaml", []byte(tc.text))}, env, sampleKinds())
		switch {
		case tc.problem != "":
			if err == nil || !strings.Contains(err.Error(), tc.problem) {
				t.Errorf("%s: %v, want %q", name, err, tc.problem)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case cfg.Identity.Address != tc.address || (cfg.Identity.Key == "") != (tc.address == ""):
			t.Errorf("%s: %+v, want %q", name, cfg.Identity, tc.address)
		}
	}
}

// TestIdentityKeyTellsChanges: equal Keys mean that a reload keeps the source.
func TestIdentityKeyTellsChanges(t *testing.T) {
	key := func(identity string) string {
		return loadText(t, "version: 1\nidentity: "+identity+"\nrules: [{id: a, hosts: a.example}]\n").Identity.Key
	}
	if key("{files: {cert: /c, key: /k, bundle: /b}}") != key("\n  files:\n    bundle: /b\n    key: \"/k\"\n    cert: /c") {
		t.Error("style and order make a difference")
	}
	seen := map[string]string{}
	for _, identity := range []string{
		`{spiffe: "unix:/a"}`, `{spiffe: "unix:/b"}`, "{files: /a}", "{files: {dir: /a}}", "{files: {pem: /a, bundle: /b}}",
		"{files: {pem: /a, federated: {bank.example: /b}}}", "{files: {pem: /a, federated: {bank.example: /c}}}",
	} {
		if other, ok := seen[key(identity)]; ok {
			t.Errorf("%s has the key of %s", identity, other)
		}
		seen[key(identity)] = identity
	}
}
