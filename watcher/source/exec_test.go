//go:build unix

package source_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/watcher/source"
)

// execEnv is the environment of a user whose PATH leads to bin first.
func execEnv(bin string, more ...string) source.Env {
	vars := map[string]string{"PATH": bin + ":/usr/bin:/bin", "HOME": "/home/nobody", "STRIPE_KEY": "must-not-arrive"}
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return source.Env{MayRun: true, Getenv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }}
}

func execOf(t *testing.T, env source.Env, options map[string]any) source.Source {
	t.Helper()
	text, err := json.Marshal(options)
	check(t, err)
	return build(t, "exec", string(text), env)
}

func shell(text string) map[string]any { return map[string]any{"command": []string{"sh", "-c", text}} }

func TestExecIsWhatACommandPrints(t *testing.T) {
	for text, want := range map[string]string{
		"printf key-1":                          "key-1",
		"echo key-1; echo secret noise >&2":     "key-1\n",
		"exit 3":                                "exited 3; run it yourself to see why (exec sh)",
		"echo leaked >&2; echo partial; exit 1": "exited 1; run it yourself to see why (exec sh)",
		"kill -9 $$":                            "was killed (exec sh)",
		"head -c 70000 /dev/zero; sleep 600":    "printed over 64 KiB (exec sh)",
		"pwd":                                   "/\n",
		"cat":                                   "",
		"echo ${STRIPE_KEY-unset}":              "unset\n",
		"echo $HOME":                            "/home/nobody\n",
		"(exec 3</dev/tty) 2>/dev/null || echo no tty": "no tty\n",
	} {
		got, err := execOf(t, execEnv("/nowhere"), shell(text)).Read(t.Context())
		if err != nil && err.Error() != want || err == nil && string(got) != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	s := execOf(t, execEnv("/nowhere"), map[string]any{"command": []string{"sh", "-c", "echo $STRIPE_KEY"}, "env": []string{"STRIPE_KEY"}})
	if got, err := s.Read(t.Context()); err != nil || string(got) != "must-not-arrive\n" {
		t.Errorf("a variable that it is given: %q %v", got, err)
	}
	if s.Describe() != "exec sh" || len(s.Paths()) > 0 {
		t.Error(s.Describe(), s.Paths())
	}
}

func TestExecIsNotRunUnlessAllowed(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	env := execEnv("/nowhere")
	env.MayRun = false
	_, err := execOf(t, env, shell("touch "+mark)).Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "attache allow") {
		t.Error(err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it ran")
	}
}

// TestExecKillsAllOfIt: what a command has started ends with it, and a read ends in time although
// someone holds its output open.
func TestExecKillsAllOfIt(t *testing.T) {
	options := shell("sleep 600 & echo $! >&1; sleep 600")
	options["timeout"] = int64(50 * time.Millisecond)
	_, err := execOf(t, execEnv("/nowhere"), options).Read(t.Context())
	if err == nil || err.Error() != "no answer in 50ms (exec sh)" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := execOf(t, execEnv("/nowhere"), shell("sleep 600")).Read(ctx); err == nil {
		t.Error("read on after its end")
	}
}

// TestRepositoryTakeoverByPath: the project's own programs are not run in place of the user's, though its
// directories are in PATH, as npm puts them there.
func TestRepositoryTakeoverByPath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	shop, tools := filepath.Join(dir, "shop"), filepath.Join(dir, "tools")
	bin := filepath.Join(shop, "node_modules", ".bin")
	linked := filepath.Join(dir, "linked")
	check(t, os.MkdirAll(bin, 0o755))
	check(t, os.Mkdir(tools, 0o755))
	check(t, os.Symlink(bin, linked))
	script := func(path, says string) {
		check(t, os.WriteFile(path, []byte("#!/bin/sh\necho "+says+"\n"), 0o755))
	}
	script(filepath.Join(bin, "op"), "evil")
	script(filepath.Join(tools, "op"), "good")
	script(filepath.Join(bin, "only"), "evil")
	check(t, os.Symlink(filepath.Join(bin, "only"), filepath.Join(tools, "only")))
	env := execEnv(bin, "PATH="+strings.Join([]string{bin, linked, ".", "", "node_modules/.bin", tools, "/bin", "/usr/bin"}, ":"))
	env.Dir = shop
	for program, want := range map[string]string{"op": "good\n", "only": "not found in PATH (exec only)"} {
		got, err := execOf(t, env, map[string]any{"command": []string{program}}).Read(t.Context())
		if err != nil && err.Error() != want || err == nil && string(got) != want {
			t.Errorf("%s: %q %v", program, got, err)
		}
	}
	env.Getenv = execEnv("/nowhere", "PATH="+tools).Getenv
	got, err := execOf(t, env, map[string]any{"command": []string{"/bin/sh", "-c", "echo $PATH"}}).Read(t.Context())
	if err != nil || string(got) != tools+"\n" {
		t.Errorf("PATH of the command: %q %v", got, err)
	}
	for _, words := range [][]string{
		{filepath.Join(bin, "op")}, {linked + "/op"}, {"sh", filepath.Join(bin, "op")}, {"./op"}, {"sh", "-c", ". " + shop + "/x"}, {"op read x"}, {""}, {},
	} {
		text, err := json.Marshal(map[string]any{"command": words})
		check(t, err)
		if s, err := tryBuild("exec", string(text), env); err == nil {
			t.Errorf("%q: %v", words, s)
		}
	}
}

// TestRepositoryTakeoverFromBeside: a configuration in a directory of a repository does not run what lies elsewhere in it,
// though that is in PATH, however the repository is made up.
func TestRepositoryTakeoverFromBeside(t *testing.T) {
	home, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	repo, tools := filepath.Join(home, "src", "shop"), filepath.Join(home, "bin")
	shop, bin := filepath.Join(repo, "services", "pay"), filepath.Join(repo, "node_modules", ".bin")
	for _, dir := range []string{filepath.Join(repo, ".git"), filepath.Join(shop, ".git"), filepath.Join(home, ".git"), bin, tools} {
		check(t, os.MkdirAll(dir, 0o755))
	}
	for dir, says := range map[string]string{bin: "evil", tools: "good"} {
		check(t, os.WriteFile(filepath.Join(dir, "op"), []byte("#!/bin/sh\necho "+says+"\n"), 0o755))
	}
	env := execEnv("", "HOME="+home, "PATH="+strings.Join([]string{bin, tools, "/bin", "/usr/bin"}, ":"))
	env.Repository = source.Repository(shop, home)
	if env.Repository != repo {
		t.Errorf("the repository is %q, not %q", env.Repository, repo)
	}
	for _, dir := range []string{"", shop} {
		env.Dir = dir
		if got, err := execOf(t, env, map[string]any{"command": []string{"op"}}).Read(t.Context()); err != nil || string(got) != "good\n" {
			t.Errorf("%q: %q %v", dir, got, err)
		}
	}
	from := strings.TrimPrefix(bin, "/") + "/op" // a command starts in the root
	link := filepath.Join(home, "link")
	check(t, os.Symlink(filepath.Join(bin, "op"), link))
	for _, words := range [][]string{{bin + "/op"}, {"sh", bin + "/op"}, {"sh", from}, {"sh", link}, {"sh", repo + "/../shop/node_modules/.bin/op"}} {
		text, err := json.Marshal(map[string]any{"command": words})
		check(t, err)
		if s, err := tryBuild("exec", string(text), env); err == nil {
			t.Errorf("%q: %v", words, s)
		}
	}
	check(t, os.Remove(link))
	check(t, os.WriteFile(link, []byte("echo fine\n"), 0o644))
	late := execOf(t, env, map[string]any{"command": []string{"sh", link}})
	check(t, os.Remove(link))
	check(t, os.Symlink(filepath.Join(bin, "op"), link))
	if got, err := late.Read(t.Context()); err == nil {
		t.Errorf("a link that was laid into the repository since: %q", got)
	}
	for dir, want := range map[string]string{home: "", tools: "", "/": "", "": "", filepath.Join(repo, "gone"): repo} {
		if got := source.Repository(dir, home); got != want {
			t.Errorf("%q lies in the repository %q, not %q", dir, got, want)
		}
	}
}
