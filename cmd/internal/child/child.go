package child

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// Command is what to run.
type Command struct {
	Path     string   // of the program, as [Find] gives it
	Args     []string // the name that it is called by first
	Env      []string // "NAME=value", each name once
	In       *os.File
	Out, Err *os.File
	Signals  <-chan os.Signal // to pass on; may be nil
}

// Ending is how a command ended.
type Ending struct {
	Code   int    // its exit code; 128 and the signal's number, as shells have it, where a signal ended it
	Signal string // the signal's name, as "SIGINT"; empty: it exited
	// Interrupted says that SIGINT ended it. Who reports that by an exit code alone keeps a shell's
	// loop going that Ctrl-C was to end: see [Interrupt].
	Interrupted bool
}

// CodeOf is the exit code of what a signal ended.
func CodeOf(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 128 + int(syscall.SIGINT)
}

// The exit codes by which shells tell that a command could not be run (POSIX, Shell & Utilities 2.8.2).
const (
	NotExecutable = 126
	NotFound      = 127
)

// An Error says why a command was not run.
type Error struct {
	Code int // NotExecutable or NotFound
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Find looks for a program as a shell does. The error is an [Error].
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	code := NotFound
	reason := err
	if e, ok := errors.AsType[*exec.Error](err); ok {
		reason = e.Err
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		code = NotExecutable
	case errors.Is(err, exec.ErrNotFound):
		reason = errors.New("command not found")
	case errors.Is(err, exec.ErrDot):
		reason = errors.New("found in this directory only; to run it write ." + string(os.PathSeparator) + name)
	case errors.Is(err, fs.ErrNotExist):
		reason = errors.New("no such file")
	default: // a directory
		code = NotExecutable
	}
	return "", &Error{code, &named{name, reason}}
}

// named is a reason with the command's name before it.
type named struct {
	name string
	err  error
}

func (n *named) Error() string { return n.name + ": " + n.err.Error() }
func (n *named) Unwrap() error { return n.err }

// notRun is why a program that was found did not start.
func notRun(name string, err error) *Error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return &Error{NotExecutable, &named{name, err}}
}
