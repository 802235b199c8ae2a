package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

type execOptions struct {
	Command []string      `json:"command" jsonschema:"the program, by its name in PATH or an absolute path, and its arguments; no shell is involved"`
	Env     []string      `json:"env,omitempty" jsonschema:"names of environment variables that it gets beside HOME, PATH, USER, LANG and those by which a desktop session is found"`
	Timeout time.Duration `json:"timeout,omitempty" jsonschema:"how long it may take, 5m at most; 30s unless given"`
}

const (
	execTimeout = 30 * time.Second
	execLongest = 5 * time.Minute
	execLinger  = time.Second // for those who hold its output open after it was killed
)

func execKind() Kind {
	return kind(Kind{
		Name: "exec",
		Main: "command",
		Doc: "What a command prints, such as a password manager's: `{exec: [op, read, \"op://dev/stripe/key\"]}`. For development: " +
			"it runs only from a file that `attache allow` allowed or --config names, and is run again every 5 minutes.",
	}, newExec)
}

func newExec(o execOptions, env Env) (Source, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, &OptionError{Option: "command", Problem: "required", Hint: `for example [op, read, "op://dev/stripe/key"]`}
	}
	program := o.Command[0]
	switch {
	case slices.ContainsFunc(o.Command, func(w string) bool { return strings.ContainsRune(w, 0) }):
		return nil, &OptionError{Option: "command", Problem: "holds a NUL byte"}
	case len(o.Command) == 1 && strings.Contains(program, " "):
		return nil, &OptionError{Option: "command", Problem: "one word with spaces in it", Hint: "write a list: [op, read, …]"}
	case !filepath.IsAbs(program) && filepath.Base(program) != program:
		return nil, &OptionError{Option: "command", Problem: "the program has a relative path", Hint: "write its name, or an absolute path"}
	case o.Timeout > execLongest:
		return nil, &OptionError{Option: "timeout", Problem: "must be 5m or less"}
	}
	for _, name := range o.Env {
		if name == "" || strings.ContainsAny(name, "=\x00$") {
			return nil, &OptionError{Option: "env", Problem: "not a name of an environment variable"}
		}
	}
	if o.Timeout == 0 {
		o.Timeout = execTimeout
	}
	c := &command{words: slices.Clone(o.Command), timeout: o.Timeout, mayRun: env.MayRun}
	get := env.Getenv
	if get == nil {
		get = func(string) (string, bool) { return "", false }
	}
	home, _ := get("HOME")
	if dir := real(env.Dir); dir != "" && dir != real(home) && dir != rootOf(dir) {
		c.avoid = append(c.avoid, dir)
	}
	if env.Repository != "" {
		c.avoid = append(c.avoid, real(env.Repository))
	}
	for _, name := range append(slices.Clone(execVariables()), o.Env...) {
		if value, ok := get(name); ok && name != "PATH" {
			c.env = append(c.env, name+"="+value)
		}
	}
	path, _ := get("PATH")
	c.path = c.trusted(path)
	c.env = append(c.env, "PATH="+strings.Join(c.path, string(os.PathListSeparator)))
	if slices.ContainsFunc(c.words, c.names) {
		return nil, &OptionError{Option: "command", Problem: "names a file of this project", Hint: "what is run must lie elsewhere: who changes the project would change it"}
	}
	return c, nil
}

// execVariables are what programs need to find their user, their own settings and the desktop's session.
func execVariables() []string {
	if runtime.GOOS == "windows" {
		return []string{
			"PATH", "PATHEXT", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "USERPROFILE", "USERNAME", "HOMEDRIVE", "HOMEPATH",
			"APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "TEMP", "TMP",
		}
	}
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
		"XDG_STATE_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "GNUPGHOME",
	}
}

// command is a source that runs a program.
type command struct {
	words   []string
	env     []string
	path    []string // directories in which a program is looked for
	avoid   []string // directories of whose files none is run: the project's
	timeout time.Duration
	mayRun  bool
}

func (c *command) Paths() []string  { return nil }
func (c *command) Describe() string { return "exec " + filepath.Base(c.words[0]) }

// Command is what is run, in full.
func (c *command) Command() []string { return slices.Clone(c.words) }

// Patience implements [Patient].
func (c *command) Patience() time.Duration { return c.timeout + 2*execLinger }

// Read runs the command and returns what it prints. What it prints beside that, on its standard error,
// is dropped: it may hold the secret.
func (c *command) Read(ctx context.Context) ([]byte, error) {
	fail := func(problem string) ([]byte, error) {
		return nil, &ReadError{Problem: problem, Where: c.Describe()}
	}
	if !c.mayRun {
		return fail("not allowed to run a command; attache allow allows it, and so does --config with a file that only you can write to")
	}
	if slices.ContainsFunc(c.words[1:], c.names) { // a link may have been laid since
		return fail("names a file of this project")
	}
	program, err := c.find()
	if err != nil {
		return fail(err.Error())
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, program, c.words[1:]...)
	out := &bounded{full: cancel}
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.WaitDelay = c.env, rootOf(program), out, execLinger
	apart(cmd)
	err = cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case out.over:
		return fail("printed over 64 KiB")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return fail("no answer in " + c.timeout.String())
	case exited && exit.ExitCode() >= 0:
		return fail(fmt.Sprintf("exited %d; run it yourself to see why", exit.ExitCode()))
	case exited:
		return fail("was killed")
	case errors.Is(err, exec.ErrWaitDelay):
		return fail("ended, but something it started holds its output open")
	case err != nil:
		return fail("cannot be run")
	}
	return out.text.Bytes(), nil
}

// rootOf is a directory in which nobody leaves settings for programs to find.
func rootOf(path string) string {
	return filepath.VolumeName(path) + string(filepath.Separator)
}

// find is the path of the program.
func (c *command) find() (string, error) {
	name := c.words[0]
	if filepath.IsAbs(name) {
		if c.ours(name) {
			return "", errors.New("is a file of this project")
		}
		return name, nil
	}
	for _, dir := range c.path {
		found, err := exec.LookPath(filepath.Join(dir, name))
		if err == nil && !c.ours(found) {
			return found, nil
		}
	}
	return "", errors.New("not found in PATH")
}

// trusted are the directories of a PATH without those that lie in the project, as node_modules/.bin does, or
// wherever someone happens to be.
func (c *command) trusted(path string) []string {
	return slices.DeleteFunc(filepath.SplitList(path), func(dir string) bool { return !filepath.IsAbs(dir) || c.ours(dir) })
}

// ours reports whether a path lies in the project, by its name or where its links lead.
func (c *command) ours(path string) bool {
	led := real(path)
	return slices.ContainsFunc(c.avoid, func(dir string) bool {
		return slices.ContainsFunc([]string{path, led}, func(p string) bool {
			rel, err := filepath.Rel(dir, p)
			return err == nil && filepath.IsLocal(rel)
		})
	})
}

// names reports whether a word of the command names a file of the project: alone, as the command would find it, or in
// the midst of others.
func (c *command) names(word string) bool {
	return c.ours(filepath.Join(rootOf(real(".")), word)) ||
		slices.ContainsFunc(c.avoid, func(dir string) bool { return strings.Contains(word, dir) })
}

// bounded keeps what a command prints, and ends the command that prints too much.
type bounded struct {
	text bytes.Buffer
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > MaxSize {
		b.over = true
		b.full()
		return len(p), nil
	}
	return b.text.Write(p)
}
