package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/replay"
	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/watcher"
)

type checkCmd struct {
	configFlag
	outputFlag
	Resolve    bool          `help:"Read the secrets too, and tell how that went. Never prints a byte of them."`
	Timeout    time.Duration `default:"30s" help:"How long reading the secrets may take."`
	Production bool          `help:"Refuse what is meant for a developer's machine, or for a while."`
	Print      bool          `help:"Print the configuration that the files come to, and where each entry stands."`
	Replay     string        `placeholder:"FILE" help:"Tell what would become of the calls of an audit log, or of - for standard input. Fails if any would be refused that was not."`
}

// checked is everything that check tells.
type checked struct {
	OK       bool          `json:"ok"`
	Config   string        `json:"config"`
	Profile  string        `json:"profile,omitempty"`
	Files    []string      `json:"files,omitempty"`
	Errors   []problem     `json:"errors,omitempty"`
	Warnings []problem     `json:"warnings,omitempty"`
	Tests    []testResult  `json:"tests,omitempty"`
	Secrets  []secretState `json:"secrets,omitempty"`

	Identity   *admin.IdentityStatus `json:"identity,omitempty"`   // nil: none is configured
	Production []problem             `json:"production,omitempty"` // what --production refuses
	Replay     *replay.Report        `json:"replay,omitempty"`
	Effective  string                `json:"effective,omitempty"` // --print: YAML

	resolved, production bool
	log                  string // of Replay
}

// problem is a config.Problem as JSON has it.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func problems(found []config.Problem) []problem {
	all := make([]problem, len(found))
	for i, p := range found {
		all[i] = problem(p)
	}
	return all
}

// testResult is how one entry of tests: came out.
type testResult struct {
	Call     string `json:"call"`
	Caller   string `json:"caller,omitempty"`
	Expect   string `json:"expect"`
	Got      string `json:"got"`
	Holds    bool   `json:"holds"`
	Position string `json:"position"`
}

func runTests(cfg *config.Config) []testResult {
	var all []testResult
	for _, t := range cfg.RunTests() {
		all = append(all, testResult{t.Method + " " + t.URL, t.Caller, t.Expect, t.Got, t.Held, t.Pos})
	}
	return all
}

// secretState is what --resolve tells of one secret.
type secretState struct {
	watcher.Status
	Rules []string `json:"rules,omitempty"` // that need it
}

func (k checkCmd) Run(c *console) error {
	path, err := k.find()
	if err != nil {
		return err
	}
	build := thisBuild()
	a, err := app.New(path, app.Options{
		Version: build.Version, Requires: build.required(), Profile: k.Profile, Dir: k.dir(path), MayRun: k.mayRun(path),
	})
	if err != nil {
		return k.refuse(c, path, err)
	}
	if k.Print && !k.json() {
		text, err := k.effective(path)
		if err == nil {
			_, err = c.out.Write(text)
		}
		return err
	}
	now := time.Now()
	cfg := a.Configuration()
	res := checked{OK: true, Config: here(path), Profile: k.Profile, Files: cfg.Files, Warnings: problems(cfg.Warnings), Tests: runTests(cfg)}
	for _, t := range res.Tests {
		res.OK = res.OK && t.Holds
	}
	if k.Resolve {
		ctx, cancel := context.WithTimeout(context.Background(), k.Timeout)
		defer cancel()
		res.resolved = true
		for _, s := range app.Resolve(ctx, cfg) {
			res.Secrets = append(res.Secrets, secretState{s, app.UsersOf(cfg, s.Name)})
			res.OK = res.OK && (s.State.Usable() || s.Optional)
		}
		if res.Identity = app.ResolveIdentity(ctx, cfg); res.Identity != nil {
			res.OK = res.OK && hasSVID(res.Identity, now)
		}
	}
	if err := k.more(c, path, cfg, &res, now); err != nil {
		return err
	}
	if k.json() {
		err = printJSON(c.out, res)
	} else {
		res.print(c, now)
	}
	if err == nil && !res.OK {
		return exitCode(exitFailed)
	}
	return err
}

// refuse tells of a configuration that does not load: it is the answer, so it goes to out.
func (k checkCmd) refuse(c *console, path string, err error) error {
	found, ok := errors.AsType[config.Errors](err)
	if !ok {
		if !k.json() {
			return err
		}
		found = config.Errors{{Message: err.Error()}}
	}
	if k.json() {
		if err := printJSON(c.out, checked{Config: path, Errors: problems(found)}); err != nil {
			return err
		}
	} else {
		printProblems(c.out, found)
	}
	return exitCode(exitUsage)
}

func (r checked) print(c *console, now time.Time) {
	const key = 11
	what := r.Config
	if n := len(r.Files); n != 1 || filepath.Clean(r.Files[0]) != filepath.Clean(r.Config) {
		what += ", " + count(n, "file")
	}
	if r.Profile != "" {
		what += ", profile " + r.Profile
	}
	field(c.out, key, "config", what+", version 1")
	for _, w := range r.Warnings {
		field(c.out, key, "warning", told(w))
	}
	if r.resolved {
		r.printSecrets(c, now)
		r.printIdentity(c, now)
	}
	held := 0
	for _, t := range r.Tests {
		if t.Holds {
			held++
			continue
		}
		call := t.Call
		if t.Caller != "" {
			call += " as " + t.Caller
		}
		field(c.out, key, "test", fmt.Sprintf("%s  %s: expected %s, got %s", t.Position, call, t.Expect, t.Got))
	}
	for _, p := range r.Production {
		field(c.out, key, "refused", told(p))
	}
	if r.Replay != nil {
		r.printReplay(c.out)
	}
	if len(r.Tests) > 0 {
		field(c.out, key, "tests", fmt.Sprintf("%d of %d hold", held, len(r.Tests)))
	}
	fmt.Fprintf(c.out, "  %s\n", strings.Join(wrap(r.summary(held), columns-2), "\n  "))
}

// summary is the last line: whether this configuration would do, and what is in the way.
func (r checked) summary(held int) string {
	var bad []string
	unreadable, rules := 0, []string{}
	for _, s := range r.Secrets {
		if !s.State.Usable() && !s.Optional {
			unreadable++
			rules = append(rules, s.Rules...)
		}
	}
	if unreadable > 0 {
		text := count(unreadable, "secret") + " unreadable"
		if len(rules) > 0 {
			text += ": " + plural(len(rules), "rule") + " " + strings.Join(rules, ", ") + " would answer 503"
		}
		bad = append(bad, text+".")
	}
	if r.Identity != nil && !hasSVID(r.Identity, time.Now()) {
		bad = append(bad, "No identity.")
	}
	if failed := len(r.Tests) - held; failed > 0 {
		bad = append(bad, count(failed, "test")+" failed.")
	}
	if n := len(r.Production); n > 0 {
		bad = append(bad, count(n, "thing")+" not for production.")
	}
	if r.Replay != nil && r.Replay.Refused > 0 {
		bad = append(bad, count(r.Replay.Refused, "call")+" that passed would be refused.")
	}
	switch {
	case len(bad) > 0:
		return strings.Join(append(bad, "Not ready."), " ")
	case r.resolved:
		return "Ready."
	case r.production:
		return "Fit for production, as far as the files tell: check --resolve reads the secrets."
	default:
		return "Valid. No secret was read and nothing contacted: check --resolve does."
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// unread is in a word why a secret is not there.
func unread(reason string) string {
	for state, begins := range map[string][]string{"missing": {"not found", "not set"}, "denied": {"permission denied", "not allowed"}} {
		if slices.ContainsFunc(begins, func(s string) bool { return strings.HasPrefix(reason, s) }) {
			return state
		}
	}
	return "failed"
}

func (r checked) printSecrets(c *console, now time.Time) {
	fmt.Fprintln(c.out)
	if len(r.Secrets) == 0 {
		field(c.out, 11, "secrets", "none")
		return
	}
	name, src := len("secret"), len("source")
	for _, s := range r.Secrets {
		name, src = max(name, len(s.Name)), max(src, len(s.Source))
	}
	name, src = min(name, 24), min(src, 30)
	row := fmt.Sprintf("  %%-%ds  %%-7s  %%-%ds  %%7s   %%-9s %%s\n", name, src)
	fmt.Fprintf(c.out, row, "secret", "state", "source", "version", "since", "expires")
	for _, s := range r.Secrets {
		state, version, since, expires := "ok", "-", "-", "-"
		switch {
		case s.State == watcher.Stale:
			state = "stale"
		case !s.State.Usable():
			state = unread(s.Reason)
		}
		if s.Generation > 0 {
			version, since, expires = fmt.Sprint(s.Generation), ago(s.Since, now), "unknown"
			if !s.Expires.IsZero() {
				expires = s.Expires.UTC().Format("2006-01-02 15:04Z")
			}
		}
		fmt.Fprintf(c.out, row, s.Name, state, plainText(s.Source), version, since, expires)
		if state != "ok" {
			field(c.out, name+2, "", s.Reason)
		}
		for _, w := range s.Warnings {
			field(c.out, name+2, "", "warning: "+w)
		}
	}
	fmt.Fprintln(c.out)
}
