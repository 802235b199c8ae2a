//go:build unix

package child

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminal is the one that controls this process, if any.
type terminal struct {
	file *os.File      // nil: none
	mode *unix.Termios // as it was
}

func openTerminal() *terminal {
	t := &terminal{}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return t
	}
	t.file = f
	if mode, err := unix.IoctlGetTermios(int(f.Fd()), getMode); err == nil {
		t.mode = mode
	}
	return t
}

func (t *terminal) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}

// group is the process group that the keyboard's signals go to, 0 if there is no terminal.
func (t *terminal) group() int {
	if t.file == nil {
		return 0
	}
	group, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// foreground reports whether that is ours.
func (t *terminal) foreground() bool { return t.group() == unix.Getpgrp() }

// give makes it another. It is ours.
func (t *terminal) give(group int) {
	_ = unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, group)
}

// restore undoes what a command that was killed left behind: no echo, no line editing.
func (t *terminal) restore() {
	if t.mode != nil && t.foreground() {
		_ = unix.IoctlSetTermios(int(t.file.Fd()), setMode, t.mode)
	}
}
