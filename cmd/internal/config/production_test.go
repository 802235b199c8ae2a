package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/watcher/source"
)

const production = `version: 1
ca: {publish: /run/trust, state: /run/ca}
callers: {app: {token: app-token}}
secrets:
  stripe-key: {file: /run/stripe}
  app-token: {file: /run/app}
rules:
  - {id: stripe, hosts: api.stripe.com, callers: app, attach: {bearer: stripe-key}}
`

// TestProductionRefuses: one change each to a configuration that passes.
func TestProductionRefuses(t *testing.T) {
	if cfg := loadProduct(t, production, ""); len(cfg.Production) > 0 {
		t.Fatal(cfg.Production)
	}
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(production) }
	for _, c := range []struct{ text, want string }{
		{production + "unmatched: {observe_until: 2999-01-01T00:00Z}\n", "attache.yaml:9:28: unmatched.observe_until"},
		{production + "audit: {file: none}\n", "attache.yaml:9:15: audit.file"},
		{edit("stripe-key: {file: /run/stripe}", "stripe-key: {exec: [op, read]}"), `attache.yaml:5:3: secret "stripe-key": runs a command`},
		{edit("stripe-key: {file: /run/stripe}", "stripe-key: {mock: sk_}"), `attache.yaml:5:3: secret "stripe-key": is made up`},
		{edit("stripe-key: {file: /run/stripe}", "stripe-key: {env: KEY}"), `attache.yaml:5:3: secret "stripe-key": an environment variable`},
		{edit("app-token: {file: /run/app}", "app-token: {file: /run/app, optional: true}"), `attache.yaml:6:3: secret "app-token": callers prove`},
		{production + "listen: {unsafe_open: true}\n", "attache.yaml:9:10: unsafe_open"},
		{edit("callers: app, ", ""), `attache.yaml:8:10: rule "stripe": presents a credential for everyone`},
		{edit("attach:", "scrub: false, attach:"), `attache.yaml:8:10: rule "stripe": an answer that repeats`},
		{edit("attach:", "upstream: {allow: 0.0.0.0/0}, attach:"), `attache.yaml:8:10: rule "stripe": may reach every address`},
		{edit(", state: /run/ca", ""), "attache.yaml:2:5: ca.state"},
	} {
		cfg := loadProduct(t, c.text, "")
		if len(cfg.Production) != 1 || !strings.HasPrefix(cfg.Production[0].String(), c.want) {
			t.Errorf("%v\nwant %s", cfg.Production, c.want)
		}
	}
	cfg := loadProduct(t, production, "version: 1\nrules: [{id: stripe, hosts: api.stripe.com, callers: app, attach: {bearer: stripe-key}}]\n")
	if len(cfg.Production) != 1 || !strings.HasPrefix(cfg.Production[0].String(), "attache.local.yaml:2:9: attache.local.yaml is for one machine") {
		t.Error(cfg.Production)
	}
}

// TestProductionKnowsEverySource: a new source must be judged before it is taken for fit.
func TestProductionKnowsEverySource(t *testing.T) {
	fit := []string{"file", "files", "credential"}
	for _, k := range newTables(nil, source.Kinds()).secrets {
		if unfit(k.name) == "" && !slices.Contains(fit, k.name) {
			t.Errorf("is %s fit for production? Say so here or in unfit", k.name)
		}
	}
}

func loadProduct(t *testing.T, text, local string) *Config {
	t.Helper()
	files := []File{{Path: "attache.yaml", Data: []byte(text)}}
	if local != "" {
		files = append(files, File{Path: "attache.local.yaml", Data: []byte(local), Layer: true})
	}
	cfg, err := LoadFiles(files, Env{})
	if err != nil {
		t.Fatal(fmt.Sprint(err), text)
	}
	return cfg
}
