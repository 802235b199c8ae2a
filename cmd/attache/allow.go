package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/project"
)

type allowCmd struct {
	Path    string `arg:"" optional:"" help:"The configuration. Without it: attache.yaml in this directory or the nearest above."`
	Profile string `placeholder:"NAME" env:"ATTACHE_PROFILE" help:"Allow it under this profile."`
	Revoke  bool   `xor:"what" help:"Take back what was allowed, under every profile."`
	List    bool   `xor:"what" help:"List what is allowed."`
	outputFlag
}

// allowedEntry is one configuration that was allowed, as JSON has it.
type allowedEntry struct {
	Path    string        `json:"path"`
	Profile string        `json:"profile,omitempty"`
	Allowed time.Time     `json:"allowed,omitzero"`
	State   string        `json:"state,omitempty"` // of a list: current, changed, gone
	Uses    []project.Use `json:"uses,omitempty"`
	Also    []string      `json:"also,omitempty"` // what else it does, a line each
}

func (a allowCmd) Run(c *console) error {
	store, err := allowedStore()
	if err != nil {
		return err
	}
	switch {
	case a.List:
		return a.list(c, store)
	case a.Revoke:
		return a.revoke(c, store)
	}
	path, err := configFlag{Config: a.Path}.find()
	if err != nil {
		return err
	}
	p, err := store.Allow(path, a.Profile, app.ConfigEnv(thisBuild().required()))
	if err != nil {
		return err
	}
	if a.json() {
		return printJSON(c.out, allowedEntry{Path: p.Path, Profile: p.Profile, Uses: p.Uses, Also: p.Also})
	}
	tell := func(text string) { fmt.Fprintln(c.out, "  "+text) }
	name := plainText(here(p.Path))
	if p.Profile != "" {
		name += ", profile " + p.Profile
	}
	if len(p.Uses) == 0 && len(p.Also) == 0 {
		tell("allowed: " + name + ". It uses no secret.")
	} else {
		tell("allowed: " + name + ". It lets commands use, without seeing it:")
	}
	tellUses(p, tell)
	tell("Any change has to be allowed again. Take it back: attache allow --revoke")
	return nil
}

func (a allowCmd) revoke(c *console, store project.Store) error {
	path, err := configFlag{Config: a.Path}.find()
	if err != nil {
		return err
	}
	n, err := store.Revoke(path)
	if err != nil {
		return err
	}
	if a.json() {
		return printJSON(c.out, map[string]int{"revoked": n})
	}
	if n == 0 {
		fmt.Fprintf(c.out, "  %s was not allowed\n", plainText(here(path)))
		return nil
	}
	fmt.Fprintf(c.out, "  no longer allowed: %s\n", plainText(here(path)))
	return nil
}

func (a allowCmd) list(c *console, store project.Store) error {
	records, err := store.List()
	if err != nil {
		return err
	}
	all := []allowedEntry{}
	for _, r := range records {
		all = append(all, allowedEntry{Path: r.Path, Profile: r.Profile, Allowed: r.At, State: stateOf(store, r)})
	}
	if a.json() {
		return printJSON(c.out, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.out, "  Nothing is allowed.")
	}
	for _, e := range all {
		what := plainText(e.Path)
		if e.Profile != "" {
			what += ", profile " + e.Profile
		}
		fmt.Fprintf(c.out, "  %-8s %-12s %s\n", e.State, day(e.Allowed), what)
	}
	return nil
}

// stateOf tells whether what was allowed is still what is there.
func stateOf(store project.Store, r project.Record) string {
	_, _, err := store.Open(r.Path, r.Profile, app.ConfigEnv(thisBuild().required()))
	switch {
	case err == nil:
		return "current"
	case isGone(r.Path):
		return "gone"
	default:
		return "changed"
	}
}

func isGone(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
