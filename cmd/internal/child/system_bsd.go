//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package child

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	getMode = unix.TIOCGETA
	setMode = unix.TIOCSETAW
)

// attributes are none: here a command cannot be bound to its parent's life.
func attributes() *syscall.SysProcAttr { return nil }
