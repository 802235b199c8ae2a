package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const layeredBase = `version: 1
vars: {region: eu}
listen: {proxy: "127.0.0.1:15001", admin: none}
callers: {ci: {token: ci-token}, me: {uid: 1000}}
secrets:
  stripe-key: {file: /run/stripe, owner: payments, optional: true}
  ci-token: {file: /run/ci}
rules:
  - {id: no-refunds, hosts: api.stripe.com, paths: /v1/refunds, deny: "Ask #payments."}
  - {id: stripe, hosts: "api.${region}.stripe.com", methods: [GET, POST], callers: ci, attach: {bearer: stripe-key}}
tests:
  - {call: POST api.stripe.com/v1/refunds, expect: no-refunds}
  - {call: GET api.eu.stripe.com/v1, caller: ci, expect: stripe}
`

const layeredOver = `version: 1
vars: {region: us}
listen: {proxy: "127.0.0.1:25001"}
secrets:
  stripe-key: {file: /run/staging}
rules:
  - {id: crm, hosts: api.crm.example}
  - {id: stripe, hosts: "api.${region}.stripe.com", methods: GET, callers: ci, attach: {bearer: stripe-key}}
tests:
  - {call: GET api.us.stripe.com/v1, caller: ci, expect: stripe}
  - {call: GET api.eu.stripe.com/v1, caller: ci, expect: no_rule}
`

// layers loads a file with others over it.
func layers(t *testing.T, over ...string) (*Config, error) {
	t.Helper()
	files := []file{newFile("attache.yaml", []byte(layeredBase))}
	for i, text := range over {
		f := newFile([]string{"attache.staging.yaml", "attache.local.yaml"}[i], []byte(text))
		f.layer = true
		files = append(files, f)
	}
	return loadCase(files)
}

// TestProfileReplacesWholeEntries: by name or id, never into each other; new rules go last.
func TestProfileReplacesWholeEntries(t *testing.T) {
	c, err := layers(t, layeredOver)
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, r := range c.Rules {
		rules = append(rules, r.ID+" "+strings.Join(r.Hosts, " ")+" "+strings.Join(r.Methods, " ")+" "+r.Pos)
	}
	want := "no-refunds api.stripe.com  attache.yaml:9\nstripe api.us.stripe.com GET attache.staging.yaml:8\ncrm api.crm.example  attache.staging.yaml:7"
	if got := strings.Join(rules, "\n"); got != want {
		t.Errorf("rules:\n%s\nwant\n%s", got, want)
	}
	if s := c.Secrets[0]; s.Name != "stripe-key" || s.Owner != "" || s.Optional || s.Pos != "attache.staging.yaml:5" {
		t.Errorf("%+v: something of the replaced entry is left", s)
	}
	if len(c.Secrets) != 2 || len(c.Callers) != 2 {
		t.Errorf("%d secrets, %d callers", len(c.Secrets), len(c.Callers))
	}
	if c.Listen.Proxy != "127.0.0.1:25001" || c.Listen.Admin != defaultAdmin {
		t.Errorf("%+v: listen is one entry", c.Listen)
	}
	for _, r := range c.RunTests() {
		if !r.Held {
			t.Errorf("%s: %s", r.Pos, r.Got)
		}
	}
	if len(c.Tests) != 3 {
		t.Errorf("%d tests: one replaced, one new", len(c.Tests))
	}
}

func TestLocalFileLiesOverTheProfile(t *testing.T) {
	c, err := layers(t, layeredOver, "version: 1\nvars: {region: local}\nrules: {id: crm, hosts: crm.local.example}\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Rules[1].Hosts[0] != "api.local.stripe.com" || c.Rules[2].Hosts[0] != "crm.local.example" || len(c.Rules) != 3 {
		t.Errorf("%+v", c.Rules)
	}
}

func TestLayersAreAsStrictAsFiles(t *testing.T) {
	for text, want := range map[string]string{
		"rules: []\n":                  "attache.staging.yaml:1:1: version: missing",
		"version: one\n":               "attache.staging.yaml:1:10: version: must be 1",
		"version: 2\n":                 "attache.staging.yaml:1:10: version: not known",
		"version: 1\nrequires: soon\n": "attache.staging.yaml:2:11: requires: must be a release",
		"version: 1\nruless: []\n":     `attache.staging.yaml:2:1: ruless: unknown key; did you mean "rules"?`,
		"version: 1\nsecrets: {stripe-key: {file: /x, field: }}\n":                              "attache.staging.yaml:2:",
		"version: 1\nsecrets: [a]\n":                                                            "attache.staging.yaml:2:10: secrets: must be a map",
		"version: 1\nrules: [{id: crm, hosts: a.example}, {id: crm, hosts: b.example}]\n":       `rule "crm": defined twice`,
		"version: 1\nrules: [{id: stripe, hosts: a.example}, {id: stripe, hosts: b.example}]\n": `rule "stripe": defined twice`,
		"version: 1\nrules: [{id: stripe, hosts: a.example, callers: nobody}]\n":                `attache.staging.yaml:2:`,
		"version: 1\nsecrets:\n  stripe-key: {file: /a}\n  stripe-key: {file: /b}\n":            "attache.staging.yaml:4:",
		"version: 1\n\tx":                 "attache.staging.yaml:2:",
		"version: 1\ncallers: {ci: {}}\n": "attache.staging.yaml:2:",
	} {
		_, err := layers(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
}

func TestReadFindsLayersBesideAFile(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "attache.yaml")
	for _, name := range []string{"attache.yaml", "attache.staging.yaml", "attache.local.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("version: 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func(path, profile string) string {
		files, err := Read(path, profile)
		if err != nil {
			return err.Error()
		}
		var all []string
		for _, f := range files {
			name := filepath.Base(f.Path)
			if f.Layer {
				name = "+" + name
			}
			all = append(all, name)
		}
		return strings.Join(all, " ")
	}
	for profile, want := range map[string]string{
		"":        "attache.yaml +attache.local.yaml",
		"staging": "attache.yaml +attache.staging.yaml +attache.local.yaml",
		"prod":    `profile "prod": there is no ` + filepath.Join(dir, "attache.prod.yaml") + "; there are: staging",
		"local":   `profile "local": not the name of a profile`,
		"../x":    `profile "../x": not the name of a profile`,
	} {
		if got := names(base, profile); got != want {
			t.Errorf("profile %q: %s", profile, got)
		}
	}
	if got := names(dir, ""); got != "attache.local.yaml attache.staging.yaml attache.yaml" {
		t.Errorf("a directory: %s", got)
	}
	if got := names(dir, "staging"); !strings.Contains(got, "is a directory") {
		t.Error(got)
	}
}
