package preset

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

var update = flag.Bool("update", false, "write the documentation that is made from the code")

func home(name string) (string, bool) {
	return "/home/someone", name == "HOME" || name == "USERPROFILE"
}

// load holds that a configuration is valid and that its tests hold.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.LoadFiles([]config.File{{Path: "attache.yaml", Data: []byte(text)}}, config.Env{Getenv: home})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, r := range cfg.RunTests() {
		if !r.Held {
			t.Errorf("%s: %s: expected %s, %s", r.Pos, r.URL, r.Expect, r.Got)
		}
	}
	return cfg
}

// TestPresets: every preset is a valid configuration whose tests hold, for run and for serve, from every source;
// and for serve it is fit for production.
func TestPresets(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			for _, source := range Sources() {
				cfg := load(t, Options{Project: "shop", Source: source}.Render([]Preset{p}))
				for _, w := range cfg.Warnings {
					if !strings.Contains(w.Message, "for everyone the listener admits") {
						t.Error(w)
					}
				}
			}
			cfg := load(t, Options{Serve: true, UID: 1000}.Render([]Preset{p}))
			if len(cfg.Warnings) > 0 || len(cfg.Production) > 0 {
				t.Error(cfg.Warnings, cfg.Production)
			}
			allowed, refused := false, false
			for _, r := range cfg.RunTests() {
				allowed, refused = allowed || r.Verdict.Allowed, refused || !r.Verdict.Allowed
			}
			if !allowed || !refused {
				t.Error("its tests do not show what passes and what does not")
			}
		})
	}
}

// TestPresetsTogether: all of them in one configuration, and each pair keeps the promises of both.
func TestPresetsTogether(t *testing.T) {
	all := All()
	load(t, Options{}.Render(all))
	load(t, Options{Serve: true, UID: 1000}.Render(all))
	for i := range all {
		for j := range i {
			load(t, Options{}.Render([]Preset{all[j], all[i]}))
		}
	}
}

// TestPresetsAreBounded: a rule that presents a credential names methods or paths, exact hosts, and only
// secrets of its preset; each secret is presented.
func TestPresetsAreBounded(t *testing.T) {
	seen := map[string]string{}
	for _, p := range All() {
		if p.Title == "" || p.Key == "" || p.Known == "" {
			t.Errorf("%s lacks a title, where its key is made, or how its facts are known", p.Name)
		}
		used := map[string]bool{}
		for _, r := range p.Rules {
			if r.Attach != "" && len(r.Methods) == 0 && len(r.Paths) == 0 {
				t.Errorf("%s: rule %s presents its credential to any call", p.Name, r.ID)
			}
			for _, h := range r.Hosts {
				if r.Attach != "" && strings.HasPrefix(h, "**") {
					t.Errorf("%s: rule %s presents its credential to any host below %s", p.Name, r.ID, h)
				}
			}
			if (r.Attach == "") != (len(r.Uses) == 0) {
				t.Errorf("%s: rule %s attaches %q and uses %q", p.Name, r.ID, r.Attach, r.Uses)
			}
			for _, name := range r.Uses {
				used[name] = true
			}
		}
		for _, s := range p.Secrets {
			if !used[s.Name] {
				t.Errorf("%s: %s is not used", p.Name, s.Name)
			}
			if len(s.Prefix) > 16 {
				t.Errorf("%s: %s: a mock cannot begin so", p.Name, s.Name)
			}
			for _, env := range append(slices.Clone(s.Env), s.Name) {
				if other := seen[env]; other != "" {
					t.Errorf("%s and %s both have %s", other, p.Name, env)
				}
				seen[env] = p.Name
			}
		}
	}
}

// TestPlaceholdersPassTheSDKs: SDKs that look at a key's shape before they use it take the placeholder.
func TestPlaceholdersPassTheSDKs(t *testing.T) {
	shapes := map[string]string{
		"stripe-key":     `^(sk|rk)_[a-z]+_.{4,}$`, // the CLI's three parts
		"sendgrid-key":   `^SG\.`,
		"hf-token":       `^hf_`, // otherwise it counts as a key of an inference provider
		"twilio-key-sid": `^SK`,
	}
	for _, p := range All() {
		for _, s := range p.Secrets {
			if shape, ok := shapes[s.Name]; ok && !regexp.MustCompile(shape).MatchString(s.placeholder()) {
				t.Errorf("%s: %s is not of the shape %s", p.Name, s.placeholder(), shape)
			}
			delete(shapes, s.Name)
		}
	}
	if len(shapes) > 0 {
		t.Error("no such secrets:", shapes)
	}
}

const doc = "../../../docs/presets.md"

// TestPresetsDocumented holds docs/presets.md to the table.
func TestPresetsDocumented(t *testing.T) {
	want := documentation()
	if *update {
		if err := os.WriteFile(doc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(doc)
	if err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf("docs/presets.md is not current (%v): go test ./cmd/internal/preset -run TestPresetsDocumented -update", err)
	}
}

func documentation() string {
	var b strings.Builder
	b.WriteString(`# Presets

<!-- Made from the code by: go test ./cmd/internal/preset -run TestPresetsDocumented -update -->

` + "`attache init PRESET…`" + ` writes an ` + "`attache.yaml`" + ` with the rules for these APIs: their hosts, the methods and paths
that an application needs, how the key is presented, placeholders for SDKs that insist on one, and tests. It is a start:
read it, and take out what you do not call. Without a preset it looks at the project, at names of dependencies and of
variables in ` + "`.env`" + `, never at values, and proposes.

` + "`--secrets`" + ` says where the keys are kept: ` + "`" + strings.Join(Sources(), "`, `") + "`" + `. ` + "`--serve`" + ` makes a configuration
for ` + "`attache serve`" + ` that passes ` + "`attache check --production`" + `: callers are named, and the CA is kept.

| preset | for | hosts | presents | variables that get a placeholder | facts as in |
|---|---|---|---|---|---|
`)
	cell := func(items []string, empty string) string {
		if len(items) == 0 {
			return empty
		}
		return "`" + strings.Join(items, "`, `") + "`"
	}
	for _, p := range All() {
		var hosts, kinds, env []string
		for _, r := range p.Rules {
			for _, h := range r.Hosts {
				if !slices.Contains(hosts, h) {
					hosts = append(hosts, h)
				}
			}
			kind, _, _ := strings.Cut(strings.TrimLeft(r.Attach, "[{"), ":")
			if kind != "" && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
		for _, s := range p.Secrets {
			env = append(env, s.Env...)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", p.Name, p.Title, cell(hosts, ""), cell(kinds, "nothing"), cell(env, ""), p.Known)
	}
	b.WriteString("\n## Keys\n\nThe least that a key needs, and where it is made.\n\n")
	for _, p := range All() {
		fmt.Fprintf(&b, "- `%s`: %s\n", p.Name, p.Key)
		if p.Note != "" {
			fmt.Fprintf(&b, "  %s\n", p.Note)
		}
	}
	return b.String()
}
