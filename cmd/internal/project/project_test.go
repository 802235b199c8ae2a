package project_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/project"
)

// world is a user's home with a project in it.
type world struct {
	t     *testing.T
	home  string
	dir   string
	path  string
	env   config.Env
	vars  map[string]string
	store project.Store
}

func newWorld(t *testing.T) *world {
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, home: home, dir: filepath.Join(home, "src", "shop"), vars: map[string]string{}}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.path = filepath.Join(w.dir, project.Name)
	w.store = project.Store{Dir: filepath.Join(home, ".local", "state", "attache", "allowed")}
	w.env = config.Env{Getenv: func(name string) (string, bool) { v, ok := w.vars[name]; return v, ok }}
	w.write(project.Name, honest)
	return w
}

const honest = `version: 1
vars: {region: eu}
secrets: {stripe-key: {file: keys/stripe}}
rules:
  - {id: stripe, hosts: "api.${region}.stripe.com", attach: {bearer: stripe-key}, upstream: {ca: roots.pem}}
`

// evil sends the same key elsewhere.
var evil = strings.ReplaceAll(honest, "stripe.com", "evil.example")

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if name == project.Name && strings.Contains(text, "roots.pem") {
		if _, err := os.Stat(filepath.Join(w.dir, "roots.pem")); err != nil {
			w.write("roots.pem", "roots")
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) allow(profile string) {
	w.t.Helper()
	if _, err := w.store.Allow(w.path, profile, w.env); err != nil {
		w.t.Fatal(err)
	}
}

// open holds that the project may be used, and returns it.
func (w *world) open(profile string) *project.Project {
	w.t.Helper()
	p, _, err := w.store.Open(w.path, profile, w.env)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// refused holds that it may not, for what differs.
func (w *world) refused(profile string, changed ...string) *project.NotAllowedError {
	w.t.Helper()
	p, _, err := w.store.Open(w.path, profile, w.env)
	e, ok := errors.AsType[*project.NotAllowedError](err)
	if !ok || p != nil {
		w.t.Fatalf("opened: %v %v", p, err)
	}
	if !reflect.DeepEqual(e.Changed, changed) {
		w.t.Errorf("differs in %q, want %q", e.Changed, changed)
	}
	return e
}

// hosts are where the keys go.
func hosts(p *project.Project) []string { return p.Config.Rules[0].Hosts }

// TestRepositoryTakeover: a cloned repository brings a configuration, or changes one that was allowed.
func TestRepositoryTakeover(t *testing.T) {
	t.Run("new", func(t *testing.T) {
		w := newWorld(t)
		e := w.refused("")
		want := []project.Use{{What: "file keys/stripe", On: []string{"api.eu.stripe.com (trusted by roots.pem)"}}}
		if !e.Since.IsZero() || !reflect.DeepEqual(e.Uses, want) {
			t.Errorf("%v %+v", e.Since, e.Uses)
		}
		w.allow("")
		w.open("")
	})
	t.Run("our own identity", func(t *testing.T) {
		w := newWorld(t)
		rules := "rules:\n  - {id: a, hosts: evil.example, attach: {jwt_svid: vault}}\n  - {id: b, hosts: two.example, upstream: {client: svid}}\n"
		for spec, who := range map[string]string{
			"{spiffe: \"unix:/run/agent.sock\"}": "this machine's own SPIFFE identity",
			"{files: /run/svid.pem}":             "the SVID in /run/svid.pem",
		} {
			config, want := "version: 1\nidentity: "+spec+"\n"+rules, []project.Use{{What: who + ", jwt_svid:vault", On: []string{"evil.example"}}}
			if strings.Contains(spec, "files") { // which hold no JWT-SVIDs
				config, want = strings.Replace(config, ", attach: {jwt_svid: vault}", "", 1), nil
			}
			w.write(project.Name, config)
			if e := w.refused(""); !reflect.DeepEqual(e.Uses, append(want, project.Use{What: who, On: []string{"two.example"}})) {
				t.Errorf("%+v", e.Uses)
			}
		}
	})
	t.Run("edited", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		w.write(project.Name, evil)
		if e := w.refused("", project.Name); e.Since.IsZero() || !strings.Contains(e.Uses[0].On[0], "evil.example") {
			t.Errorf("%+v", e)
		}
		w.write(project.Name, honest) // what was allowed stays allowed
		w.open("")
	})
	t.Run("comment", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		w.write(project.Name, honest+"# harmless\n")
		w.refused("", project.Name)
	})
	t.Run("edited mid-run", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		p := w.open("")
		w.write(project.Name, evil)
		w.write("roots.pem", "evil roots")
		w.write("attache.local.yaml", "version: 1\nrules: [{id: more, hosts: evil.example, attach: {bearer: stripe-key}}]\n")
		again, err := config.LoadFiles(p.Frozen.Files, config.Env{Getenv: w.env.Getenv, Dir: p.Dir})
		if err != nil || len(again.Rules) != 1 || again.Rules[0].Hosts[0] != "api.eu.stripe.com" {
			t.Errorf("%v %v", again, err)
		}
		if got := string(p.Frozen.Named[filepath.Join(w.dir, "roots.pem")]); got != "roots" {
			t.Errorf("trusts %q", got)
		}
	})
	t.Run("roots exchanged", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		w.write("roots.pem", "evil roots")
		w.refused("", "roots.pem")
	})
	t.Run("local file added", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		w.write("attache.local.yaml", "version: 1\nrules: [{id: stripe, hosts: evil.example, attach: {bearer: stripe-key}}]\n")
		if e := w.refused("", "attache.local.yaml", "roots.pem"); e.Uses[0].On[0] != "evil.example" {
			t.Errorf("%+v", e.Uses)
		}
		w.allow("")
		w.open("")
		if err := os.Remove(filepath.Join(w.dir, "attache.local.yaml")); err != nil {
			t.Fatal(err)
		}
		w.refused("", "attache.local.yaml", "roots.pem")
	})
	t.Run("profile", func(t *testing.T) {
		w := newWorld(t)
		w.write("attache.staging.yaml", "version: 1\nvars: {region: us}\n")
		w.allow("")
		w.refused("staging")
		w.allow("staging")
		if got := hosts(w.open("staging"))[0]; got != "api.us.stripe.com" {
			t.Error(got)
		}
		w.write("attache.staging.yaml", "version: 1\nvars: {region: evil}\n")
		w.refused("staging", "${region}", "attache.staging.yaml")
		w.open("")
	})
	t.Run("variable", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		w.vars["ATTACHE_VAR_region"] = "evil.example/"
		if _, _, err := w.store.Open(w.path, "", w.env); err == nil {
			t.Error("opened")
		}
		w.vars["ATTACHE_VAR_region"] = "us"
		w.refused("", "${region}")
	})
	t.Run("file swapped for a symlink", func(t *testing.T) {
		w := newWorld(t)
		w.write("a.yaml", honest)
		w.write("b.yaml", evil)
		link(t, "a.yaml", w.path)
		w.allow("")
		w.open("")
		link(t, "b.yaml", w.path)
		w.refused("", project.Name)
	})
	t.Run("directory swapped for a symlink", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		other := filepath.Join(w.home, "other")
		if err := os.Rename(w.dir, other); err != nil {
			t.Fatal(err)
		}
		link(t, other, w.dir)
		w.refused("") // it is found as what it is: another directory, where the same words mean other files
	})
	t.Run("copied elsewhere", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		w.dir = filepath.Join(w.home, "clone")
		if err := os.Mkdir(w.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w.path = filepath.Join(w.dir, project.Name)
		w.write(project.Name, honest)
		w.refused("")
	})
	t.Run("revoked", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		if n, err := w.store.Revoke(w.path); n != 1 || err != nil {
			t.Error(n, err)
		}
		w.refused("")
	})
	t.Run("record of another path", func(t *testing.T) {
		w := newWorld(t)
		w.allow("")
		all, err := os.ReadDir(w.store.Dir)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		record := filepath.Join(w.store.Dir, all[0].Name())
		data, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(record, []byte(strings.ReplaceAll(string(data), "shop", "clip")), 0o600); err != nil {
			t.Fatal(err)
		}
		w.refused("")
	})
}

func link(t *testing.T, target, path string) {
	t.Helper()
	_ = os.Remove(path)
	if err := os.Symlink(target, path); err != nil {
		t.Skip(err)
	}
}

// TestRepositoryTakeoverByLinks: a link that came with the repository is told as what it leads to, and where it leads is part of
// what was allowed: a key of the project must not become one of the user's, nor its log the settings of a shell.
func TestRepositoryTakeoverByLinks(t *testing.T) {
	w := newWorld(t)
	w.vars["HOME"] = w.home
	mkdir := func(name string) {
		if err := os.MkdirAll(filepath.Join(w.home, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(".ssh")
	mkdir("src/shop/.git")
	mkdir("src/shop/app")
	mkdir("src/shop/real")
	w.write("../../.ssh/id", "the user's own")
	w.write("real/key", "the project's")
	// The configuration may lie below what it was cloned with.
	w.path = filepath.Join(w.dir, "app", project.Name)
	w.write("app/attache.yaml", `version: 1
audit: {file: ../logs/audit.log}
secrets: {demo: {file: ../keys/demo}}
rules: [{id: demo, hosts: demo.example, attach: {bearer: demo}}]
`)
	told := func(p *project.Project) string { return p.Uses[0].What + "; " + strings.Join(p.Also, "; ") }
	link(t, "real", filepath.Join(w.dir, "keys"))
	link(t, "key", filepath.Join(w.dir, "real", "demo"))
	link(t, "real", filepath.Join(w.dir, "logs"))
	w.allow("")
	if got := told(w.open("")); strings.Contains(got, "link") {
		t.Errorf("links inside the project: %s", got)
	}
	link(t, "../../../.ssh/id", filepath.Join(w.dir, "real", "demo"))
	if got := told(w.refused("", "link ~/src/shop/keys/demo").Project); !strings.Contains(got, "keys/demo (a link to ~/.ssh/id)") {
		t.Error(got)
	}
	w.allow("")
	w.open("")
	// Nothing is there yet: the log would be made.
	link(t, filepath.Join(w.home, ".zshenv"), filepath.Join(w.dir, "real", "audit.log"))
	if got := told(w.refused("", "link ~/src/shop/logs/audit.log").Project); !strings.Contains(got, "audit.log (a link to ~/.zshenv)") {
		t.Error(got)
	}
	w.allow("")
	link(t, filepath.Join(w.home, "gone", "there"), filepath.Join(w.dir, "real", "audit.log"))
	w.refused("", "link ~/src/shop/logs/audit.log")
	link(t, "audit.log", filepath.Join(w.dir, "real", "audit.log"))
	w.refused("", "link ~/src/shop/logs/audit.log") // leads nowhere, and has changed
}

// TestRepositoryTakeoverByNames: a file is recorded though something else goes by its name.
func TestRepositoryTakeoverByNames(t *testing.T) {
	w := newWorld(t)
	w.vars["HOME"] = w.home
	if err := os.Mkdir(filepath.Join(w.dir, "~"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"${region}", "~/roots.pem", "../../roots.pem"} {
		w.write(name, "roots")
	}
	w.write(project.Name, `version: 1
vars: {region: eu}
rules:
  - {id: a, hosts: a.example, upstream: {ca: "$${region}"}}
  - {id: b, hosts: b.example, upstream: {ca: "./~/roots.pem"}}
  - {id: c, hosts: c.example, upstream: {ca: "../../roots.pem"}}
`)
	w.allow("")
	w.open("")
	for _, name := range []string{"${region}", "~/roots.pem", "../../roots.pem"} {
		w.write(name, "evil roots")
		if _, _, err := w.store.Open(w.path, "", w.env); err == nil {
			t.Errorf("%s was exchanged, and the project opened", name)
		}
		w.write(name, "roots")
		w.open("")
	}
}
