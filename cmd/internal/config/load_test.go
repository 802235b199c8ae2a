package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files and docs/configuration.md anew")

// testEnv is a process of release 1.3.0 on a day in 2026.
func testEnv() Env {
	return Env{
		Version: "1.3.0",
		Now:     func() time.Time { return time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC) },
		Getenv: func(name string) (string, bool) {
			v, ok := map[string]string{
				"ATTACHE_VAR_set": "yes", "ATTACHE_VAR_empty": "", "ATTACHE_VAR_control": "a\nb", "API_KEY": "never read",
			}[name]
			return v, ok
		},
	}
}

// loadCase loads one case of an archive: a file, or the files of a directory.
func loadCase(files []file) (*Config, error) { return load(files, testEnv(), sampleKinds()) }

func loadText(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := loadCase([]file{newFile("attache.yaml", []byte(text))})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// golden runs every case of the archives through say and compares what it
// says with what is written below the case.
func golden(t *testing.T, pattern string, say func(t *testing.T, files []file) string) {
	archives, err := filepath.Glob(pattern)
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out := &txtar.Archive{Comment: archive.Comment}
		for len(archive.Files) > 0 {
			name, files, wants, rest := nextCase(archive.Files)
			archive.Files = rest
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar")+"/"+name, func(t *testing.T) {
				got := say(t, files)
				out.Files = append(out.Files, sources(files)...)
				out.Files = append(out.Files, txtar.File{Name: name + ".want", Data: []byte(got)})
				if !*update && got != wants {
					t.Errorf("got:\n%s\nwant:\n%s", got, wants)
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// nextCase takes the files of the first case, and what is wanted of it.
func nextCase(all []txtar.File) (name string, files []file, want string, rest []txtar.File) {
	dir, _, several := strings.Cut(all[0].Name, "/")
	name = strings.TrimSuffix(dir, ".yaml")
	for i, f := range all {
		switch {
		case f.Name == name+".want":
			return name, files, string(f.Data), all[i+1:]
		case i > 0 && (!several || !strings.HasPrefix(f.Name, dir+"/")):
			return name, files, "", all[i:]
		}
		files = append(files, newFile(f.Name, f.Data))
	}
	return name, files, "", nil
}

func sources(files []file) []txtar.File {
	out := make([]txtar.File, len(files))
	for i, f := range files {
		out[i] = txtar.File{Name: f.path, Data: f.data}
	}
	return out
}

func TestBadConfigurations(t *testing.T) {
	golden(t, "testdata/bad/*.txtar", func(t *testing.T, files []file) string {
		cfg, err := loadCase(files)
		if err == nil || cfg != nil {
			t.Fatal("loaded")
		}
		problems, ok := errors.AsType[Errors](err)
		if !ok {
			t.Fatalf("no Errors: %v", err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.File == "" {
				t.Errorf("no place: %+v", p)
			}
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "made-up") || strings.Contains(err.Error(), "0a1b2c3d") {
			t.Error("a value is in the message")
		}
		return err.Error() + "\n"
	})
}

func TestWarnings(t *testing.T) {
	golden(t, "testdata/warn/*.txtar", func(t *testing.T, files []file) string {
		cfg, err := loadCase(files)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, w := range cfg.Warnings {
			fmt.Fprintln(&b, w)
		}
		return b.String()
	})
}

// goodFiles are the examples that must load.
func goodFiles(t *testing.T) []file {
	t.Helper()
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no good configurations: %v", err)
	}
	var files []file
	for _, path := range paths {
		f, err := readFile(path, path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// The examples mean something to the product, too.
func TestGoodConfigurationsLoadWithEveryKindOfTheProduct(t *testing.T) {
	for _, f := range goodFiles(t) {
		if _, err := Load(f.path, testEnv()); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

func TestGoodConfigurations(t *testing.T) {
	for _, f := range goodFiles(t) {
		t.Run(f.name, func(t *testing.T) {
			cfg, err := loadCase([]file{f})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range cfg.RunTests() {
				if !r.Held {
					t.Errorf("%s: %s %s: expected %s, got %s", r.Pos, r.Method, r.URL, r.Expect, r.Got)
				}
			}
		})
	}
}

// The good files set every key of the grammar, so that none is left untested.
func TestEveryKeyIsInAGoodConfiguration(t *testing.T) {
	text := ""
	for _, f := range goodFiles(t) {
		text += string(f.data)
	}
	for _, s := range sections() {
		for _, f := range structureOf(s.typ).fields {
			if !strings.Contains(text, f.key+":") {
				t.Errorf("%s is in no good configuration", f.key)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	cfg := loadText(t, "version: 1\n")
	limits, grace := defaultLimits()
	if cfg.Limits != limits || cfg.Shutdown != grace {
		t.Errorf("limits %+v", cfg.Limits)
	}
	if cfg.Listen.Proxy != "127.0.0.1:15001" || cfg.Listen.Admin != "127.0.0.1:15000" || cfg.Listen.Health != "" {
		t.Errorf("listen %+v", cfg.Listen)
	}
	if cfg.Audit != (Audit{File: "-"}) {
		t.Errorf("audit %+v", cfg.Audit)
	}
	if cfg.Policy == nil || !cfg.ObserveUntil.IsZero() {
		t.Error("unmatched hosts are not refused")
	}
}

// Long LLM calls, uploads of a GiB and streams of a day survive the defaults.
func TestDefaultsLetLongCallsLive(t *testing.T) {
	l, _ := defaultLimits()
	if l.RequestBody != -1 || l.ResponseHeader != -1 || l.Total != -1 || l.StreamIdle < 24*time.Hour {
		t.Errorf("%+v", l)
	}
}

// What the documentation calls the default is the default.
func TestDocumentedDefaults(t *testing.T) {
	text := "version: 1\nlimits:\n"
	for _, f := range structureOf(sectionOf("limits")).fields {
		if f.def == "" {
			t.Errorf("limits.%s: no documented default", f.key)
		}
		text += "  " + f.key + ": " + f.def + "\n"
	}
	cfg := loadText(t, text)
	limits, grace := defaultLimits()
	if cfg.Limits != limits || cfg.Shutdown != grace {
		t.Errorf("documented %+v %v, actual %+v %v", cfg.Limits, cfg.Shutdown, limits, grace)
	}
	cfg = loadText(t, fmt.Sprintf("version: 1\nlisten: {proxy: %s, admin: %s, health: %s}\n",
		structureOf(sectionOf("listen")).find("proxy").def,
		structureOf(sectionOf("listen")).find("admin").def,
		structureOf(sectionOf("listen")).find("health").def))
	if want := (Listen{Proxy: defaultProxy, Admin: defaultAdmin}); !slices.Equal(cfg.Listen.Routes, want.Routes) || cfg.Listen.Proxy != want.Proxy ||
		cfg.Listen.Admin != want.Admin || cfg.Listen.Health != want.Health {
		t.Errorf("documented %+v", cfg.Listen)
	}
}

func TestRuleLimitsFallBackToGlobalOnes(t *testing.T) {
	cfg := loadText(t, `version: 1
limits: {total: 5m, connect: 3s}
rules: [{id: a, hosts: a.example, limits: {total: none}}]
`)
	if l := cfg.Rules[0].Limits; l.Total != -1 || l.Connect != 3*time.Second || l.InFlight != 512 {
		t.Errorf("%+v", l)
	}
}

func TestKeysTellChangesApart(t *testing.T) {
	key := func(secret string) string {
		return loadText(t, "version: 1\nsecrets: {a: "+secret+"}\n").Secrets[0].Key
	}
	same := key("{file: /a, field: b}")
	if same != key("{field: \"b\",   file: /a}") || same != key("{field: b, x-note: z, file: /a}") {
		t.Error("style changes the key")
	}
	for _, other := range []string{"{file: /b, field: b}", "{env: /a, field: b}", "{file: /a}", "{file: /a, field: b, optional: true}"} {
		if same == key(other) {
			t.Errorf("%s has the same key", other)
		}
	}
}

func TestVariables(t *testing.T) {
	cfg := loadText(t, `version: 1
vars: {set: no, region: eu, n: "64"}
rules:
  - {id: a, hosts: "${region}.example", owner: "${set}, $${set}, $5, $$, $", limits: {in_flight: "${n}"}}
`)
	r := cfg.Rules[0]
	if r.Hosts[0] != "eu.example" || r.Owner != "yes, ${set}, $5, $$, $" || r.Limits.InFlight != 64 {
		t.Errorf("%+v", r)
	}
}

// A name that has digits in it is a name, although one that is not defined is
// not repeated.
func TestNamesWithDates(t *testing.T) {
	cfg := loadText(t, `version: 1
secrets: {stripe-key-2026-11-03-prod: {file: /a}}
callers: {checkout-2026-11-03-prod: {uid: 1}}
rules: [{id: stripe-2026-11-03-for-checkout, hosts: a.example, callers: checkout-2026-11-03-prod, attach: {bearer: stripe-key-2026-11-03-prod}}]
`)
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings %v", cfg.Warnings)
	}
}

// What a variable holds is data: it cannot bring structure or further variables.
func TestVariablesAreNotYAML(t *testing.T) {
	env := testEnv()
	env.Getenv = func(string) (string, bool) { return `x, deny: true} ${other}`, true }
	cfg, err := load([]file{newFile("a.yaml", []byte("version: 1\nvars: {v: a}\nrules: [{id: a, hosts: a.example, owner: \"${v}\"}]\n"))}, env, sampleKinds())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Rules[0].Owner != "x, deny: true} ${other}" {
		t.Errorf("owner %q", cfg.Rules[0].Owner)
	}
}
