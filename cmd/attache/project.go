package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/project"
)

// allowed is a project whose configuration may be used.
type allowedProject struct {
	*project.Project
	At time.Time // when it was allowed; zero: it is the system's and need not be
}

// openProject finds the configuration that a command runs with, and freezes it. What was not allowed is told of, by what it
// would let command use, and ends in exit code 125.
func (c *console) openProject(f configFlag, command string) (allowedProject, error) {
	path, err := f.find()
	if err != nil {
		return allowedProject{}, err
	}
	env := app.ConfigEnv(thisBuild().required())
	if project.System(path) {
		p, err := project.OpenSystem(path, f.Profile, env)
		return allowedProject{Project: p}, err
	}
	store, err := allowedStore()
	if err != nil {
		return allowedProject{}, err
	}
	p, at, err := store.Open(path, f.Profile, env)
	if refused, ok := errors.AsType[*project.NotAllowedError](err); ok {
		tellNotAllowed(c.err, refused, command)
		return allowedProject{}, exitCode(exitNotRun)
	}
	return allowedProject{p, at}, err
}

// find is where the configuration of a project lies: as named, or found upwards, else the system's.
func (f configFlag) find() (string, error) {
	if f.Config != "" {
		return f.Config, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	path, err := project.Find(dir, app.Home())
	if !errors.Is(err, project.ErrNone) {
		return path, err
	}
	system := project.SystemPath()
	if _, err := os.Stat(system); err == nil {
		return system, nil
	}
	return "", &app.UsageError{
		Err:  fmt.Errorf("no configuration: no %s here or above, and no %s", project.Name, system),
		Hint: "make one: attache init, or see it work first: attache demo",
	}
}

// dir is where the relative paths of a configuration found at path start: beside it where it was
// looked for, and where the process is where it was named.
func (f configFlag) dir(path string) string {
	if f.Config == "" && filepath.Base(path) == project.Name {
		return filepath.Dir(path)
	}
	return ""
}

// mayRun says of a configuration's files whether their secrets may come from commands: what was found must have been
// allowed as it is; what was named, nobody else may be able to write to.
func (f configFlag) mayRun(path string) func([]config.File) bool {
	if f.Config != "" || filepath.Base(path) != project.Name {
		return project.Private
	}
	return func(files []config.File) bool {
		store, err := allowedStore()
		if err != nil {
			return false
		}
		p, _, err := store.Open(path, f.Profile, app.ConfigEnv(thisBuild().required()))
		if err != nil {
			return false
		}
		return slices.EqualFunc(p.Frozen.Files, files, func(a, b config.File) bool {
			return filepath.Base(a.Path) == filepath.Base(b.Path) && bytes.Equal(a.Data, b.Data)
		})
	}
}

func allowedStore() (project.Store, error) {
	dir, err := app.StateDir()
	return project.Store{Dir: filepath.Join(dir, "allowed")}, err
}

// tellNotAllowed tells what a configuration would let a command use.
func tellNotAllowed(w io.Writer, e *project.NotAllowedError, command string) {
	name := plainText(here(e.Path))
	switch {
	case e.Since.IsZero() && e.Profile != "":
		name += ", profile " + e.Profile + ", is new here."
	case e.Since.IsZero():
		name += " is new here."
	default:
		what := plainText(strings.Join(e.Changed, ", "))
		if what == filepath.Base(e.Path) {
			name += " has changed"
		} else {
			name += ": " + what + " changed"
		}
		name += " since you allowed it, " + day(e.Since) + "."
	}
	tell := func(text string) { fmt.Fprintln(w, "attache: "+text) }
	if len(e.Uses) == 0 && len(e.Also) == 0 {
		name += " It uses no secret."
	} else {
		name += " It would let " + plainText(filepath.Base(command)) + " use:"
	}
	for _, line := range wrap(name, columns-9) {
		tell(line)
	}
	tellUses(e.Project, tell)
	command = "attache allow"
	if e.Profile != "" {
		command += " --profile " + e.Profile
	}
	tell(`run "` + command + `" if that is right`)
}

// tellUses lists what a configuration allows, one line each, or two where it is long.
func tellUses(p *project.Project, tell func(string)) {
	width := 0
	for _, u := range p.Uses {
		if n := len(asciiText(u.What)); n <= 42 {
			width = max(width, n)
		}
	}
	for _, u := range p.Uses {
		what, on := asciiText(u.What), "on no host"
		if len(u.On) > 0 {
			on = "on " + asciiText(strings.Join(u.On, ", "))
		}
		if n := len(what); n > width || n+len(on) > columns-16 {
			for i, line := range wrap(what, columns-13) {
				tell("  " + strings.Repeat("  ", min(i, 1)) + line)
			}
			for i, line := range wrap(on, columns-15) {
				tell("    " + strings.Repeat("  ", min(i, 1)) + line)
			}
			continue
		}
		tell(fmt.Sprintf("  %-*s   %s", width, what, on))
	}
	for _, text := range p.Also {
		for i, line := range wrap(asciiText(text), columns-13) {
			tell("  " + strings.Repeat("  ", min(i, 1)) + line)
		}
	}
}

// here is a path as someone in this directory would name it.
func here(path string) string {
	dir, err := os.Getwd()
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(dir, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// day is a date as people say it: "3 Nov", with the year if it is another.
func day(t time.Time) string {
	t = t.Local()
	if t.Year() == time.Now().Year() {
		return t.Format("2 Jan")
	}
	return t.Format("2 Jan 2006")
}

// plainText is foreign text without what a terminal would act on, or what reads otherwise than it is.
func plainText(s string) string {
	var b strings.Builder
	for _, c := range s {
		if strconv.IsPrint(c) {
			b.WriteRune(c)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(c), "'"))
		}
	}
	return b.String()
}

// asciiText is plainText for what decides where a key goes: a letter of another alphabet that looks like one of ours is told as what it is.
func asciiText(s string) string {
	quoted := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
